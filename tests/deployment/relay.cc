// A full-duplex switch between network namespaces, each joined to it by a wire of a given rate and
// delay. A packet leaves its sender once those before it have left, takes the delay, and arrives
// once those before it have arrived; beyond a bounded queue it is lost.
//
// relay ENDPOINTS BITS_PER_SECOND DELAY_SECONDS QUEUE_BYTES
//
// Makes a namespace with an interface `wire` for each endpoint, and prints the descriptors of the
// namespaces: /proc/PID/fd/N is what nsenter takes. The last byte of an IPv4 address is the
// endpoint's number, from 1. Reads lines: `cut N` loses all that endpoint N sends from now on;
// `count` prints for each endpoint the bytes sent, received and lost. Ends with its input, and the
// namespaces with it and those who entered them.
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <queue>
#include <string>
#include <vector>

namespace {

using Nanoseconds = int64_t;

// What precedes a packet of the interface: `virtio_net_hdr`, whose header is none of C++.
struct Head {
  uint8_t flags, kind;  // 0: one packet, as it is
  uint16_t headers, piece, checksum_start, checksum_offset;
};
static_assert(sizeof(Head) == 10, "as the kernel has it");

constexpr size_t kLargest = sizeof(Head) + (64 << 10);
constexpr Nanoseconds kHandling = 35000;  // what a packet takes on its way beside its delay
constexpr int kTurn = 64;  // packets that are read of one endpoint before another has its turn

Nanoseconds now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * Nanoseconds(1000000000) + t.tv_nsec;
}

[[noreturn]] void fail(const char* what) {
  perror(what);
  exit(1);
}

struct Endpoint {
  int device, space;
  Nanoseconds sent = 0, arrived = 0;  // when the last packet has left, and has arrived
  int64_t bytes_sent = 0, bytes_received = 0, bytes_lost = 0;
  bool cut = false;
};

struct Packet {
  Nanoseconds due;
  uint64_t number;  // of packets due at once, the first is the first
  bool waited;      // for those that arrive before it
  Endpoint *from, *to;
  int64_t bytes;
  std::string data;
};

struct Later {
  bool operator()(const Packet* a, const Packet* b) const {
    return a->due != b->due ? a->due > b->due : a->number > b->number;
  }
};

// A namespace of its own with one interface, which takes and gives packets of up to 64 KiB that
// stand for many: as network cards do, and cheaper by as much.
Endpoint make_endpoint() {
  if (unshare(CLONE_NEWNET) != 0) fail("no network namespace");
  const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("no /dev/net/tun");
  ifreq request = {};
  strcpy(request.ifr_name, "wire");
  request.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
  if (ioctl(device, TUNSETIFF, &request) != 0) fail("no interface");
  if (ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) fail("no offloads");
  const int space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (space < 0) fail("no descriptor of the namespace");
  return {device, space};
}

// The bytes of the IPv4 packets that a large TCP packet stands for; 0: it is none of IPv4.
int64_t on_the_wire(const std::string& data) {
  Head head;
  memcpy(&head, data.data(), sizeof(head));
  const auto* ip = reinterpret_cast<const uint8_t*>(data.data()) + sizeof(head);
  const int64_t size = int64_t(data.size() - sizeof(head));
  if (size < 20 || ip[0] >> 4 != 4) return 0;
  if (head.kind == 0) return size;
  const int64_t ip_header = (ip[0] & 15) * 4;
  const int64_t headers = ip_header + (ip[ip_header + 12] >> 4) * 4;
  const int64_t payload = size - headers;
  return payload + headers * ((payload + head.piece - 1) / head.piece);
}

class Switch {
 public:
  Switch(std::vector<Endpoint>& endpoints, double rate, double delay, int64_t queue)
      : endpoints_(endpoints), byte_(8e9 / rate), delay_(std::max(Nanoseconds(delay * 1e9) - kHandling, Nanoseconds(0))),
        longest_(Nanoseconds(double(queue) * byte_)) {}

  // Until the input ends.
  void run() {
    std::vector<pollfd> polled = {{STDIN_FILENO, POLLIN, 0}};
    for (const Endpoint& e : endpoints_) polled.push_back({e.device, POLLIN, 0});
    for (;;) {
      timespec left = {};
      const Nanoseconds wait = under_way_.empty() ? -1 : under_way_.top()->due - now();
      if (wait > 0) left = {wait / 1000000000, wait % 1000000000};
      if (ppoll(polled.data(), polled.size(), under_way_.empty() ? nullptr : &left, nullptr) < 0 &&
          errno != EINTR)
        fail("poll");
      deliver();
      for (size_t i = 0; i < endpoints_.size(); ++i)
        if (polled[i + 1].revents) take(endpoints_[i]);
      if (polled[0].revents && !command()) return;
    }
  }

 private:
  int64_t duration(int64_t bytes) const { return int64_t(double(bytes) * byte_); }

  void take(Endpoint& from) {
    for (int i = 0; i < kTurn; ++i) {
      const ssize_t size = read(from.device, room_, sizeof(room_));
      if (size <= ssize_t(sizeof(Head))) return;
      std::string data(room_, size_t(size));
      const int64_t bytes = on_the_wire(data);
      const size_t to = bytes ? uint8_t(data[sizeof(Head) + 19]) - size_t(1) : SIZE_MAX;
      if (to >= endpoints_.size()) continue;
      const Nanoseconds t = now(), before = std::max(t, from.sent);
      from.bytes_sent += bytes;
      if (from.cut || before - t > longest_) {
        from.bytes_lost += bytes;
        continue;
      }
      from.sent = before + duration(bytes);
      under_way_.push(new Packet{from.sent + delay_, count_++, false, &from, &endpoints_[to], bytes,
                                 std::move(data)});
    }
  }

  void deliver() {
    while (!under_way_.empty() && under_way_.top()->due <= now()) {
      Packet* p = under_way_.top();
      under_way_.pop();
      if (!p->waited) {
        if (p->to->arrived - p->due > longest_) {
          p->from->bytes_lost += p->bytes;
          delete p;
          continue;
        }
        p->to->arrived = std::max(p->due, p->to->arrived + duration(p->bytes));
        p->waited = true;
        if (p->to->arrived > p->due) {
          p->due = p->to->arrived;
          under_way_.push(p);
          continue;
        }
      }
      // What the kernel does not take is lost, as on any network.
      if (write(p->to->device, p->data.data(), p->data.size()) > 0)
        p->to->bytes_received += p->bytes;
      else
        p->from->bytes_lost += p->bytes;
      delete p;
    }
  }

  bool command() {
    char line[64];
    const ssize_t size = read(STDIN_FILENO, line, sizeof(line) - 1);
    if (size <= 0) return false;
    line[size] = 0;
    size_t which = 0;
    if (sscanf(line, "cut %zu", &which) == 1 && which >= 1 && which <= endpoints_.size())
      endpoints_[which - 1].cut = true;
    for (const Endpoint& e : endpoints_)
      printf("%ld %ld %ld ", long(e.bytes_sent), long(e.bytes_received), long(e.bytes_lost));
    printf("\n");
    fflush(stdout);
    return true;
  }

  std::vector<Endpoint>& endpoints_;
  const double byte_;  // nanoseconds that a byte takes
  const Nanoseconds delay_, longest_;
  std::priority_queue<Packet*, std::vector<Packet*>, Later> under_way_;
  uint64_t count_ = 0;
  char room_[kLargest];
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 5) return 2;
  std::vector<Endpoint> endpoints;
  for (int i = 0; i < atoi(arguments[1]); ++i) endpoints.push_back(make_endpoint());
  // Packets are in time although the endpoints keep all cores busy.
  const sched_param first = {1};
  sched_setscheduler(0, SCHED_FIFO, &first);
  prctl(PR_SET_TIMERSLACK, 1);
  for (const Endpoint& e : endpoints) printf("%d ", e.space);
  printf("\n");
  fflush(stdout);
  static Switch between(endpoints, atof(arguments[2]), atof(arguments[3]), atoll(arguments[4]));
  between.run();
}
