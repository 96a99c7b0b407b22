// The asking end of Farpage: what raw_client.h does with frames of its own, with the initiator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/load.h"
#include "fabric/initiator.h"

namespace farpage::bench {

// Drives one connection to an appliance with the loop of RawClient: operations are posted as soon
// as others have ended, what can go together goes in one send, one reading of the clock serves all
// that ended together. A WRITE ends when the fence after it is answered. Any failure ends the
// process. Thread: one owner.
class InitiatorClient {
 public:
  InitiatorClient(std::unique_ptr<Initiator> initiator, uint32_t stag, Waiting waiting);

  // Makes [0, span) hold AreaWord(), as the raw server's memory does, and waits until it is placed.
  void Fill(uint64_t span_bytes);
  // From now on every READ of 8 bytes or more must begin with AreaWord().
  void ExpectPattern() { pattern_ = true; }
  // Holds the load's operation against its meaning, with every byte looked at; changes nothing
  // in the end.
  void Verify(const Load& load);
  Measured Run(const Load& load);

 private:
  struct Flight {
    uint64_t offset = 0;
    uint64_t posted_ns = 0;
  };

  void Append(const Load& load, uint32_t slot);
  void Check(const Load& load, uint32_t slot) const;
  void Refill(const Load& load, uint64_t now);
  uint64_t Collect(const Load& load);
  // Posts one request and waits for its end; the old value of an atomic.
  uint64_t RunOne(WorkRequest request);
  void VerifyAtomics();
  void PostAll();
  size_t Await();
  std::byte* MemoryOf(uint32_t slot, const Load& load) const;

  std::unique_ptr<Initiator> initiator_;
  uint32_t stag_;
  Waiting waiting_;
  bool pattern_ = false;
  Places places_;
  std::unique_ptr<std::byte[]> payload_;
  std::vector<WorkRequest> batch_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> ended_;
  uint64_t posted_ = 0;
  uint64_t done_ = 0;
  std::vector<Completion> completions_;
  Flight flight_[kDepthMax];
};

}  // namespace farpage::bench
