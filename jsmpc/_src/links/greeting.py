"""The first frames over a connection, and its end where it is none."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Protocol

from jsmpc._src.links import wire
from jsmpc._src.links.wire import Broken, Hello, Kind

_FAREWELL = 0.5  # seconds in which the other side may read why
_MOST_CONTROL = 1024


class Connection(Protocol):
    """What `secured.PureConnection` and `native.NativeConnection` are."""

    def __init__(
        self,
        raw: socket.socket,
        server: bool,
        identity: tuple[str, str] | None,
        trusted: Sequence[bytes],
        seconds: float,
    ) -> None: ...
    @property
    def certificate(self) -> bytes: ...
    def fileno(self) -> int: ...
    def read(self, size: int, seconds: float) -> bytes: ...
    def write(self, data: bytes, seconds: float) -> None: ...
    def close(self) -> None: ...


def exchange_hello(connection: Connection, hello: Hello, end: float) -> Hello:
    """What the other side says of itself; Broken, Refused."""
    connection.write(hello.frame(), max(end - time.monotonic(), 0))
    kind, payload = read_control(connection, end)
    if kind == Kind.ABORT:
        raise Broken(wire.printable(payload))
    if kind != Kind.HELLO:
        raise Broken("no hello")
    return Hello.read(payload)


def read_control(connection: Connection, end: float) -> tuple[int, bytes]:
    """Kind and payload of a frame of the set-up; Broken, Refused."""
    header = connection.read(wire.HEADER.size, max(end - time.monotonic(), 0))
    parsed = wire.parse(header)
    if parsed is None or parsed[2] > _MOST_CONTROL:
        raise Broken("bytes that are no frame of this protocol")
    kind, _, length = parsed
    return kind, connection.read(length, max(end - time.monotonic(), 0)) if length else b""


def dismiss(connection: Connection, reason: str) -> None:
    """Says why the set-up ends."""
    text = wire.printable(reason).encode()
    with contextlib.suppress(Broken):
        connection.write(wire.frame(Kind.ABORT, text), _FAREWELL)


def drop(raw: socket.socket, connection: Connection | None) -> None:
    """Closes a connection once the other side has read why, or after a moment."""
    with contextlib.suppress(OSError, ssl.SSLError):
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(_FAREWELL)
        end = time.monotonic() + _FAREWELL
        while time.monotonic() < end and raw.recv(4096):
            pass
    if connection is not None:
        connection.close()
