#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace jsmpc {
namespace {

constexpr size_t kBatch = 64 << 10;          // ciphertext sent at once
constexpr size_t kRoom = kBatch + (17 << 10);  // and the record that fills the batch
constexpr size_t kReadAhead = 128 << 10;
constexpr uint64_t kBytesPerKey = uint64_t(1) << 35;  // far below the bounds of AES-GCM

#ifndef MSG_NOSIGNAL
constexpr int kSendFlags = 0;  // SO_NOSIGPIPE is set on the socket
#else
constexpr int kSendFlags = MSG_NOSIGNAL;
#endif

int bio_write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  auto* connection = static_cast<Connection*>(BIO_get_data(bio));
  const int n = connection->collect(from, size);
  if (n == 0) BIO_set_retry_write(bio);
  return n > 0 ? n : -1;
}

int bio_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  bool again = false;
  auto* connection = static_cast<Connection*>(BIO_get_data(bio));
  const int n = connection->take(into, size, again);
  if (again) BIO_set_retry_read(bio);
  return n;
}

long bio_control(BIO* bio, int command, long, void*) {
  auto* connection = static_cast<Connection*>(BIO_get_data(bio));
  if (command == BIO_CTRL_EOF) return connection->ended();
  if (command != BIO_CTRL_FLUSH) return 0;
  BIO_clear_retry_flags(bio);
  if (!connection->flush()) return -1;
  if (!connection->unsent()) return 1;
  BIO_set_retry_write(bio);
  return -1;
}

BIO_METHOD* bio_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "links");
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_ctrl(m, bio_control);
    return m;
  }();
  return method;
}

// TLS 1.3 alone, with a certificate on both sides, without tickets.
SSL_CTX* make_context(const Identity& identity) {
  SSL_CTX* c = SSL_CTX_new(TLS_method());
  if (!c) return nullptr;
  SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(
      c, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
  SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(c, 0);
  SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // An encrypted key is not asked about on the terminal: it cannot be used.
  SSL_CTX_set_default_passwd_cb(c, [](char*, int, int, void*) { return 0; });
  bool good = SSL_CTX_use_certificate_file(c, identity.certificate, SSL_FILETYPE_PEM) == 1 &&
              SSL_CTX_use_PrivateKey_file(c, identity.key, SSL_FILETYPE_PEM) == 1 &&
              SSL_CTX_check_private_key(c) == 1;
  for (const std::string& der : identity.trusted) {
    auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    X509* x = d2i_X509(nullptr, &bytes, long(der.size()));
    good = good && x && X509_STORE_add_cert(SSL_CTX_get_cert_store(c), x) == 1;
    X509_free(x);
  }
  if (good) return c;
  SSL_CTX_free(c);
  return nullptr;
}

}  // namespace

Connection::Connection(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
#ifdef SO_NOSIGPIPE
  const int on = 1;
  setsockopt(fd_, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
}

Connection::~Connection() {
  SSL_free(ssl_);
  SSL_CTX_free(context_);
  if (fd_ >= 0) close(fd_);
}

Refusal Connection::secure(const Identity& identity, bool server, Clock::time_point end) {
  if (fd_ < 0) {
    reason_ = "no file descriptor is left";
    return Refusal::kLocal;
  }
  if (!identity.certificate) return Refusal::kNone;
  ERR_clear_error();
  context_ = make_context(identity);
  ssl_ = context_ ? SSL_new(context_) : nullptr;
  BIO* bio = ssl_ ? BIO_new(bio_method()) : nullptr;
  if (!bio) {
    reason_ = "the certificates or the private key cannot be used: " + alert();
    return Refusal::kLocal;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  collected_.resize(kRoom);
  ahead_.resize(kReadAhead);
  for (;;) {
    ERR_clear_error();
    const int code = server ? SSL_accept(ssl_) : SSL_connect(ssl_);
    if (code == 1) break;
    const int error = SSL_get_error(ssl_, code);
    const short events = error == SSL_ERROR_WANT_READ    ? POLLIN
                         : error == SSL_ERROR_WANT_WRITE ? POLLOUT
                                                         : 0;
    if (events && wait(events, end)) continue;
    flush();  // the alert that tells the peer why
    const long verified = SSL_get_verify_result(ssl_);
    if (verified != X509_V_OK) {
      reason_ = X509_verify_cert_error_string(verified);
      return Refusal::kUntrusted;
    }
    result(code, ended_);
    return refused_ ? Refusal::kRefused : Refusal::kBroken;
  }
  X509* x = SSL_get_peer_certificate(ssl_);
  unsigned char* der = nullptr;
  const int size = i2d_X509(x, &der);
  if (size > 0) certificate_.assign(reinterpret_cast<char*>(der), size_t(size));
  OPENSSL_free(der);
  X509_free(x);
  return Refusal::kNone;
}

int64_t Connection::read(void* into, size_t size) {
  if (ended_) return -1;
  size = std::min(size, size_t(1) << 30);
  if (!ssl_) {
    bool again = false;
    const int n = receive(static_cast<char*>(into), int(size), again);
    return again ? 0 : n > 0 ? n : -1;
  }
  ERR_clear_error();
  const int n = SSL_read(ssl_, into, int(size));
  return n > 0 ? n : result(n, ended_);
}

int64_t Connection::write(const void* from, size_t size) {
  if (write_ended_) return -1;
  size = std::min(size, size_t(1) << 30);
  if (!ssl_) {
    const ssize_t n = send(fd_, from, size, kSendFlags);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return 0;
    reason_ = strerror(errno);
    write_ended_ = true;
    return -1;
  }
  if (since_key_ > kBytesPerKey && SSL_key_update(ssl_, SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
    since_key_ = 0;
  ERR_clear_error();
  const int n = SSL_write(ssl_, from, int(size));
  if (n <= 0) return result(n, write_ended_);
  wants_to_write_ = false;
  since_key_ += uint64_t(n);
  return n;
}

// What a failed call of OpenSSL means: 0 to try again, or -1.
int64_t Connection::result(int code, bool& ended) {
  const int error = SSL_get_error(ssl_, code);
  if (error == SSL_ERROR_WANT_READ && !ended) return 0;
  if (error == SSL_ERROR_WANT_WRITE && !ended) {
    wants_to_write_ = true;
    return 0;
  }
  if (!ended_ && !write_ended_ && error == SSL_ERROR_SSL) {
    const int told = ERR_GET_REASON(ERR_peek_last_error()) - SSL_AD_REASON_OFFSET;
    refused_ = (told >= SSL_AD_BAD_CERTIFICATE && told <= SSL_AD_DECRYPT_ERROR) ||
               told == SSL_AD_CERTIFICATE_REQUIRED;
    reason_ = alert();
  }
  ended = true;
  return -1;
}

std::string Connection::alert() const {
  const char* text = ERR_reason_error_string(ERR_peek_last_error());
  return text ? text : "unreadable";
}

bool Connection::send_collected() {
  while (begin_ < end_) {
    const ssize_t n = send(fd_, collected_.data() + begin_, end_ - begin_, kSendFlags);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
      reason_ = strerror(errno);
      write_ended_ = true;
      return false;
    }
    begin_ += size_t(n);
  }
  begin_ = end_ = 0;
  return true;
}

bool Connection::flush() { return !unsent() || (!write_ended_ && send_collected()); }

int Connection::collect(const char* from, int size) {
  if (end_ - begin_ >= kBatch && !send_collected()) return -1;
  if (begin_ > 0 && kRoom - end_ < size_t(size)) {
    std::copy(&collected_[begin_], collected_.data() + end_, collected_.data());
    end_ -= begin_;
    begin_ = 0;
  }
  const size_t n = std::min(size_t(size), kRoom - end_);
  memcpy(collected_.data() + end_, from, n);
  end_ += n;
  return int(n);
}

// OpenSSL asks for a header, then for a record; its own reading ahead moves what is left to the
// front of its buffer for every record.
int Connection::take(char* into, int size, bool& again) {
  if (ahead_begin_ == ahead_end_) {
    const int n = receive(ahead_.data(), int(ahead_.size()), again);
    if (n <= 0) return n;
    ahead_begin_ = 0;
    ahead_end_ = size_t(n);
  }
  const size_t n = std::min(size_t(size), ahead_end_ - ahead_begin_);
  memcpy(into, ahead_.data() + ahead_begin_, n);
  ahead_begin_ += n;
  return int(n);
}

int Connection::receive(char* into, int size, bool& again) {
  for (;;) {
    const ssize_t n = recv(fd_, into, size_t(size), 0);
    if (n > 0) return int(n);
    if (n < 0 && errno == EINTR) continue;
    again = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (again) return -1;
    if (n < 0) reason_ = strerror(errno);
    ended_ = true;
    return int(n);
  }
}

bool Connection::wait(short events, Clock::time_point end) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
  pollfd p = {fd_, events, 0};
  if (left.count() > 0 && poll(&p, 1, int(std::min<int64_t>(left.count(), 1000))) >= 0)
    return true;
  if (left.count() > 0 && errno == EINTR) return true;
  reason_ = "no answer in time";
  return false;
}

bool Connection::read_all(void* into, size_t size, Clock::time_point end) {
  for (size_t have = 0; have < size;) {
    const int64_t n = read(static_cast<char*>(into) + have, size - have);
    if (n < 0 || (n == 0 && !wait(POLLIN, end))) return false;
    have += size_t(n);
  }
  return true;
}

bool Connection::write_all(const void* from, size_t size, Clock::time_point end) {
  for (size_t have = 0; have < size || unsent();) {
    const int64_t n =
        have < size ? write(static_cast<const char*>(from) + have, size - have) : 0;
    if (n < 0 || !flush()) return false;
    have += size_t(n);
    if (n == 0 && unsent() && !wait(POLLOUT, end)) return false;
    if (n == 0 && have < size && !unsent() && !wait(POLLOUT, end)) return false;
  }
  return true;
}

void Connection::finish() { shutdown(fd_, SHUT_WR); }

bool Connection::delivered() {
  char dropped[4096];
  bool again = false;
  for (int i = 0; i < 64 && !ended_ && receive(dropped, sizeof(dropped), again) > 0; ++i) {
  }
  if (ended_) return true;  // nobody reads there any more
  int left = 0;
#ifdef SO_NWRITE
  socklen_t size = sizeof(left);
  getsockopt(fd_, SOL_SOCKET, SO_NWRITE, &left, &size);
#else
  if (ioctl(fd_, TIOCOUTQ, &left) < 0) left = 0;
#endif
  return left == 0;
}

}  // namespace jsmpc
