// A store whose pages a program supplies, and may take, outside of the pager's threads.
#pragma once

#include <functional>
#include <memory>

#include "memory/page_store.h"
#include "os/thread.h"

namespace farpage {

// Pages that the program is asked to supply, or to take.
struct CallbackRequest {
  uint64_t id = 0;
  PageRun run;
  // Less than the run's only at the end of the region.
  uint64_t length_bytes = 0;
  // When nobody waits for the answer any more (NowNs); later for reads in the background, as long
  // as the program tells that it is alive.
  uint64_t deadline_ns = 0;
  // The bytes to take; null when pages are to be supplied.
  std::shared_ptr<const std::byte[]> bytes;
  // For some of the pages nobody waits yet.
  bool background = false;
};

struct CallbackStoreOptions {
  uint64_t length_bytes = 0;
  // The program takes pages, too.
  bool takes_writes = false;
  // Every read and every write ends within it, whatever the program does. Reads in the background
  // end when nothing has come from the program for so long, and after kDeadlinesMax of it.
  uint64_t deadline_ns = 5'000'000'000;
  // Requests for pages that the program works on at a time; as many again with pages to take.
  uint32_t requests_max = 16;
  // Tells the program that there is something to Take: called once, and not again before it took.
  // Must not block. Thread: any, fabric threads in a turn among them.
  std::function<void()> ring;
};

class CallbackQueue;

// Reads of the origin kRemote and writes as numbered requests, which the program takes when it has
// time and answers in any order. It is never handed region memory: what it supplies is copied into
// place when it answers, what it is to take is copied before. So an answer that comes too late, or
// twice, or after the region went, finds its number gone and changes nothing.
//
// Reads that touch each other and wait together become one request. A request that is late ends for
// those who wait for it (kTimeout) but keeps its place until the program answers, so that no more
// than `requests_max` are ever under way. Thread: any, as PageStore says.
class CallbackStore final : public PageStore {
 public:
  // Bytes of one request at most; longer reads become several. One image of a write is one request.
  static constexpr uint64_t kRequestBytesMax = uint64_t{1} << 20;
  // Reads that wait to be taken, at most; more end with kQuota.
  static constexpr size_t kReadsMax = 65'536;
  static constexpr uint32_t kRequestsMax = 64;
  static constexpr uint64_t kDeadlinesMax = 60;

  explicit CallbackStore(CallbackStoreOptions options);
  ~CallbackStore() override;

  // What the program shall do now, as far as it has places free. Thread: any.
  [[nodiscard]] std::vector<CallbackRequest> Take();
  // The pages of a request: as many bytes as it asked for, else it fails (kInternal). For pages
  // that were to be taken: they are safe, `bytes` is empty. False: nobody waits for this number.
  bool Answer(uint64_t id, std::span<const std::byte> bytes);
  // The request failed. Codes that would end the asker's own connection are told as others.
  bool Refuse(uint64_t id, const Error& why);
  // Bytes for a request have come, though not all: what is read in the background may take longer.
  // False: nobody waits for this number.
  bool TellAlive(uint64_t id);

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return takes_writes_; }
  [[nodiscard]] bool writes_elsewhere() const override { return true; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override;
  // Taken when no other read waits, and never the last place.
  void StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) override;
  // Ends writes as well: nobody may wait for a program that is closing the region.
  void EndReads() override;
  Status Read(PageRun run, std::byte* into) override;
  // Waits for the program, within the deadline for each `requests_max` images.
  Status Write(std::span<PageImage> images) override;
  // What the program has taken is safe, by its word.
  Status MakeDurable() override { return {}; }

 private:
  void Start(PageRun run, std::byte* into, bool background, ReadDone done);

  const bool takes_writes_;
  const std::shared_ptr<CallbackQueue> queue_;
  Thread thread_;
};

}  // namespace farpage
