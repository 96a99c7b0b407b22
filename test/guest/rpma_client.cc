// A client over librpma alone: `rpma_client HOST PORT STEP…`. Steps: `read:OFFSET:LENGTH`,
// `write:OFFSET:LENGTH:SEED` (a write, librpma's flush, and a read of the same),
// `atomic:OFFSET:VALUE` (librpma's atomic write of 8 bytes). A step that the appliance refuses
// prints `refused STATUS EVENT` and ends the program with status 3.
#include <librpma.h>
#include <unistd.h>

#include "steps.h"

namespace {

constexpr std::size_t kBytesMax = 4 << 20;

void Must(int failed, const char* what) {
  if (failed == 0) return;
  std::printf("failed %s: %s\n", what, rpma_err_2str(failed));
  std::exit(1);
}

struct Client {
  rpma_peer* peer = nullptr;
  rpma_conn* conn = nullptr;
  rpma_cq* cq = nullptr;
  rpma_mr_remote* region = nullptr;
  rpma_mr_local* local = nullptr;
  std::span<std::uint8_t> bytes;

  void Connect(const char* host, const char* port) {
    ibv_context* device = nullptr;
    Must(rpma_utils_get_ibv_context(host, RPMA_UTIL_IBV_CONTEXT_REMOTE, &device), "device");
    Must(rpma_peer_new(device, &peer), "peer");
    rpma_conn_req* request = nullptr;
    Must(rpma_conn_req_new(peer, host, port, nullptr, &request), "request");
    Must(rpma_conn_req_connect(&request, nullptr, &conn), "connect");
    rpma_conn_event event;
    Must(rpma_conn_next_event(conn, &event), "event");
    if (event != RPMA_CONN_ESTABLISHED) {
      std::printf("refused %s\n", rpma_utils_conn_event_2str(event));
      std::exit(3);
    }
    Must(rpma_conn_get_cq(conn, &cq), "completion queue");
  }

  // librpma's examples describe their memory so: offset and length of the descriptor first.
  void Describe() {
    rpma_conn_private_data data;
    Must(rpma_conn_get_private_data(conn, &data), "private data");
    const auto* described = static_cast<const std::uint8_t*>(data.ptr);
    std::uint16_t offset;
    std::memcpy(&offset, described, sizeof offset);
    Must(rpma_mr_remote_from_descriptor(described + 4 + offset, described[2], &region), "region");
    std::size_t size = 0;
    Must(rpma_mr_remote_get_size(region, &size), "size");
    int flush = 0;
    Must(rpma_mr_remote_get_flush_type(region, &flush), "flush type");
    std::printf("region %zu flush %d\n", size, flush);
  }

  void Register() {
    void* memory = std::aligned_alloc(4096, kBytesMax);
    bytes = {static_cast<std::uint8_t*>(memory), kBytesMax};
    const int usage = RPMA_MR_USAGE_READ_DST | RPMA_MR_USAGE_WRITE_SRC;
    Must(rpma_mr_reg(peer, memory, kBytesMax, usage, &local), "register");
  }

  void Await() {
    ibv_wc completion;
    Must(rpma_cq_wait(cq), "wait");
    Must(rpma_cq_get_wc(cq, 1, &completion, nullptr), "completion");
    if (completion.status == IBV_WC_SUCCESS) return;
    rpma_conn_event event;
    Must(rpma_conn_next_event(conn, &event), "event");
    std::printf("refused %d %s\n", completion.status, rpma_utils_conn_event_2str(event));
    std::exit(3);
  }

  void Read(std::size_t offset, std::size_t length) {
    const int always = RPMA_F_COMPLETION_ALWAYS;
    Must(rpma_read(conn, local, 0, region, offset, length, always, nullptr), "read");
    Await();
  }

  void Write(std::size_t offset, std::size_t length) {
    const int on_error = RPMA_F_COMPLETION_ON_ERROR;
    const int always = RPMA_F_COMPLETION_ALWAYS;
    const auto visible = RPMA_FLUSH_TYPE_VISIBILITY;
    Must(rpma_write(conn, region, offset, local, 0, length, on_error, nullptr), "write");
    Must(rpma_flush(conn, region, offset, length, visible, always, nullptr), "flush");
    Await();
  }

  void Run(const Step& step) {
    const auto [offset, length, seed, unused] = step.numbers;
    if (step.kind == "read") {
      Read(offset, length);
      Report(step, bytes.first(length));
    } else if (step.kind == "write") {
      FillPattern(bytes.first(length), static_cast<std::uint32_t>(seed));
      Write(offset, length);
      std::memset(bytes.data(), 0, length);
      Read(offset, length);
      Report(step, bytes.first(length));
    } else if (step.kind == "atomic") {
      char word[8];
      std::memcpy(word, &length, sizeof word);
      const int always = RPMA_F_COMPLETION_ALWAYS;
      Must(rpma_atomic_write(conn, region, offset, word, always, nullptr), "atomic write");
      Await();
      Read(offset, sizeof word);
      Report(step, bytes.first(sizeof word));
    } else {
      Must(RPMA_E_INVAL, step.kind.c_str());
    }
  }

  void Disconnect() {
    Must(rpma_conn_disconnect(conn), "disconnect");
    rpma_conn_event event;
    Must(rpma_conn_next_event(conn, &event), "event");
    std::printf("ended %s\n", rpma_utils_conn_event_2str(event));
  }
};

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  alarm(kDeadlineSeconds);
  Client client;
  client.Connect(words[1], words[2]);
  client.Describe();
  client.Register();
  for (int at = 3; at < count; ++at) client.Run(Step(words[at]));
  client.Disconnect();
  return 0;
}
