#include "links.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace jsmpc {
namespace {

// What is about to arrive is there before a thread that sleeps for it would be awake.
constexpr std::chrono::microseconds kSpin(5);
constexpr Seconds kFarewell(1.0);  // to tell the peers why or that this endpoint ends

std::string seconds(Seconds s) {
  char text[32];
  snprintf(text, sizeof(text), "%g s", s.count());
  return text;
}

Clock::time_point after(Seconds s) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(s);
}

int milliseconds(Clock::duration d) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
  return int(std::clamp<int64_t>(ms + 1, 1, 60000));
}

}  // namespace

Links::Links(std::vector<Peer> peers, double silence, double stall)
    : silence_(silence), stall_(stall), tick_(silence / 8) {
  for (Peer& p : peers) {
    links_.push_back(std::make_unique<Link>(p.name, std::move(p.connection), p.beat));
    if (links_.back()->connection) tick_ = std::min(tick_, Seconds(p.beat / 2));
  }
  if (pipe(wake_) != 0) failure_ = "no file descriptor is left";
  failed_ = !failure_.empty();
  for (int fd : wake_)
    if (fd >= 0) {
      fcntl(fd, F_SETFL, O_NONBLOCK);
      fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
  heart_ = std::thread([this] { heartbeats(); });
}

Links::~Links() {
  close();
  for (int fd : wake_)
    if (fd >= 0) ::close(fd);
}

std::string Links::failure() const {
  std::lock_guard<std::mutex> lock(noting_);
  return failure_;
}

bool Links::usable(int64_t peer) const {
  return peer >= 0 && peer < int64_t(links_.size()) && links_[size_t(peer)]->connection;
}

std::string Links::not_a_peer(int64_t peer) const {
  return "endpoint " + std::to_string(peer) + " is no peer of this one";
}

std::string Links::exchange(const std::vector<Part>& sent,
                            const std::vector<Part>& received) {
  std::lock_guard<std::mutex> lock(running_);
  if (failed_) return failure();
  for (const auto* parts : {&sent, &received})
    for (const Part& p : *parts)
      if (!usable(p.peer)) return not_a_peer(p.peer);
  std::vector<Link::Segment> segments;
  for (size_t peer = 0; peer < links_.size(); ++peer) {
    bool any = false;
    const auto gather = [&](const std::vector<Part>& parts) {
      any = false;
      segments.clear();
      for (const Part& p : parts)
        if (p.peer == int64_t(peer)) {
          any = true;
          segments.push_back({p.data, p.size});
        }
    };
    gather(sent);
    if (any) links_[peer]->queue(kData, segments);
    gather(received);
    if (any) links_[peer]->expect(segments);
  }
  const std::string error = run();
  if (error.empty()) ++exchanges_;
  return error;
}

std::string Links::send(int64_t peer, const char* data, uint64_t size) {
  std::lock_guard<std::mutex> lock(running_);
  if (failed_) return failure();
  if (!usable(peer)) return not_a_peer(peer);
  links_[size_t(peer)]->queue(kTalk, {{const_cast<char*>(data), size}});
  return run();
}

std::string Links::receive(int64_t peer, uint64_t limit, std::string& data) {
  std::lock_guard<std::mutex> lock(running_);
  if (failed_) return failure();
  if (!usable(peer)) return not_a_peer(peer);
  links_[size_t(peer)]->expect_talk(limit, &data);
  return run();
}

// Until nothing is outgoing and nothing expected, or the links have failed.
std::string Links::run() {
  began_ = progress_ = Clock::now();
  auto idle = began_;
  for (;;) {
    bool busy = false, done = true;
    if (!move(busy, done)) return failure();
    if (done) return {};
    beat();
    const auto now = Clock::now();
    if (busy) idle = now;
    if (busy || now - idle < kSpin) continue;
    wait();
    idle = Clock::now();
    if (!move(busy, done)) return failure();
    if (done) return {};
    check_time();
    if (failed_) return failure();
  }
}

// A turn of every link; false: the links have failed.
bool Links::move(bool& busy, bool& done) {
  done = true;
  if (interrupt_) {
    std::unique_lock<std::mutex> lock(noting_);
    const std::string why = interrupted_, told = telling_;
    lock.unlock();
    fail(why, told);
    return false;
  }
  for (const auto& link : links_) {
    if (!link->connection) continue;
    bool moved = false;
    const int64_t payload = link->bytes_sent + link->bytes_received;
    if (link->open() && link->outgoing()) moved |= link->write_some();
    if (link->open()) moved |= link->read_some();
    if (link->problem.empty() && link->bye && (link->outgoing() || link->expecting()))
      link->problem = link->name + " closed the connection";
    if (!link->problem.empty()) {
      fail(link->problem, link->problem);
      return false;
    }
    if (payload != link->bytes_sent + link->bytes_received) progress_ = Clock::now();
    busy |= moved;
    done = done && !link->outgoing() && !link->expecting();
  }
  return true;
}

void Links::wait() {
  std::vector<pollfd> polled = {{wake_[0], POLLIN, 0}};
  for (const auto& link : links_) {
    if (!link->open()) continue;
    short events = link->paused() && !link->expecting() ? 0 : POLLIN;
    if (link->outgoing()) events |= POLLOUT;
    if (events) polled.push_back({link->connection->fd(), events, 0});
  }
  const auto tick = std::chrono::duration_cast<Clock::duration>(std::min(tick_, stall_));
  poll(polled.data(), nfds_t(polled.size()), milliseconds(tick));
}

void Links::check_time() {
  const auto now = Clock::now();
  for (const auto& link : links_) {
    if (!link->open() || (link->paused() && !link->expecting())) continue;
    if (now - std::max(link->heard, began_) > silence_) {
      const std::string why =
          "no sign of life from " + link->name + " for " + seconds(silence_);
      return fail(why, why);
    }
  }
  if (now - progress_ <= stall_) return;
  for (const auto& link : links_) {
    if (!link->open() || !(link->expecting() || link->outgoing())) continue;
    const std::string why = link->name + " is alive but " +
                            (link->expecting() ? "sends" : "takes") + " no data for " +
                            seconds(stall_);
    return fail(why, why);
  }
}

void Links::beat() {
  const auto now = Clock::now();
  for (const auto& link : links_)
    if (link->open() && !link->outgoing() && now - link->sent >= link->beat) {
      link->queue_control(kHeartbeat, "");
      link->write_some();
    }
}

// While nobody runs an exchange, this thread shows life, and reads that of the others.
void Links::heartbeats() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "jsmpc-links");
#endif
  while (!ending_) {
    pollfd p = {wake_[0], POLLIN, 0};
    poll(&p, 1, milliseconds(std::chrono::duration_cast<Clock::duration>(tick_)));
    std::unique_lock<std::mutex> lock(running_, std::try_to_lock);
    if (!lock.owns_lock()) {
      if (p.revents) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    if (failed_ || interrupt_) return;
    bool busy = false, done = true;
    if (!move(busy, done)) return;
    beat();
  }
}

void Links::interrupt(const std::string& why, const std::string& told) {
  {
    std::lock_guard<std::mutex> lock(noting_);
    if (interrupt_) return;
    interrupted_ = why;
    telling_ = told;
  }
  interrupt_ = true;
  const char byte = 0;
  if (::write(wake_[1], &byte, 1) != 1) return;  // the pipe is full: it wakes all the same
}

// Notes why, and tells the peers, the culprit too; or says goodbye, if nothing is told.
void Links::fail(const std::string& why, const std::string& told) {
  {
    std::lock_guard<std::mutex> lock(noting_);
    if (failed_) return;
    failure_ = why;
  }
  failed_ = true;
  for (const auto& link : links_)
    if (link->reachable())
      link->queue_control(told.empty() ? kBye : kAbort, told);
  flush(after(kFarewell));
  for (const auto& link : links_)
    if (link->connection) {
      link->drop_outgoing();
      link->connection->finish();
    }
}

void Links::flush(Clock::time_point end) {
  for (;;) {
    std::vector<pollfd> polled;
    for (const auto& link : links_) {
      if (!link->reachable() || !link->outgoing()) continue;
      link->write_some();
      if (link->reachable() && link->outgoing())
        polled.push_back({link->connection->fd(), POLLOUT, 0});
    }
    const auto left = end - Clock::now();
    if (polled.empty() || left.count() <= 0) return;
    poll(polled.data(), nfds_t(polled.size()), milliseconds(left));
  }
}

void Links::abort(const std::string& reason) {
  interrupt("this endpoint ended the run: " + reason, reason);
  {
    std::lock_guard<std::mutex> lock(running_);
    fail("this endpoint ended the run: " + reason, reason);
  }
  close();
}

void Links::close() {
  ending_ = true;
  interrupt("the links were closed", "");
  std::unique_lock<std::mutex> lock(running_);
  if (closed_) return;
  closed_ = true;
  fail("the links were closed", "");
  lock.unlock();
  heart_.join();
  lock.lock();
  // What is not delivered when a socket is closed may be lost.
  const auto end = after(kFarewell);
  for (const auto& link : links_)
    while (link->connection && !link->connection->delivered() && Clock::now() < end)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  for (const auto& link : links_) link->connection.reset();
}

}  // namespace jsmpc
