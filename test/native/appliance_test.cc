// The path from an initiator through NIC, page table, pager and store and back, without Node.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "appliance_fixture.h"
#include "check.h"

namespace farpage::test {
namespace {

std::vector<char> Pattern(size_t bytes) {
  std::vector<char> data(bytes);
  for (size_t n = 0; n < bytes; n++) data[n] = static_cast<char>((n * 2654435761u) >> 13);
  return data;
}

std::vector<char> MakeFile(const std::string& path, size_t bytes) {
  auto data = Pattern(bytes);
  std::ofstream(path, std::ios::binary).write(data.data(), static_cast<std::streamsize>(bytes));
  return data;
}

std::vector<char> FileBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void ReadWriteSync(bool tcp, bool crc, uint8_t flags) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  const size_t size = 3 * 1024 * 1024 + 777;
  std::vector<char> model = MakeFile(path, size);
  const uint32_t stag = appliance.OpenFile(path, true);
  auto initiator = appliance.Connect(tcp, crc, 32, flags);
  CHECK(initiator != nullptr);
  for (const uint32_t bytes : {1u, 8u, 63u, 64u, 255u, 256u, 257u, 4096u, 5000u, 65536u,
                               1u << 20}) {
    for (const uint64_t offset : {uint64_t{0}, uint64_t{4093}, uint64_t{size - bytes}}) {
      std::vector<char> got(bytes);
      CHECK_EQ(int(Read(*initiator, stag, offset, got.data(), bytes).code), int(Code::kOk));
      CHECK(std::memcmp(got.data(), model.data() + offset, bytes) == 0);
      std::vector<char> put(bytes);
      for (uint32_t n = 0; n < bytes; n++) put[n] = static_cast<char>(n * 31 + bytes + offset);
      CHECK_EQ(int(Write(*initiator, stag, offset, put.data(), bytes).code), int(Code::kOk));
      std::memcpy(model.data() + offset, put.data(), bytes);
      CHECK_EQ(int(Read(*initiator, stag, offset, got.data(), bytes).code), int(Code::kOk));
      CHECK(got == put);
    }
  }
  // The file changes by sync alone.
  CHECK(FileBytes(path) == Pattern(size));
  const uint64_t dirty = appliance.region->table->dirty();
  CHECK(dirty > 0);
  auto receipt = appliance.Sync();
  CHECK(receipt.ok());
  CHECK_EQ(receipt.value().pages_written, dirty);
  CHECK(FileBytes(path) == model);
  CHECK_EQ(appliance.region->table->dirty(), 0u);
  auto nothing = appliance.Sync();
  CHECK_EQ(nothing.value().pages_written, 0u);
  // Written again after the sync, although WRITABLE was taken away for it.
  const char byte = 'x';
  CHECK_EQ(int(Write(*initiator, stag, 5, &byte, 1).code), int(Code::kOk));
  CHECK_EQ(appliance.region->table->dirty(), 1u);
  model[5] = byte;
  CHECK_EQ(appliance.Sync().value().bytes_written, kPageBytes);
  CHECK(FileBytes(path) == model);
}

}  // namespace

FARPAGE_TEST(appliance_reads_writes_syncs_unix) { ReadWriteSync(false, false, 3); }
FARPAGE_TEST(appliance_reads_writes_syncs_tcp) { ReadWriteSync(true, false, 3); }
FARPAGE_TEST(appliance_reads_writes_syncs_crc) { ReadWriteSync(true, true, 3); }
FARPAGE_TEST(appliance_reads_writes_syncs_standard_peer) { ReadWriteSync(true, false, 0); }

FARPAGE_TEST(appliance_initialises_only_what_is_touched) {
  Appliance appliance;
  const std::string path = appliance.folder.File("sparse");
  const Fd file(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  CHECK(::ftruncate(file.get(), static_cast<off_t>(kSparseBytes)) == 0);
  const uint32_t stag = appliance.OpenFile(path, true);
  CHECK_EQ(appliance.region->table->present(), 0u);
  auto initiator = appliance.Connect();
  char byte = 'x';
  CHECK_EQ(int(Read(*initiator, stag, kSparseBytes / 2, &byte, 1).code), int(Code::kOk));
  CHECK_EQ(int(byte), 0);
  CHECK_EQ(appliance.region->table->present(), 1u);
  CHECK_EQ(appliance.region->operations[0].faulted.load(), 1u);
  CHECK_EQ(int(Read(*initiator, stag, kSparseBytes / 2, &byte, 1).code), int(Code::kOk));
  CHECK_EQ(appliance.region->operations[0].bypassed.load(), 1u);
}

FARPAGE_TEST(appliance_fill_values) {
  for (const auto value : {FillValueStore::Value::kZero, FillValueStore::Value::kOne}) {
    Appliance appliance;
    const uint32_t stag = appliance.OpenAnonymous(1 << 20, value);
    auto initiator = appliance.Connect();
    std::vector<char> got(100'000, 'x');
    CHECK_EQ(int(Read(*initiator, stag, 1000, got.data(), 100'000).code), int(Code::kOk));
    const std::vector<char> want(100'000, static_cast<char>(value));
    CHECK(got == want);
    CHECK_EQ(appliance.region->table->present(), PagesOf(1000, 100'000).count);
  }
}

FARPAGE_TEST(appliance_atomics) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(1 << 20, FillValueStore::Value::kZero);
  auto initiator = appliance.Connect();
  WorkRequest add{1, Opcode::kFetchAdd, stag, 64, 0, nullptr, 5, 0};
  CHECK_EQ(Do(*initiator, add).old_value, 0u);
  CHECK_EQ(Do(*initiator, add).old_value, 5u);
  WorkRequest swap{2, Opcode::kCompareSwap, stag, 64, 0, nullptr, 77, 10};
  CHECK_EQ(Do(*initiator, swap).old_value, 10u);
  swap.compare = 11;
  CHECK_EQ(Do(*initiator, swap).old_value, 77u);
  uint64_t value = 0;
  CHECK_EQ(int(Read(*initiator, stag, 64, &value, 8).code), int(Code::kOk));
  CHECK_EQ(value, 77u);
}

FARPAGE_TEST(appliance_refuses_with_codes) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(1 << 20, FillValueStore::Value::kZero);
  char bytes[64] = {};
  const auto expect = [&](Code code, int32_t terminate, auto request) {
    auto initiator = appliance.Connect();
    const Completion completion = request(*initiator);
    CHECK_EQ(int(completion.code), int(code));
    CHECK_EQ(completion.terminate, terminate);
  };
  expect(Code::kStag, kTermReadStag.Packed(),
         [&](Initiator& i) { return Read(i, stag ^ 1, 0, bytes, 8); });
  expect(Code::kBounds, kTermReadBounds.Packed(),
         [&](Initiator& i) { return Read(i, stag, (1 << 20) - 4, bytes, 8); });
  expect(Code::kStag, kTermWriteStag.Packed(),
         [&](Initiator& i) { return Write(i, stag ^ 1, 0, bytes, 8); });
  expect(Code::kBounds, kTermWriteBounds.Packed(),
         [&](Initiator& i) { return Write(i, stag, 1 << 20, bytes, 8); });
  auto read_only = appliance.domain->Register(appliance.region, 4096, 4096, false);
  expect(Code::kAccess, kTermReadAccess.Packed(),
         [&](Initiator& i) { return Write(i, read_only.value(), 0, bytes, 8); });
  appliance.domain->Deregister(read_only.value(), true);
  expect(Code::kRegionRemoved, kTermReadStag.Packed(),
         [&](Initiator& i) { return Read(i, read_only.value(), 0, bytes, 8); });
}

FARPAGE_TEST(appliance_wrong_ticket_is_refused) {
  Appliance appliance;
  InitiatorOptions options;
  options.path = appliance.socket_path;
  options.ask.ticket = {9};
  auto connected = Initiator::Connect(options, NowNs() + 5'000'000'000);
  CHECK(!connected.ok());
  CHECK_EQ(int(connected.error().code), int(Code::kTicket));
}

FARPAGE_TEST(appliance_budget_of_a_few_pages_makes_progress) {
  for (const uint64_t frames : {uint64_t{1}, uint64_t{4}, uint64_t{64}}) {
    ApplianceOptions options;
    options.frames_max = frames;
    options.window_bytes = kPageBytes;
    Appliance appliance(options);
    const std::string path = appliance.folder.File("data");
    const auto model = MakeFile(path, 1 << 20);
    const uint32_t stag = appliance.OpenFile(path, true);
    auto initiator = appliance.Connect();
    std::vector<char> got(1 << 20);
    CHECK_EQ(int(Read(*initiator, stag, 0, got.data(), 1 << 20).code), int(Code::kOk));
    CHECK(got == model);
    CHECK(appliance.region->frames.used() <= frames);
    CHECK(appliance.pager.budget().used() <= frames);
  }
}

FARPAGE_TEST(appliance_memory_full_of_dirty_pages_is_an_error) {
  ApplianceOptions options;
  options.frames_max = 8;
  Appliance appliance(options);
  const uint32_t stag = appliance.OpenAnonymous(1 << 20, FillValueStore::Value::kZero);
  std::vector<char> page(4096, 'd');
  Completion completion;
  uint64_t written = 0;
  auto initiator = appliance.Connect();
  for (; written < 256; written++) {
    completion = Write(*initiator, stag, written * 4096, page.data(), 4096);
    if (completion.code != Code::kOk) break;
  }
  CHECK_EQ(int(completion.code), int(Code::kMemoryFull));
  CHECK_EQ(written, 8u);
  // What was written is still there.
  auto again = appliance.Connect();
  std::vector<char> got(4096);
  CHECK_EQ(int(Read(*again, stag, 7 * 4096, got.data(), 4096).code), int(Code::kOk));
  CHECK(got == page);
}

FARPAGE_TEST(appliance_truncated_file_fails_one_operation) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  MakeFile(path, 1 << 20);
  const uint32_t stag = appliance.OpenFile(path, true);
  std::vector<char> got(8192);
  {
    auto initiator = appliance.Connect();
    CHECK_EQ(int(Read(*initiator, stag, 900'000, got.data(), 64).code), int(Code::kOk));
    CHECK_EQ(int(Read(*initiator, stag, 700'000, got.data(), 8192).code), int(Code::kOk));
    const char byte = 'w';
    CHECK_EQ(int(Write(*initiator, stag, 950'000, &byte, 1).code), int(Code::kOk));
  }
  CHECK(::truncate(path.c_str(), 300'000) == 0);
  const auto expect_loss = [&](uint64_t offset, uint32_t bytes) {
    auto initiator = appliance.Connect();
    Code code = Read(*initiator, stag, offset, got.data(), bytes).code;
    if (code == Code::kConnection) {
      // The page went away behind its header: the READ is repeated, as clients do.
      initiator = appliance.Connect();
      code = Read(*initiator, stag, offset, got.data(), bytes).code;
    }
    CHECK(code == Code::kPageLost || code == Code::kFileChanged);
  };
  expect_loss(900'000, 64);     // was present, copied
  expect_loss(700'000, 8192);   // was present, gathered
  expect_loss(800'000, 64);     // was absent
  auto initiator = appliance.Connect();
  CHECK_EQ(int(Read(*initiator, stag, 100'000, got.data(), 8192).code), int(Code::kOk));
  auto synced = appliance.Sync();
  CHECK(!synced.ok());
  CHECK_EQ(int(synced.error().code), int(Code::kFileChanged));
  CHECK_EQ(appliance.region->table->dirty(), 1u);
  struct stat status{};
  CHECK(::stat(path.c_str(), &status) == 0);
  CHECK_EQ(status.st_size, 300'000);
  // The file grows again: the lost page is told, and its hole is not written for it.
  CHECK(::truncate(path.c_str(), 1 << 20) == 0);
  synced = appliance.Sync();
  CHECK(!synced.ok());
  CHECK_EQ(int(synced.error().code), int(Code::kPageLost));
  expect_loss(950'000, 64);
  auto after = appliance.Connect();
  CHECK_EQ(int(Read(*after, stag, 800'000, got.data(), 64).code), int(Code::kOk));
}

// Answers that overtake a waiting READ make room for new requests: more pass it than the granted
// depth, and none of them is refused.
FARPAGE_TEST(appliance_answers_out_of_order_without_end) {
  Appliance appliance;
  const std::string path = appliance.folder.File("data");
  const size_t size = 64 << 20;
  const auto model = MakeFile(path, size);
  const Fd file(::open(path.c_str(), O_RDONLY));
  CHECK(::fsync(file.get()) == 0);
  ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
  const uint32_t stag = appliance.OpenFile(path, false);
  auto initiator = appliance.Connect(false, false, 4);
  std::vector<char> hot(64);
  CHECK_EQ(int(Read(*initiator, stag, 0, hot.data(), 64).code), int(Code::kOk));
  std::vector<std::vector<char>> got(4, std::vector<char>(4096));
  std::vector<uint64_t> offsets(4);
  uint64_t next = 1;
  size_t done = 0;
  const auto post = [&](uint64_t slot) {
    // Every fourth READ meets an absent page.
    offsets[slot] = next % 4 == 0 ? (next * 4096 * 3) % (size - 4096) & ~uint64_t{4095} : 0;
    next++;
    WorkRequest request{slot, Opcode::kRead, stag, offsets[slot], 4096,
                        reinterpret_cast<std::byte*>(got[slot].data()), 0, 0};
    CHECK_EQ(initiator->Post({&request, 1}), 1u);
  };
  for (uint64_t slot = 0; slot < 4; slot++) post(slot);
  const uint64_t deadline = NowNs() + 20'000'000'000;
  while (done < 20'000) {
    initiator->Flush();
    Completion completion;
    if (initiator->Poll({&completion, 1}) == 0) {
      CHECK(initiator->Wait(20'000, deadline).ok());
      continue;
    }
    CHECK_EQ(int(completion.code), int(Code::kOk));
    if (completion.code != Code::kOk) return;
    const uint64_t slot = completion.id;
    CHECK(std::memcmp(got[slot].data(), model.data() + offsets[slot], 4096) == 0);
    done++;
    post(slot);
  }
}

}  // namespace farpage::test
