"""One peer's connection as a stream of frames, never waiting."""

from __future__ import annotations

import collections
import contextlib
import fcntl
import socket
import ssl
import struct
import sys
import termios
import time
from collections.abc import Sequence
from typing import Any

from jsmpc._src.links import wire
from jsmpc._src.links.secured import PureConnection, why
from jsmpc._src.links.wire import Kind

_TURN = 1 << 20  # bytes that one stream moves before another has its turn
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Stream:
    """The frames to and from one peer.

    Attributes:
      problem: why the peer cannot be talked to any more; None while it can.
      bye: whether the peer said goodbye.
      heard, sent: when bytes last came and went, in `time.monotonic`'s seconds.
      received_bytes, sent_bytes: of data and talk, without headers.
      talk: the talk that `expect_talk` awaited.
    """

    def __init__(self, name: str, connection: PureConnection, beat: float) -> None:
        self.name, self.beat = name, beat
        self.socket = connection.socket
        self.problem: str | None = None
        self.bye = self._gone = False
        self.heard = self.sent = time.monotonic()
        self.received_bytes = self.sent_bytes = 0
        self.talk = bytearray()
        self._out: collections.deque[tuple[memoryview, bool]] = collections.deque()
        self._out_sequence = self._in_sequence = 0
        self._header = bytearray(wire.HEADER.size)
        self._have = 0
        self._frame: tuple[int, int, int] | None = None
        self._into: collections.deque[memoryview] | None = None
        self._control = bytearray()
        self._expected: tuple[Kind, int, list[memoryview]] | None = None

    @property
    def open(self) -> bool:
        return self.problem is None and not self.bye

    @property
    def reachable(self) -> bool:
        """Whether it can still be told why this endpoint ends."""
        return not self.bye and not self._gone

    @property
    def outgoing(self) -> bool:
        return bool(self._out)

    @property
    def expecting(self) -> bool:
        return self._expected is not None

    @property
    def paused(self) -> bool:
        """Whether the next frame waits for somebody who expects it."""
        return self._frame is not None and self._into is None and not self.expecting

    def queue(self, kind: Kind, parts: Sequence[memoryview]) -> None:
        """Queues data or talk; the parts stay the caller's until nothing is outgoing."""
        size = sum(part.nbytes for part in parts)
        word, sequence = wire.MAGIC | kind, self._out_sequence
        self._out_sequence = (sequence + 1) & 0xFFFFFFFF
        self._out.append((memoryview(wire.HEADER.pack(word, sequence, size)), False))
        self._out.extend((part, True) for part in parts if part.nbytes)

    def queue_control(self, kind: Kind, reason: str = "") -> None:
        """Queues a frame that is not numbered."""
        data = wire.frame(kind, wire.printable(reason).encode())
        self._out.append((memoryview(data), False))

    def expect(self, parts: list[memoryview]) -> None:
        """Awaits a frame of data that fills the parts."""
        self._expected = (Kind.DATA, sum(part.nbytes for part in parts), parts)

    def expect_talk(self, limit: int) -> None:
        """Awaits at most so many bytes."""
        self._expected = (Kind.TALK, limit, [])

    def drop_outgoing(self) -> None:
        """Forgets what is queued."""
        self._out.clear()

    def write_some(self) -> bool:
        """Writes what can be written now, at most a turn's worth; whether anything was."""
        moved = 0
        while self._out and moved < _TURN:
            part, payload = self._out[0]
            try:
                count = self.socket.send(part)
            except _BLOCKED:
                break
            except OSError as error:
                self.read_some()  # the peer may have said why it takes nothing more
                self._ended(error)
                return False
            moved += count
            self.sent_bytes += count if payload else 0
            if count == part.nbytes:
                self._out.popleft()
            else:
                self._out[0] = (part[count:], payload)
        if moved:
            self.sent = time.monotonic()
        return moved > 0

    def read_some(self) -> bool:
        """Reads what can be read now, at most a turn's worth; whether anything was."""
        moved = 0
        while moved < _TURN and self.open:
            if self._have < len(self._header):
                part = memoryview(self._header)[self._have :]
            elif self._into is None:
                if not self._begin():
                    break
                continue
            elif self._into:
                part = self._into[0]
            else:
                self._finish()
                continue
            try:
                count = self.socket.recv_into(part)
            except _BLOCKED:
                break
            except OSError as error:
                self._ended(error)
                break
            if count == 0:
                self._ended(None)
                break
            moved += count
            if self._have < len(self._header):
                self._have += count
                continue
            assert self._into is not None and self._frame is not None
            if self._frame[0] in (Kind.DATA, Kind.TALK):
                self.received_bytes += count
            if count == part.nbytes:
                self._into.popleft()
            else:
                self._into[0] = part[count:]
        if moved:
            self.heard = time.monotonic()
        return moved > 0

    def _begin(self) -> bool:
        """Whether reading goes on behind the header; else the frame waits or is wrong."""
        self._frame = wire.parse(self._header)
        if self._frame is None or self._frame[0] < Kind.DATA:
            self.problem = f"{self.name} sent bytes that are no frame of this protocol"
            return False
        kind, _, length = self._frame
        if kind in (Kind.DATA, Kind.TALK):
            return self._expected is not None and self._begin_expected(*self._expected)
        if length > (wire.MOST_REASON if kind == Kind.ABORT else 0):
            self.problem = f"{self.name} sent a frame that is too long for its kind"
            return False
        self._control = bytearray(length)
        self._into = collections.deque([memoryview(self._control)] if length else [])
        return True

    def _begin_expected(self, expected: Kind, size: int, parts: list[memoryview]) -> bool:
        assert self._frame is not None
        kind, sequence, length = self._frame
        if kind != expected:
            pair = ("an exchange", "a message outside of programs")
            return self._differs(*(pair if expected == Kind.DATA else reversed(pair)))
        if sequence != self._in_sequence:
            return self._differs(f"frame {self._in_sequence}", f"frame {sequence}")
        if kind == Kind.DATA and length != size:
            return self._differs(f"{size} bytes", str(length))
        if kind == Kind.TALK:
            if length > size:
                return self._differs(f"at most {size} bytes", str(length))
            self.talk = bytearray(length)
            parts = [memoryview(self.talk)]
        self._in_sequence = (sequence + 1) & 0xFFFFFFFF
        self._into = collections.deque(part for part in parts if part.nbytes)
        return True

    def _finish(self) -> None:
        assert self._frame is not None
        kind = self._frame[0]
        self._have, self._frame, self._into = 0, None, None
        if kind in (Kind.DATA, Kind.TALK):
            self._expected = None
        elif kind == Kind.BYE:
            self.bye = True
        elif kind == Kind.ABORT:
            reason = wire.printable(bytes(self._control))
            self.problem = f"{self.name} ended the run: {reason}"
            self._gone = True

    def _ended(self, error: OSError | None) -> None:
        self._gone = True
        if not self.open:
            return
        # Without TLS's own farewell, the end of the stream is an error for some versions.
        if error is None or isinstance(error, ssl.SSLEOFError):
            self.problem = f"{self.name} closed the connection without a goodbye"
        else:
            self.problem = f"the connection to {self.name} broke: {why(error)}"

    def _differs(self, expected: str, got: str) -> bool:
        self.problem = f"{self.name}'s program differs: expected {expected}, got {got}"
        return False

    def finish(self) -> None:
        """Sends the end of the stream; what the peer has not received yet still arrives."""
        # SSLSocket.shutdown would forget the TLS state, and with it what is still to be read.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_WR)

    def delivered(self) -> bool:
        """Whether the peer's machine has everything that was sent; drops what comes in."""
        try:
            for _ in range(64):
                if not socket.socket.recv(self.socket, 4096):
                    return True  # nobody reads there any more
        except BlockingIOError:
            pass
        except OSError:
            return True
        if sys.platform == "darwin":
            return self.socket.getsockopt(socket.SOL_SOCKET, 0x1024) == 0  # SO_NWRITE
        left = fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, b"\0" * 4)
        return bool(struct.unpack("i", left)[0] == 0)


def views(arrays: Sequence[Any]) -> list[memoryview]:
    """The bytes of contiguous NumPy arrays, uncopied."""
    return [memoryview(array.reshape(-1).view("u1")) for array in arrays]
