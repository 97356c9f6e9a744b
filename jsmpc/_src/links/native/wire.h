// What stands on the wire: a header, then as many bytes as it says.
#ifndef JSMPC_LINKS_WIRE_H_
#define JSMPC_LINKS_WIRE_H_

#include <cstddef>
#include <cstdint>

namespace jsmpc {

// The kinds of frames that follow the set-up. Data and talk are numbered, by one count.
enum Kind : uint32_t {
  kData = 3,       // all of an exchange's arrays for one peer
  kTalk = 4,       // bytes of a conversation outside of programs
  kHeartbeat = 5,  // a sign of life
  kAbort = 6,      // why the sender ends the run, printable ASCII
  kBye = 7,        // an orderly end
};

constexpr uint32_t kMagic = 0x6d736a00;  // the kind stands in its lowest byte
constexpr size_t kMostReason = 500;

struct Header {
  uint32_t kind;
  uint32_t sequence;
  uint64_t length;
};
static_assert(sizeof(Header) == 16, "as the other side packs it");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as it is in memory");

}  // namespace jsmpc

#endif  // JSMPC_LINKS_WIRE_H_
