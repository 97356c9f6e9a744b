"""The native links: a library loaded at first use, and its functions as Python's."""

from __future__ import annotations

import ctypes
import functools
import socket
from collections.abc import Sequence
from typing import Any

import jax

from jsmpc._src.errors import LinkError
from jsmpc._src.kernels import library
from jsmpc._src.links.wire import Broken, Refused, Untrusted

TARGET = "jsmpc_exchange"

_ROOM = 2048
_TEXT, _INT, _LONG, _SECONDS = ctypes.c_char_p, ctypes.c_int, ctypes.c_int64, ctypes.c_double
_ANY, _LONGS = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int64)
_ERROR = (_TEXT, _LONG)
_REFUSALS = (None, Broken, Untrusted, Refused, LinkError)

# fmt: off
_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "connection_open": (_ANY, (_INT, _INT, _TEXT, _TEXT, ctypes.POINTER(_TEXT), _LONGS, _LONG,
                               _SECONDS, ctypes.POINTER(_INT), *_ERROR)),
    "connection_close": (None, (_ANY,)),
    "connection_certificate": (_LONG, (_ANY, _TEXT, _LONG)),
    "connection_fd": (_INT, (_ANY,)),
    "connection_read": (_INT, (_ANY, _ANY, _LONG, _SECONDS, *_ERROR)),
    "connection_write": (_INT, (_ANY, _TEXT, _LONG, _SECONDS, *_ERROR)),
    "links_open": (_LONG, (_LONG, ctypes.POINTER(_TEXT), ctypes.POINTER(_ANY),
                           ctypes.POINTER(_SECONDS), _SECONDS, _SECONDS)),
    "links_send": (_INT, (_LONG, _LONG, _TEXT, _LONG, *_ERROR)),
    "links_receive": (_INT, (_LONG, _LONG, _LONG, ctypes.POINTER(_ANY), _LONGS, *_ERROR)),
    "links_free": (None, (_ANY,)),
    "links_exchange": (_INT, (_LONG, _LONG, _LONG, _LONGS, ctypes.POINTER(_ANY), _LONGS,
                              *_ERROR)),
    "links_count": (_LONG, (_LONG, _LONG, _INT)),
    "links_failure": (_INT, (_LONG, *_ERROR)),
    "links_close": (None, (_LONG, _TEXT)),
}
# fmt: on


_MISSING = "jsmpc was installed without its native links (there was no OpenSSL to build on)"


@functools.cache
def _library() -> ctypes.CDLL | None:
    return library.find("jsmpc._src.links._links")


def _prepare(loaded: ctypes.CDLL) -> None:
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, f"jsmpc_{name}")
        function.restype, function.argtypes = result, arguments
    handler = jax.ffi.pycapsule(getattr(loaded, TARGET))
    jax.ffi.register_ffi_target(TARGET, handler, platform="cpu")


@functools.cache
def why_unavailable() -> str | None:
    """Why the native links cannot be used, or None where they can."""
    return library.trouble(_library, _prepare, "native links", _MISSING)


@functools.cache
def available() -> bool:
    """Whether the native links can be used; the log says once why they cannot."""
    return library.is_sound(why_unavailable(), "Python does the same, more slowly")


def _call(name: str, *arguments: Any) -> Any:
    return getattr(_library(), f"jsmpc_{name}")(*arguments)


def _checked(
    name: str, *arguments: Any, errors: tuple[type[Exception], ...] = (LinkError,)
) -> None:
    room = ctypes.create_string_buffer(_ROOM)
    if code := _call(name, *arguments, room, _ROOM):
        raise errors[code - 1](room.value.decode(errors="replace"))


class NativeConnection:
    """One socket with TLS 1.3 by OpenSSL, or a plain one; see `secured.PureConnection`."""

    def __init__(
        self,
        raw: socket.socket,
        server: bool,
        identity: tuple[str, str] | None,
        trusted: Sequence[bytes],
        seconds: float,
    ) -> None:
        certificate, key = (None, None) if identity is None else map(str.encode, identity)
        count = len(trusted)
        refusal, room = ctypes.c_int(), ctypes.create_string_buffer(_ROOM)
        self.pointer = _call(
            *("connection_open", raw.fileno(), server, certificate, key),
            *((_TEXT * count)(*trusted), (_LONG * count)(*map(len, trusted)), count, seconds),
            *(ctypes.byref(refusal), room, _ROOM),
        )
        if not self.pointer:
            kind = _REFUSALS[refusal.value] or Broken
            raise kind(room.value.decode(errors="replace"))

    @property
    def certificate(self) -> bytes:
        """The peer's certificate, DER; empty for a plain connection."""
        size = _call("connection_certificate", self.pointer, None, -1)
        room = ctypes.create_string_buffer(size)
        _call("connection_certificate", self.pointer, room, size)
        return room.raw

    def fileno(self) -> int:
        return int(_call("connection_fd", self.pointer))

    def read(self, size: int, seconds: float) -> bytes:
        """So many bytes; Broken, Refused."""
        into = ctypes.create_string_buffer(size)
        errors = (Broken, Refused)
        _checked("connection_read", self.pointer, into, size, seconds, errors=errors)
        return into.raw

    def write(self, data: bytes, seconds: float) -> None:
        """Sends the bytes, or raises `Broken`."""
        _checked("connection_write", self.pointer, data, len(data), seconds, errors=(Broken,))

    def close(self) -> None:
        """Closes the socket, unless links have taken it."""
        if self.pointer:
            _call("connection_close", self.pointer)
        self.pointer = None


class NativeCore:
    """What `Links` stands on, natively; see `core.PureCore`."""

    def __init__(
        self,
        names: Sequence[str],
        connections: Sequence[NativeConnection | None],
        beats: Sequence[float],
        silence: float,
        stall: float,
    ) -> None:
        n = len(names)
        self.handle: int = _call(
            *("links_open", n, (_TEXT * n)(*map(str.encode, names))),
            (_ANY * n)(*[None if c is None else c.pointer for c in connections]),
            *((_SECONDS * n)(*beats), silence, stall),
        )
        for connection in connections:
            if connection is not None:
                connection.pointer = None

    def exchange(
        self, sent: Sequence[tuple[int, Any]], received: Sequence[tuple[int, Any]]
    ) -> None:
        """An exchange of NumPy arrays outside of programs: (peer, array) each."""
        parts = [*sent, *received]
        count = len(parts)
        _checked(
            *("links_exchange", self.handle, len(sent), len(received)),
            (_LONG * count)(*(peer for peer, _ in parts)),
            (_ANY * count)(*(array.ctypes.data for _, array in parts)),
            (_LONG * count)(*(array.nbytes for _, array in parts)),
        )

    def send_bytes(self, peer: int, data: bytes) -> None:
        _checked("links_send", self.handle, peer, data, len(data))

    def receive_bytes(self, peer: int, limit: int) -> bytes:
        data, size = ctypes.c_void_p(), ctypes.c_int64()
        _checked(
            *("links_receive", self.handle, peer, limit, ctypes.byref(data), ctypes.byref(size))
        )
        try:
            return ctypes.string_at(data.value or 0, size.value)
        finally:
            _call("links_free", data)

    def count(self, peer: int, which: int) -> int:
        return int(_call("links_count", self.handle, peer, which))

    def failure(self) -> str | None:
        room = ctypes.create_string_buffer(_ROOM)
        failed = _call("links_failure", self.handle, room, _ROOM)
        return room.value.decode(errors="replace") if failed else None

    def close(self, reason: str | None) -> None:
        _call("links_close", self.handle, None if reason is None else reason.encode())
