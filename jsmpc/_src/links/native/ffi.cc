// What Python and XLA call.
#include "xla/ffi/api/ffi.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "connection.h"
#include "links.h"

namespace jsmpc {
namespace {

namespace ffi = xla::ffi;

// The open links by their handles. It outlives the exit of the process, whose threads may
// still look into it.
struct Registry {
  std::mutex mutex;
  std::map<int64_t, std::shared_ptr<Links>> links;
  int64_t next = 1;
};

Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

std::shared_ptr<Links> find(int64_t handle) {
  std::lock_guard<std::mutex> lock(registry().mutex);
  const auto found = registry().links.find(handle);
  return found == registry().links.end() ? nullptr : found->second;
}

int tell(const std::string& text, char* room, int64_t size) {
  if (size > 0) {
    const size_t n = std::min(text.size(), size_t(size - 1));
    memcpy(room, text.data(), n);
    room[n] = 0;
  }
  return text.empty() ? 0 : 1;
}

std::string exchange_parts(int64_t handle, const std::vector<Part>& sent,
                           const std::vector<Part>& received) {
  const std::shared_ptr<Links> links = find(handle);
  return links ? links->exchange(sent, received) : "the links were closed";
}

Clock::time_point in(double seconds) {
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(Seconds(seconds));
}

// The token, arrays... -> the token, arrays... The token is the handle of the links: programs
// hold no handle of their own, and run on whichever links they are called with.
ffi::Error exchange(ffi::Buffer<ffi::U32> token, ffi::RemainingArgs arrays,
                    ffi::Result<ffi::Buffer<ffi::U32>> new_token, ffi::RemainingRets results,
                    ffi::Span<const int64_t> targets, ffi::Span<const int64_t> sources) {
  if (arrays.size() != targets.size() || results.size() != sources.size())
    return ffi::Error::InvalidArgument("one endpoint for each array");
  std::vector<Part> sent, received;
  for (size_t i = 0; i < arrays.size(); ++i) {
    const auto array = arrays.get<ffi::AnyBuffer>(i);
    if (!array) return ffi::Error::InvalidArgument("not an array");
    sent.push_back(
        {targets[i], static_cast<char*>(array->untyped_data()), array->size_bytes()});
  }
  for (size_t i = 0; i < results.size(); ++i) {
    auto array = results.get<ffi::AnyBuffer>(i);
    if (!array) return ffi::Error::InvalidArgument("not an array");
    received.push_back(
        {sources[i], static_cast<char*>((*array)->untyped_data()), (*array)->size_bytes()});
  }
  const uint32_t handle = *token.typed_data();
  const std::string error = exchange_parts(handle, sent, received);
  if (!error.empty()) return ffi::Error(ffi::ErrorCode::kUnavailable, error);
  *new_token->typed_data() = handle;
  return ffi::Error::Success();
}

}  // namespace
}  // namespace jsmpc

#define EXPORT extern "C" __attribute__((visibility("default")))

using namespace jsmpc;

// A connection over the socket, or null; `refusal` and `error` say why. Without a certificate
// it is a plain one.
EXPORT void* jsmpc_connection_open(int fd, int server, const char* certificate,
                                   const char* key, const char* const* trusted,
                                   const int64_t* sizes, int64_t count, double seconds,
                                   int* refusal, char* error, int64_t room) {
  Identity identity = {certificate, key, {}};
  for (int64_t i = 0; i < count; ++i)
    identity.trusted.emplace_back(trusted[i], size_t(sizes[i]));
  auto connection = std::make_unique<Connection>(fd);
  *refusal = int(connection->secure(identity, server != 0, in(seconds)));
  if (*refusal == 0) return connection.release();
  tell(connection->reason(), error, room);
  return nullptr;
}

EXPORT void jsmpc_connection_close(void* connection) {
  delete static_cast<Connection*>(connection);
}

// The size of the peer's certificate, DER; it is written where there is room for it.
EXPORT int64_t jsmpc_connection_certificate(void* connection, char* into, int64_t room) {
  const std::string& der = static_cast<Connection*>(connection)->certificate();
  if (int64_t(der.size()) <= room) memcpy(into, der.data(), der.size());
  return int64_t(der.size());
}

EXPORT int jsmpc_connection_fd(void* connection) {
  return static_cast<Connection*>(connection)->fd();
}

// 0; 1: it has ended, or time has; 2: the peer does not accept this side's certificate.
EXPORT int jsmpc_connection_read(void* connection, char* into, int64_t size, double seconds,
                                 char* error, int64_t room) {
  auto* c = static_cast<Connection*>(connection);
  if (c->read_all(into, size_t(size), in(seconds))) return 0;
  tell(c->reason().empty() ? "closed" : c->reason(), error, room);
  return c->refused() ? 2 : 1;
}

EXPORT int jsmpc_connection_write(void* connection, const char* from, int64_t size,
                                  double seconds, char* error, int64_t room) {
  auto* c = static_cast<Connection*>(connection);
  if (c->write_all(from, size_t(size), in(seconds))) return 0;
  return tell(c->reason().empty() ? "closed" : c->reason(), error, room);
}

// Takes the connections, null for oneself, and returns the handle of the links.
EXPORT int64_t jsmpc_links_open(int64_t count, const char* const* names,
                                void* const* connections, const double* beats,
                                double silence, double stall) {
  std::vector<Links::Peer> peers;
  for (int64_t i = 0; i < count; ++i)
    peers.push_back({names[i],
                     std::unique_ptr<Connection>(static_cast<Connection*>(connections[i])),
                     beats[i]});
  auto links = std::make_shared<Links>(std::move(peers), silence, stall);
  std::lock_guard<std::mutex> lock(registry().mutex);
  registry().links[registry().next] = std::move(links);
  return registry().next++;
}

EXPORT int jsmpc_links_send(int64_t handle, int64_t peer, const char* data, int64_t size,
                            char* error, int64_t room) {
  const auto links = find(handle);
  return tell(links ? links->send(peer, data, uint64_t(size)) : "the links were closed", error,
              room);
}

// The received bytes are to be freed with jsmpc_links_free.
EXPORT int jsmpc_links_receive(int64_t handle, int64_t peer, int64_t limit, void** data,
                               int64_t* size, char* error, int64_t room) {
  const auto links = find(handle);
  std::string bytes;
  const std::string wrong =
      links ? links->receive(peer, uint64_t(limit), bytes) : "the links were closed";
  if (!wrong.empty()) return tell(wrong, error, room);
  *size = int64_t(bytes.size());
  *data = malloc(bytes.size() + 1);
  memcpy(*data, bytes.data(), bytes.size());
  return 0;
}

EXPORT void jsmpc_links_free(void* data) { free(data); }

// An exchange outside of programs; peers, addresses and sizes of what is sent, then received.
EXPORT int jsmpc_links_exchange(int64_t handle, int64_t sent, int64_t received,
                                const int64_t* peers, char* const* data,
                                const int64_t* sizes, char* error, int64_t room) {
  std::vector<Part> parts;
  for (int64_t i = 0; i < sent + received; ++i)
    parts.push_back({peers[i], data[i], uint64_t(sizes[i])});
  return tell(exchange_parts(handle, {parts.begin(), parts.begin() + sent},
                             {parts.begin() + sent, parts.end()}),
              error, room);
}

// The bytes sent to a peer (which = 0) or received from it (1), or the exchanges that ran (2).
EXPORT int64_t jsmpc_links_count(int64_t handle, int64_t peer, int which) {
  const auto links = find(handle);
  if (!links) return -1;
  return which == 2 ? links->exchanges() : which ? links->received(peer) : links->sent(peer);
}

EXPORT int jsmpc_links_failure(int64_t handle, char* error, int64_t room) {
  const auto links = find(handle);
  return tell(links ? links->failure() : "the links were closed", error, room);
}

// Tells the peers why, if there is a reason, or says goodbye, and closes.
EXPORT void jsmpc_links_close(int64_t handle, const char* reason) {
  const auto links = find(handle);
  if (!links) return;
  {
    std::lock_guard<std::mutex> lock(registry().mutex);
    registry().links.erase(handle);
  }
  reason ? links->abort(reason) : links->close();
}

EXPORT XLA_FFI_Error* jsmpc_exchange(XLA_FFI_CallFrame*);

XLA_FFI_DEFINE_HANDLER_SYMBOL(jsmpc_exchange, exchange,
                              xla::ffi::Ffi::Bind()
                                  .Arg<xla::ffi::Buffer<xla::ffi::U32>>()
                                  .RemainingArgs()
                                  .Ret<xla::ffi::Buffer<xla::ffi::U32>>()
                                  .RemainingRets()
                                  .Attr<xla::ffi::Span<const int64_t>>("targets")
                                  .Attr<xla::ffi::Span<const int64_t>>("sources"));
