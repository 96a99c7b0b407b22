// When threads that answer need all cores, and when they do not.
#include <fcntl.h>

#include <atomic>
#include <thread>

#include "appliance_fixture.h"
#include "os/thread.h"
#include "os/work_in_pieces.h"
#include "short_cores.h"

namespace farpage::test {

FARPAGE_TEST(short_cores_are_those_of_who_answers_lately) {
  Thread("short", [] {
    PinToOneProcessor();
    CHECK(!CoresAreShort());  // nobody answers
    const uint64_t now = NowNs();
    AnsweringThread first;
    first.Answered(now - 2 * kAnsweringNs);
    CHECK(!CoresAreShort());  // not lately
    AnsweringThread second;
    second.Answered(now + kLongNs);
    CHECK(CoresAreShort());
  }).Join();
  CHECK(!CoresAreShort());  // both have gone
}

FARPAGE_TEST(short_cores_are_not_where_the_pager_has_its_own) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CHECK_EQ(::sched_getaffinity(0, sizeof cores, &cores), 0);
  const int processors = CPU_COUNT(&cores);
  std::vector<std::unique_ptr<AnsweringThread>> threads;
  // Two processors each, and two for the pager.
  while (2 * static_cast<int>(threads.size() + 1) + 2 <= processors) {
    threads.push_back(std::make_unique<AnsweringThread>());
    threads.back()->Answered(NowNs() + kLongNs);
    CHECK(!CoresAreShort());
  }
  threads.push_back(std::make_unique<AnsweringThread>());
  threads.back()->Answered(NowNs() + kLongNs);
  CHECK(CoresAreShort());
}

// Two processors for each thread that answers, and two for the pager: four are enough for one.
FARPAGE_TEST(short_cores_are_fewer_than_two_a_thread_and_two) {
  CHECK(AreShort(1, 1));
  CHECK(AreShort(3, 1));
  CHECK(!AreShort(4, 1));
  CHECK(!AreShort(64, 1));
  CHECK(AreShort(5, 2));
  CHECK(!AreShort(6, 2));
}

// Who answers tells of it by itself, again and again.
FARPAGE_TEST(short_cores_are_known_of_from_answers) {
  Appliance appliance;
  const uint32_t stag = appliance.OpenAnonymous(kPageBytes, FillValueStore::Value::kZero);
  auto client = appliance.Connect();
  REQUIRE(client != nullptr);
  Thread("short", [&] {
    PinToOneProcessor();
    uint64_t got = 0;
    bool known = false;
    const uint64_t deadline = NowNs() + 20'000'000'000;
    while (!known && NowNs() < deadline) {
      CHECK_EQ(int(Read(*client, stag, 0, &got, sizeof got).code), int(Code::kOk));
      known = CoresAreShort();
    }
    CHECK(known);
    while (CoresAreShort() && NowNs() < deadline) std::this_thread::yield();
    CHECK(!CoresAreShort());  // nobody asks any more
  }).Join();
}

// Work in pieces is such while cores are short.
FARPAGE_TEST(short_cores_make_work_come_in_pieces) {
  Thread("short", [] {
    PinToOneProcessor();
    {
      const WorkInPieces work;
      CHECK(!WorksInPieces());  // nobody answers
    }
    AnsweringThread answering;
    answering.Answered(NowNs() + kLongNs);
    CHECK(!WorksInPieces());
    {
      const WorkInPieces work;
      CHECK(WorksInPieces());
    }
    CHECK(!WorksInPieces());
  }).Join();
}

// Writing a file is, for as long as it takes.
FARPAGE_TEST(short_cores_have_files_written_in_pieces) {
  const TemporaryFolder folder;
  const std::string path = folder.File("data");
  const std::vector<std::byte> bytes(256 << kPageShift);
  {
    const Fd file(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
    CHECK_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
  }
  auto store = FileStore::Open({path, 0, 0, true});
  REQUIRE(store.ok());
  Thread("short", [&] {
    PinToOneProcessor();
    AnsweringThread answering;
    answering.Answered(NowNs() + kLongNs);
    std::atomic<bool> seen{false};
    const uint64_t deadline = NowNs() + 20'000'000'000;
    Thread writer("writer", [&] {
      std::vector<PageImage> images;
      for (PageIndex page = 0; page < 256; page++) {
        images.push_back({{page, 1}, bytes.data() + (page << kPageShift), kPageBytes, {}});
      }
      while (!seen && NowNs() < deadline) CHECK(store.value()->Write(images).ok());
    });
    while (!seen && NowNs() < deadline) {
      seen = WorksInPieces();
      std::this_thread::yield();
    }
    writer.Join();
    CHECK(seen);
    CHECK(!WorksInPieces());
  }).Join();
}

}  // namespace farpage::test
