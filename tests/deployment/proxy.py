"""What stands between parties in tests: it records what they send, cuts a link, or spoils it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from types import TracebackType

from parties import Loopback

_PIECE = 1 << 16


class Proxied(Loopback):
    """Endpoints on this machine, each behind a proxy.

    Attributes:
      record: all bytes that passed, by connection and direction.
      cut: stops all bytes of the connections to an endpoint, as a line does that is interrupted.
      spoil: replaces what passes there next by random bytes.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.own = self.ports
        self._stop = contextlib.ExitStack()
        self.record: list[bytearray] = []
        self._cut, self._spoiled = set[int](), set[int]()
        servers = [socket.create_server((address, 0)) for address in self.addresses]
        self.ports = [s.getsockname()[1] for s in servers]
        for endpoint, server in enumerate(servers):
            self._stop.callback(_closed, server)
            threading.Thread(target=self._accept, args=(endpoint, server), daemon=True).start()

    def __enter__(self) -> Proxied:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stop.close()

    def cut(self, endpoint: int) -> None:
        self._cut.add(endpoint)

    def spoil(self, endpoint: int) -> None:
        self._spoiled.add(endpoint)

    def _accept(self, endpoint: int, server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server is closed
            while True:
                near, _ = server.accept()
                try:
                    far = socket.create_connection((self.addresses[endpoint], self.own[endpoint]))
                except OSError:
                    near.close()
                    continue
                for source, target in ((near, far), (far, near)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._stop.callback(_closed, source)
                    self.record.append(bytearray())
                    arguments = (endpoint, source, target, self.record[-1])
                    threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self, endpoint: int, source: socket.socket, target: socket.socket, record: bytearray
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                if endpoint in self._cut:
                    continue
                if endpoint in self._spoiled:
                    piece = secrets.token_bytes(len(piece))
                record += piece
                target.sendall(piece)
        if endpoint not in self._cut:
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)


def _closed(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
