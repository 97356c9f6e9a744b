"""A socket with TLS 1.3 by Python's ssl, or a plain one."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

from jsmpc._src.errors import LinkError
from jsmpc._src.links.wire import Broken, Refused, Untrusted

# What OpenSSL reports when the other side sent an alert about a certificate.
_ALERTS = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE", "ALERT_DECRYPT")


def context(server: bool, identity: tuple[str, str], trusted: Sequence[bytes]) -> ssl.SSLContext:
    """TLS 1.3 alone, with a certificate on both sides, trusting these certificates (DER)."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    if server:
        made.num_tickets = 0
    try:
        # An encrypted key is not asked about on the terminal: it cannot be used.
        made.load_cert_chain(*identity, password=lambda: "")
        made.load_verify_locations(cadata=b"".join(trusted))
    except (OSError, ValueError) as error:
        raise LinkError(
            f"the certificates or the private key cannot be used: {why(error)}"
        ) from None
    return made


def why(error: BaseException) -> str:
    """The cause that an error of a socket names."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unreadable").lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class PureConnection:
    """One socket, non-blocking, with TLS or without.

    Args:
      raw: a connected socket, which stays the caller's to close.
      server: the side in the handshake.
      identity: paths of certificate and private key, PEM; None for a plain connection.
      trusted: the certificates one of which the peer has to show, DER.
      seconds: how long the handshake may take.

    Raises:
      Broken, Untrusted, Refused: the handshake failed.
      LinkError: the certificates cannot be used.
    """

    def __init__(
        self,
        raw: socket.socket,
        server: bool,
        identity: tuple[str, str] | None,
        trusted: Sequence[bytes],
        seconds: float,
    ) -> None:
        self.socket: Any = raw.dup()
        self.socket.setblocking(False)
        if identity is None:
            return
        plain = self.socket
        try:
            made = context(server, identity, trusted)
            self.socket = made.wrap_socket(plain, server_side=server, do_handshake_on_connect=False)
            self._until(self.socket.do_handshake, seconds)
        except BaseException as error:
            self.socket.close()
            plain.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise Untrusted(why(error)) from None
            raise

    def _until(self, act: Callable[[], Any], seconds: float, blocked: int = select.POLLIN) -> Any:
        end = time.monotonic() + seconds
        while True:
            try:
                return act()
            except BlockingIOError:
                events = blocked
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except ssl.SSLCertVerificationError:
                raise
            except OSError as error:
                reason = getattr(error, "reason", None) or ""
                refused = any(alert in reason for alert in _ALERTS)
                raise (Refused if refused else Broken)(why(error)) from None
            left = end - time.monotonic()
            if left <= 0:
                raise Broken("no answer in time")
            poll = select.poll()
            poll.register(self.socket.fileno(), events)
            poll.poll(min(left, 1.0) * 1000)

    @property
    def certificate(self) -> bytes:
        """The peer's certificate, DER; empty for a plain connection."""
        if not isinstance(self.socket, ssl.SSLSocket):
            return b""
        return self.socket.getpeercert(binary_form=True) or b""

    def fileno(self) -> int:
        return int(self.socket.fileno())

    def read(self, size: int, seconds: float) -> bytes:
        """So many bytes; Broken, Refused."""
        end, data = time.monotonic() + seconds, b""
        while len(data) < size:
            more = self._until(lambda: self.socket.recv(size - len(data)), end - time.monotonic())
            if not more:
                raise Broken("closed")
            data += more
        return data

    def write(self, data: bytes, seconds: float) -> None:
        """Sends the bytes, or raises `Broken`."""
        end = time.monotonic() + seconds
        while data:
            sent = self._until(
                lambda: self.socket.send(data), end - time.monotonic(), select.POLLOUT
            )
            data = data[sent:]

    def close(self) -> None:
        """Closes the socket."""
        with contextlib.suppress(OSError):
            self.socket.close()
