// One socket, with TLS 1.3 or without.
#ifndef JSMPC_LINKS_CONNECTION_H_
#define JSMPC_LINKS_CONNECTION_H_

#include <openssl/ssl.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace jsmpc {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

// Why a connection was not opened.
enum class Refusal { kNone, kBroken, kUntrusted, kRefused, kLocal };

struct Identity {
  const char* certificate;  // paths of PEM files; null for a plain connection
  const char* key;
  std::vector<std::string> trusted;  // DER, of self-signed certificates
};

class Connection {
 public:
  // Shares the socket with the caller, who may close their descriptor.
  explicit Connection(int fd);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The handshake; the reason of a refusal is in reason().
  Refusal secure(const Identity& identity, bool server, Clock::time_point end);

  // How many bytes were read or written; 0: none can be now; -1: the connection has ended.
  int64_t read(void* into, size_t size);
  int64_t write(const void* from, size_t size);
  // Sends what write() holds back, as far as the socket takes it; false: it has ended.
  bool flush();
  bool unsent() const { return begin_ < end_; }

  // As above, of all bytes, waiting for them; false: ended or too late.
  bool read_all(void* into, size_t size, Clock::time_point end);
  bool write_all(const void* from, size_t size, Clock::time_point end);

  // Sends the end of the stream; what the peer has not received yet still arrives.
  void finish();
  // Whether the peer's machine has everything that was sent; drops what comes in.
  bool delivered();

  int fd() const { return fd_; }
  bool wants_to_write() const { return unsent() || wants_to_write_; }
  const std::string& certificate() const { return certificate_; }
  const std::string& reason() const { return reason_; }

  // For the BIO: sockets without signals; ciphertext is collected in both directions.
  int receive(char* into, int size, bool& again);
  int take(char* into, int size, bool& again);
  int collect(const char* from, int size);
  bool ended() const { return ended_; }

  // Whether the peer said that it does not accept the certificate it was shown.
  bool refused() const { return refused_; }

 private:
  int64_t result(int code, bool& ended);
  bool wait(short events, Clock::time_point end);
  bool send_collected();
  std::string alert() const;

  int fd_;
  SSL* ssl_ = nullptr;
  SSL_CTX* context_ = nullptr;
  std::vector<char> collected_, ahead_;  // ciphertext, going out and come in
  size_t begin_ = 0, end_ = 0, ahead_begin_ = 0, ahead_end_ = 0;
  uint64_t since_key_ = 0;
  bool ended_ = false, write_ended_ = false, wants_to_write_ = false, refused_ = false;
  std::string reason_, certificate_;
};

}  // namespace jsmpc

#endif  // JSMPC_LINKS_CONNECTION_H_
