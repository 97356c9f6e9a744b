// The connections of one endpoint to its peers, and what runs over them.
#ifndef JSMPC_LINKS_LINKS_H_
#define JSMPC_LINKS_LINKS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "connection.h"
#include "link.h"

namespace jsmpc {

// A part of an exchange: an array that goes to a peer or comes from it.
struct Part {
  int64_t peer;
  char* data;
  uint64_t size;
};

class Links {
 public:
  struct Peer {
    std::string name;
    std::unique_ptr<Connection> connection;  // null for oneself
    double beat;                             // a heartbeat is due after as many seconds
  };

  Links(std::vector<Peer> peers, double silence, double stall);
  ~Links();

  // Each returns what went wrong; the empty string is success. What failed stays failed.
  std::string exchange(const std::vector<Part>& sent, const std::vector<Part>& received);
  std::string send(int64_t peer, const char* data, uint64_t size);
  std::string receive(int64_t peer, uint64_t limit, std::string& data);

  void abort(const std::string& reason);
  void close();

  int64_t sent(int64_t peer) const { return links_[size_t(peer)]->bytes_sent; }
  int64_t received(int64_t peer) const { return links_[size_t(peer)]->bytes_received; }
  int64_t exchanges() const { return exchanges_; }
  std::string failure() const;

 private:
  std::string run();
  bool move(bool& busy, bool& done);
  void wait();
  void check_time();
  void beat();
  void heartbeats();
  void interrupt(const std::string& why, const std::string& told);
  void fail(const std::string& why, const std::string& told);
  void flush(Clock::time_point end);
  bool usable(int64_t peer) const;
  std::string not_a_peer(int64_t peer) const;

  std::vector<std::unique_ptr<Link>> links_;
  const Seconds silence_, stall_;
  Seconds tick_;
  Clock::time_point began_, progress_;
  int wake_[2] = {-1, -1};

  std::mutex running_;  // held by whoever reads and writes
  mutable std::mutex noting_;
  std::string failure_;               // guarded by noting_
  std::string interrupted_, telling_;  // guarded by noting_
  std::atomic<bool> interrupt_{false}, failed_{false}, ending_{false};
  bool closed_ = false;
  std::atomic<int64_t> exchanges_{0};
  std::thread heart_;
};

}  // namespace jsmpc

#endif  // JSMPC_LINKS_LINKS_H_
