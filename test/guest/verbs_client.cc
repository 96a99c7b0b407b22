// A client over rdma-core alone (rdma_cm, ibverbs): `verbs_client HOST PORT STEP…`. Steps:
// `read:OFFSET:LENGTH:CHUNK:DEPTH` (DEPTH READs of CHUNK bytes under way),
// `write:OFFSET:LENGTH:SEED` (one WRITE and a READ right behind it), `empty` (a READ and a WRITE of
// no bytes with a key that is nobody's, RFC 5040 section 4.4), `wrong-key`, `beyond` (a READ over
// the region's end), `wait` (READs of the first bytes, again and again, until the connection ends).
// A request that the appliance refuses prints `refused STATUS EVENT` and ends the program with
// status 3; STATUS is `unanswered` for one that siw never completes, since it was posted when the
// connection had ended.
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "steps.h"

namespace {

constexpr std::size_t kBytesMax = 4 << 20;
// As many as siw lets be under way.
constexpr std::uint32_t kDepthMax = 128;

void Must(bool done, const char* what) {
  if (done) return;
  std::printf("failed %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

struct Client {
  rdma_cm_id* id = nullptr;
  std::uint64_t address = 0;
  std::uint64_t size = 0;
  std::uint32_t key = 0;
  ibv_mr* registered = nullptr;
  std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kBytesMax);

  void Connect(char* host, char* port) {
    rdma_addrinfo hints = {};
    hints.ai_port_space = RDMA_PS_TCP;
    rdma_addrinfo* found = nullptr;
    Must(rdma_getaddrinfo(host, port, &hints, &found) == 0, "address");
    ibv_qp_init_attr queue = {};
    queue.cap = {kDepthMax, 1, 1, 1, 0};
    queue.qp_type = IBV_QPT_RC;
    queue.sq_sig_all = 1;
    Must(rdma_create_ep(&id, found, nullptr, &queue) == 0, "endpoint");
    rdma_conn_param param = {};
    param.initiator_depth = kDepthMax;
    param.responder_resources = kDepthMax;
    Must(rdma_connect(id, &param) == 0, "connect");
    const auto& granted = id->event->param.conn;
    const auto* described = static_cast<const std::uint8_t*>(granted.private_data);
    std::memcpy(&address, described + 4, sizeof address);
    std::memcpy(&size, described + 12, sizeof size);
    std::memcpy(&key, described + 20, sizeof key);
    std::printf("region %llu usage %d\n", static_cast<unsigned long long>(size), described[24]);
    registered = rdma_reg_msgs(id, bytes.data(), bytes.size());
    Must(registered != nullptr, "register");
  }

  void PostRead(std::size_t into, std::uint64_t from, std::size_t length, std::uint32_t with_key) {
    Must(rdma_post_read(id, nullptr, bytes.data() + into, length, registered, 0, from,
                        with_key) == 0, "post read");
  }

  void PostWrite(std::uint64_t to, std::size_t length, std::uint32_t with_key) {
    Must(rdma_post_write(id, nullptr, bytes.data(), length, registered, 0, to, with_key) == 0,
         "post write");
  }

  // Takes a completion if there is one. A request that is posted to a queue pair in the error state
  // gets none from siw, so the end of the connection is waited for beside it.
  void Await() {
    ibv_wc completion = {};
    rdma_cm_event* event = nullptr;
    while (ibv_poll_cq(id->send_cq, 1, &completion) == 0) {
      if (event != nullptr) return Refuse("unanswered", event);
      Must(ibv_req_notify_cq(id->send_cq, 0) == 0, "notify");
      if (ibv_poll_cq(id->send_cq, 1, &completion) != 0) break;
      pollfd ready[] = {{id->send_cq_channel->fd, POLLIN, 0}, {id->channel->fd, POLLIN, 0}};
      Must(poll(ready, 2, -1) > 0, "poll");
      if (ready[1].revents != 0) Must(rdma_get_cm_event(id->channel, &event) == 0, "event");
      if (ready[0].revents != 0) TakeNotice();
    }
    if (completion.status == IBV_WC_SUCCESS) return;
    if (event == nullptr) Must(rdma_get_cm_event(id->channel, &event) == 0, "event");
    Refuse(std::to_string(completion.status).c_str(), event);
  }

  void TakeNotice() {
    ibv_cq* queue = nullptr;
    void* context = nullptr;
    Must(ibv_get_cq_event(id->send_cq_channel, &queue, &context) == 0, "notice");
    ibv_ack_cq_events(queue, 1);
  }

  void Refuse(const char* status, const rdma_cm_event* event) {
    std::printf("refused %s %s\n", status, rdma_event_str(event->event));
    std::exit(3);
  }

  void ReadMany(std::uint64_t offset, std::size_t length, std::size_t chunk, std::size_t depth) {
    std::size_t posted = 0;
    std::size_t under_way = 0;
    while (posted < length || under_way > 0) {
      while (posted < length && under_way < depth) {
        const auto part = std::min(chunk, length - posted);
        PostRead(posted, address + offset + posted, part, key);
        posted += part;
        ++under_way;
      }
      Await();
      --under_way;
    }
  }

  void Run(const Step& step) {
    const auto [first, second, third, fourth] = step.numbers;
    if (step.kind == "read") {
      ReadMany(first, second, third ? third : second, fourth ? fourth : 1);
      Report(step, std::span(bytes).first(second));
    } else if (step.kind == "write") {
      FillPattern(std::span(bytes).first(second), static_cast<std::uint32_t>(third));
      PostWrite(address + first, second, key);
      PostRead(second, address + first, second, key);
      Await();
      Await();
      Report(step, std::span(bytes).subspan(second, second));
    } else if (step.kind == "empty") {
      PostRead(0, 1, 0, ~key);
      PostWrite(1, 0, ~key);
      Await();
      Await();
      std::printf("empty\n");
    } else if (step.kind == "wrong-key") {
      PostRead(0, address, 8, ~key);
      Await();
    } else if (step.kind == "beyond") {
      PostRead(0, address + size - 1, 2, key);
      Await();
    } else if (step.kind == "wait") {
      std::printf("waiting\n");
      for (;;) {
        PostRead(0, address, 8, key);
        Await();
        usleep(1000);
      }
    } else {
      errno = EINVAL;
      Must(false, step.kind.c_str());
    }
  }
};

}  // namespace

int main(int count, char** words) {
  if (count < 3) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  alarm(kDeadlineSeconds);
  Client client;
  client.Connect(words[1], words[2]);
  for (int at = 3; at < count; ++at) client.Run(Step(words[at]));
  Must(rdma_disconnect(client.id) == 0, "disconnect");
  std::printf("ended\n");
  return 0;
}
