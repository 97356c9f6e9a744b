#include "link.h"

#include <string.h>

#include <algorithm>
#include <utility>

namespace jsmpc {
namespace {

constexpr uint64_t kTurn = 1 << 20;   // bytes that one link moves before another has its turn
constexpr uint64_t kGather = 16 << 10;  // short pieces go into one record

std::string printable(const std::string& text) {
  std::string clean = text.substr(0, kMostReason);
  for (char& c : clean)
    if (c < ' ' || c > '~') c = '?';
  return clean;
}

}  // namespace

Link::Link(std::string peer, std::unique_ptr<Connection> c, double beat_seconds)
    : name(std::move(peer)), beat(beat_seconds), connection(std::move(c)) {
  heard = sent = Clock::now();
}

void Link::queue(Kind kind, const std::vector<Segment>& segments) {
  Header head = {kMagic | kind, out_sequence_++, 0};
  for (const Segment& s : segments) head.length += s.size;
  out_.push_back({std::string(reinterpret_cast<char*>(&head), sizeof(head)), nullptr,
                  sizeof(head), false});
  for (const Segment& s : segments)
    if (s.size) out_.push_back({{}, s.data, s.size, true});
}

void Link::queue_control(Kind kind, const std::string& payload) {
  const std::string text = printable(payload);
  const Header head = {kMagic | kind, 0, text.size()};
  std::string own(reinterpret_cast<const char*>(&head), sizeof(head));
  own += text;
  const uint64_t size = own.size();
  out_.push_back({std::move(own), nullptr, size, false});
}

void Link::expect(std::vector<Segment> segments) {
  expecting_ = true;
  expected_ = kData;
  expected_into_ = std::move(segments);
  expected_size_ = 0;
  for (const Segment& s : expected_into_) expected_size_ += s.size;
}

void Link::expect_talk(uint64_t limit, std::string* talk) {
  expecting_ = true;
  expected_ = kTalk;
  expected_size_ = limit;
  talk_ = talk;
}

bool Link::write_some() {
  uint64_t moved = 0;
  while (!out_.empty() && moved < kTurn) {
    const Piece& first = out_.front();
    const char* from = (first.own.empty() ? first.data : first.own.data()) + out_done_;
    uint64_t size = first.size - out_done_;
    char gathered[kGather];
    if (size < kGather && out_.size() > 1) {
      const char* begin = from;
      uint64_t part = size;
      size = 0;
      for (size_t i = 0;;) {
        memcpy(gathered + size, begin, part);
        size += part;
        if (size == kGather || ++i == out_.size()) break;
        begin = out_[i].own.empty() ? out_[i].data : out_[i].own.data();
        part = std::min(out_[i].size, kGather - size);
      }
      from = gathered;
    }
    const int64_t n = connection->write(from, size);
    if (n < 0) return cannot_write();
    if (n == 0) break;
    moved += uint64_t(n);
    for (uint64_t left = uint64_t(n); left > 0;) {
      const uint64_t part = std::min(left, out_.front().size - out_done_);
      if (out_.front().payload) bytes_sent += int64_t(part);
      out_done_ += part;
      left -= part;
      if (out_done_ == out_.front().size) {
        out_.pop_front();
        out_done_ = 0;
      }
    }
  }
  const bool held = connection->unsent();
  if (!connection->flush()) return cannot_write();
  if (moved > 0) sent = Clock::now();
  return moved > 0 || (held && !connection->unsent());
}

bool Link::read_some() {
  uint64_t moved = 0;
  while (moved < kTurn && !bye && problem.empty()) {
    int64_t n = 0;
    if (head_have_ < sizeof(Header)) {
      n = connection->read(reinterpret_cast<char*>(&head_) + head_have_,
                           sizeof(Header) - head_have_);
      if (n > 0) head_have_ += size_t(n);
    } else if (!in_body_) {
      if (!on_header()) break;
      continue;
    } else if (into_index_ < into_.size()) {
      const Segment& s = into_[into_index_];
      if (into_done_ < s.size) {
        n = connection->read(s.data + into_done_, s.size - into_done_);
        if (n > 0) into_done_ += uint64_t(n);
        if (n > 0 && (head_.kind & 0xff) <= kTalk) bytes_received += n;
      }
      if (into_done_ == s.size) {
        ++into_index_;
        into_done_ = 0;
        if (n == 0) continue;
      }
    } else {
      on_frame();
      continue;
    }
    if (n < 0) {
      ended();
      break;
    }
    if (n == 0) break;
    moved += uint64_t(n);
  }
  if (moved > 0) heard = Clock::now();
  return moved > 0;
}

// Whether reading goes on; where it does not, a frame waits or something is wrong.
bool Link::on_header() {
  const uint32_t kind = head_.kind & 0xff;
  const bool known = (head_.kind & ~0xffu) == kMagic && kind >= kData && kind <= kBye;
  if (!known) {
    problem = name + " sent bytes that are no frame of this protocol";
    return false;
  }
  if (kind == kData || kind == kTalk) {
    if (!expecting_) return false;
    return on_expected();
  }
  if (head_.length > (kind == kAbort ? kMostReason : 0)) {
    problem = name + " sent a frame that is too long for its kind";
    return false;
  }
  control_.resize(head_.length);
  into_ = {{control_.data(), head_.length}};
  into_index_ = 0;
  in_body_ = true;
  return true;
}

bool Link::on_expected() {
  const uint32_t kind = head_.kind & 0xff;
  if (kind != expected_)
    return differs(expected_ == kData ? "an exchange" : "a message outside of programs",
                   expected_ == kData ? "a message outside of programs" : "an exchange");
  if (head_.sequence != in_sequence_)
    return differs("frame " + std::to_string(in_sequence_),
                   "frame " + std::to_string(head_.sequence));
  if (kind == kData && head_.length != expected_size_)
    return differs(std::to_string(expected_size_) + " bytes", std::to_string(head_.length));
  if (kind == kTalk) {
    if (head_.length > expected_size_)
      return differs("at most " + std::to_string(expected_size_) + " bytes",
                     std::to_string(head_.length));
    talk_->resize(head_.length);
    expected_into_ = {{talk_->data(), head_.length}};
  }
  ++in_sequence_;
  into_ = std::move(expected_into_);
  into_index_ = 0;
  in_body_ = true;
  return true;
}

void Link::on_frame() {
  const uint32_t kind = head_.kind & 0xff;
  head_have_ = 0;
  in_body_ = false;
  into_index_ = 0;
  if (kind == kData || kind == kTalk) {
    expecting_ = false;
    into_.clear();
  }
  if (kind == kBye) bye = true;
  if (kind == kAbort) {
    problem = name + " ended the run: " + printable(control_);
    gone_ = true;
  }
}

// The peer may have said why it takes nothing more.
bool Link::cannot_write() {
  read_some();
  return ended();
}

bool Link::ended() {
  gone_ = true;
  if (!problem.empty() || bye) return false;
  const std::string& why = connection->reason();
  problem = why.empty() ? name + " closed the connection without a goodbye"
                        : "the connection to " + name + " broke: " + why;
  return false;
}

bool Link::differs(const std::string& expected, const std::string& got) {
  problem = name + "'s program differs: expected " + expected + ", got " + got;
  return false;
}

}  // namespace jsmpc
