// Pages that a program takes: write-back to a callback store.
#include <cstring>

#include "callback_fixture.h"
#include "check.h"
#include "faulty_fixture.h"

namespace farpage::test {
namespace {

constexpr uint64_t kPages = 2048;
const uint64_t kSize = (kPages << kPageShift) - 100;

// A program that keeps what it takes; `before` may do something else with a request instead.
struct Keeper {
  explicit Keeper(uint64_t deadline_ns) : taken(kSize), program([this](auto& store, auto& request) {
      Serve(store, request);
    }) {
    for (uint64_t at = 0; at < kSize; at++) taken[at] = CallbackByte(at);
    CallbackStoreOptions options;
    options.length_bytes = kSize;
    options.takes_writes = true;
    options.deadline_ns = deadline_ns;
    options.ring = program.Bell();
    auto owned = std::make_unique<CallbackStore>(std::move(options));
    store_ = owned.get();
    stag = appliance.OpenStaged(kSize, std::move(owned));
    program.Serve(store_);
    user = appliance.Connect();
  }
  void Serve(CallbackStore& store, const CallbackRequest& request) {
    if (before && request.bytes != nullptr && before(store, request)) return;
    const std::lock_guard<std::mutex> lock(mutex);
    const uint64_t at = request.run.offset_bytes();
    if (request.bytes == nullptr) {
      store.Answer(request.id, std::span(taken).subspan(at, request.length_bytes));
      return;
    }
    writes++;
    bytes_taken += request.length_bytes;
    std::memcpy(taken.data() + at, request.bytes.get(), request.length_bytes);
    store.Answer(request.id, {});
  }
  void Put(PageIndex page, uint8_t value) {
    const std::byte byte{value};
    CHECK_EQ(int(Write(*user, stag, page << kPageShift, &byte, 1).code), 0);
  }
  int Kept(PageIndex page) {
    const std::lock_guard<std::mutex> lock(mutex);
    return int(taken[page << kPageShift]);
  }
  std::function<bool(CallbackStore&, const CallbackRequest&)> before;
  std::mutex mutex;
  std::vector<std::byte> taken;
  std::atomic<int> writes{0};
  std::atomic<uint64_t> bytes_taken{0};
  CallbackStore* store_ = nullptr;
  uint32_t stag = 0;
  Appliance appliance;
  std::unique_ptr<Initiator> user;
  Program program;
};

Code CodeOf(const Result<WriteBackReceipt>& synced) {
  return synced.ok() ? Code::kOk : synced.error().code;
}

}  // namespace

// A sync hands over exactly the dirty pages, the last one to the byte, and they are clean then.
FARPAGE_TEST(callback_takes_the_dirty_pages_and_no_others) {
  Keeper keeper(30'000'000'000);
  for (const PageIndex page : {3, 4, 700, 2047}) keeper.Put(page, 0xe0);
  const auto synced = keeper.appliance.Sync();
  REQUIRE(synced.ok());
  CHECK_EQ(synced.value().pages_written, 4u);
  CHECK_EQ(keeper.bytes_taken.load(), 4 * kPageBytes - 100);
  CHECK_EQ(keeper.writes.load(), 3);
  for (const PageIndex page : {3, 4, 700, 2047}) CHECK_EQ(keeper.Kept(page), 0xe0);
  CHECK_EQ(keeper.Kept(5), int(CallbackByte(5 << kPageShift)));
  CHECK_EQ(keeper.appliance.region->table->dirty(), 0u);
  CHECK_EQ(keeper.appliance.Sync().value().pages_written, 0u);
}

// More images than the program works on at a time go one window after the other.
FARPAGE_TEST(callback_takes_a_sync_of_many_images) {
  Keeper keeper(30'000'000'000);
  for (PageIndex page = 0; page < 400; page += 2) keeper.Put(page, 0xab);
  const auto synced = keeper.appliance.Sync();
  REQUIRE(synced.ok());
  CHECK_EQ(synced.value().pages_written, 200u);
  CHECK_EQ(keeper.writes.load(), 200);
  CHECK_EQ(keeper.Kept(398), 0xab);
}

// A page that is refused stays dirty with the program's code and its neighbours get through; when
// all are refused nobody tries them one by one.
FARPAGE_TEST(callback_refused_pages_stay_dirty) {
  Keeper keeper(30'000'000'000);
  std::atomic<int> refused{0};
  std::atomic<bool> all{false};
  keeper.before = [&](CallbackStore& store, const CallbackRequest& request) {
    const bool bad = all || (request.run.first <= 11 && 11 < request.run.end());
    if (!bad) return false;
    refused++;
    CHECK(store.Refuse(request.id, {Code::kNoSpace, 0, "full"}));
    return true;
  };
  for (const PageIndex page : {10, 11, 12, 500}) keeper.Put(page, 0x77);
  CHECK_EQ(int(CodeOf(keeper.appliance.Sync())), int(Code::kNoSpace));
  CHECK_EQ(keeper.appliance.region->table->dirty(), 1u);
  CHECK_EQ(keeper.Kept(10), 0x77);
  CHECK_EQ(keeper.Kept(12), 0x77);
  CHECK_EQ(keeper.Kept(11), int(CallbackByte(11 << kPageShift)));
  all = true;
  refused = 0;
  for (PageIndex page = 600; page < 1000; page++) keeper.Put(page, 0x66);
  CHECK_EQ(int(CodeOf(keeper.appliance.Sync())), int(Code::kNoSpace));
  CHECK_EQ(keeper.appliance.region->table->dirty(), 401u);
  CHECK_EQ(refused.load(), 3);  // page 11, and 400 pages in two images
  keeper.before = nullptr;
  CHECK(keeper.appliance.Sync().ok());
  CHECK_EQ(keeper.appliance.region->table->dirty(), 0u);
  CHECK_EQ(keeper.Kept(11), 0x77);
  CHECK_EQ(keeper.Kept(999), 0x66);
}

// A program that takes and never answers costs one deadline. Until it lets go, the same pages are
// not given to it again: its older bytes must not land after the newer ones.
FARPAGE_TEST(callback_silent_taker_costs_a_deadline_and_keeps_the_order) {
  Keeper keeper(200'000'000);
  std::atomic<uint64_t> forgotten{0};
  keeper.before = [&](CallbackStore&, const CallbackRequest& request) {
    uint64_t none = 0;
    return forgotten.compare_exchange_strong(none, request.id);
  };
  keeper.Put(5, 1);
  const uint64_t begin = NowNs();
  CHECK_EQ(int(CodeOf(keeper.appliance.Sync())), int(Code::kTimeout));
  CHECK(NowNs() - begin > 150'000'000);
  CHECK_EQ(keeper.appliance.region->table->dirty(), 1u);
  keeper.Put(5, 2);
  CHECK_EQ(int(CodeOf(keeper.appliance.Sync())), int(Code::kTimeout));
  CHECK_EQ(keeper.writes.load(), 0);
  keeper.Put(9, 3);
  CHECK(keeper.store_->Refuse(forgotten, {Code::kAborted, 0, "too late"}));
  CHECK(keeper.appliance.Sync().ok());
  CHECK_EQ(keeper.Kept(5), 2);
  CHECK_EQ(keeper.Kept(9), 3);
}

// A removal does not wait for the program.
FARPAGE_TEST(callback_removal_ends_a_sync_under_way) {
  Keeper keeper(60'000'000'000);
  std::atomic<bool> asked{false};
  keeper.before = [&](CallbackStore&, const CallbackRequest&) {
    asked = true;
    return true;
  };
  keeper.Put(5, 1);
  std::atomic<int> code{-1};
  keeper.appliance.pager.write_back().Submit(
      keeper.appliance.region, {0, kPages}, true,
      [&](Result<WriteBackReceipt> synced) { code = int(CodeOf(synced)); });
  while (!asked) Nap(1);
  const uint64_t begin = NowNs();
  keeper.appliance.RemoveRegion();
  CHECK(NowNs() - begin < 20'000'000'000);
  while (code < 0 && NowNs() - begin < 30'000'000'000) Nap(1);
  CHECK_EQ(code.load(), int(Code::kRegionRemoved));
}

}  // namespace farpage::test
