// A store whose pages are those of a region elsewhere, read one-sidedly over the fabric.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "fabric/initiator.h"
#include "memory/page_store.h"
#include "os/thread.h"

namespace farpage {

// Where and by which right the region is read: a ticket is good for one connection.
struct RemoteDoor {
  InitiatorOptions connect;
  uint32_t stag = 0;
};

struct RemoteStoreOptions {
  uint64_t length_bytes = 0;
  // Every read ends within it, whatever the peer does.
  uint64_t deadline_ns = 5'000'000'000;
  // Asks whoever speaks with the other appliance for a door; answered by Open or Refuse. Called by
  // the store's thread when a read needs a door, once for each answer; must not block.
  std::function<void()> need_door;
};

class RemoteReader;

// Reads of the origin kRemote: StartRead queues, and a thread of the store's own keeps as many
// READs outstanding as the peer granted. Nothing is contacted before the first read.
//
// What ends with the connection is repeated on the next one, within its deadline; what the peer
// refuses ends with the peer's code, unless another door may mend it (kStag, kTicket and the
// like: the other appliance was restarted). A read at its deadline ends with kTimeout, and its
// connection with it, because the peer's late answer must not land in memory that is not ours any
// more. Thread: any, as PageStore says.
class RemoteStore final : public PageStore {
 public:
  // Bytes of one READ at most; longer runs become several.
  static constexpr uint32_t kReadBytesMax = uint32_t{1} << 20;
  // The same of reads in the background, and how many bytes of them are outstanding: a READ that
  // somebody waits for finds no more than that before it, some 100 us.
  static constexpr uint32_t kBackgroundReadBytesMax = uint32_t{1} << 18;
  static constexpr uint64_t kBackgroundBytesMax = uint64_t{1} << 19;
  // How long one waits behind others at most, while these never end.
  static constexpr uint64_t kBackgroundPatienceNs = 20'000'000;
  // READs that wait or are outstanding at most; more end with kQuota.
  static constexpr size_t kReadsMax = 65'536;
  // How often one READ is begun again on another connection.
  static constexpr int kRepeatsMax = 8;
  // How long the thread polls for the next read or answer before it sleeps, while that pays.
  static constexpr uint64_t kSpinNs = 50'000;
  // Between a door that was refused and the next question for one.
  static constexpr uint64_t kAskAgainNs = 100'000'000;
  // Connecting and the handshake together.
  static constexpr uint64_t kConnectNs = 2'000'000'000;

  explicit RemoteStore(RemoteStoreOptions options);
  ~RemoteStore() override;

  // The answers to `need_door`. A refusal that another try may mend (kConnection, kTimeout) lets
  // reads wait on; any other ends those that wait now. Thread: any.
  void Open(RemoteDoor door);
  void Refuse(const Error& error);

  [[nodiscard]] PagesFrom OriginOf(PageRun run) const override {
    return {PageOrigin::kRemote, run.count};
  }
  [[nodiscard]] bool has_sink() const override { return false; }
  void StartRead(PageRun run, std::byte* into, ReadDone done) override {
    Start(run, into, std::move(done), false);
  }
  void StartBackgroundRead(PageRun run, std::byte* into, ReadDone done) override {
    Start(run, into, std::move(done), true);
  }
  void EndReads() override;
  Status Read(PageRun, std::byte*) override;
  Status Write(std::span<PageImage> images) override;
  Status MakeDurable() override { return {}; }

  // True while there is a connection to the peer.
  [[nodiscard]] bool connected() const;

 private:
  void Start(PageRun run, std::byte* into, ReadDone done, bool background);

  const uint64_t length_bytes_;
  const std::shared_ptr<RemoteReader> reader_;
  Thread thread_;
};

}  // namespace farpage
