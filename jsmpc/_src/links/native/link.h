// One peer's connection as a stream of frames, never waiting.
#ifndef JSMPC_LINKS_LINK_H_
#define JSMPC_LINKS_LINK_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "connection.h"
#include "wire.h"

namespace jsmpc {

class Link {
 public:
  struct Segment {
    char* data;
    uint64_t size;
  };

  Link(std::string peer, std::unique_ptr<Connection> c, double beat_seconds);

  // Queues a frame; the segments stay the caller's until nothing is outgoing.
  void queue(Kind kind, const std::vector<Segment>& segments);
  void queue_control(Kind kind, const std::string& payload);
  // Awaits a frame of data that fills the segments, or a talk of at most `limit` bytes.
  void expect(std::vector<Segment> segments);
  void expect_talk(uint64_t limit, std::string* talk);

  // Move what can be moved now, at most a turn's worth, and say whether anything moved;
  // what goes wrong stands in `problem`.
  bool write_some();
  bool read_some();

  bool open() const { return connection && problem.empty() && !bye; }
  // Whether it can still be told why this endpoint ends.
  bool reachable() const { return connection && !bye && !gone_; }
  bool outgoing() const { return !out_.empty() || connection->wants_to_write(); }
  bool expecting() const { return expecting_; }
  // Whether the next frame waits for an exchange that expects it.
  bool paused() const { return head_have_ == sizeof(Header) && !in_body_; }
  void drop_outgoing() { out_.clear(); }

  const std::string name;
  const Seconds beat;
  std::unique_ptr<Connection> connection;
  std::string problem;  // why the peer cannot be talked to any more
  bool bye = false;
  Clock::time_point heard, sent;
  std::atomic<int64_t> bytes_sent{0}, bytes_received{0};

 private:
  struct Piece {
    std::string own;  // where this is empty, the data are the caller's
    const char* data;
    uint64_t size;
    bool payload;
  };

  bool on_header();
  bool on_expected();
  void on_frame();
  bool ended();
  bool cannot_write();
  bool differs(const std::string& expected, const std::string& got);

  std::deque<Piece> out_;
  uint64_t out_done_ = 0;  // bytes of the first piece that are written
  uint32_t out_sequence_ = 0, in_sequence_ = 0;

  Header head_ = {};
  size_t head_have_ = 0;
  bool in_body_ = false, expecting_ = false, gone_ = false;
  Kind expected_ = kData;
  uint64_t expected_size_ = 0;
  std::string* talk_ = nullptr;
  std::string control_;
  std::vector<Segment> expected_into_, into_;
  size_t into_index_ = 0;
  uint64_t into_done_ = 0;
};

}  // namespace jsmpc

#endif  // JSMPC_LINKS_LINK_H_
