"""What stands on the wire between two endpoints: frames of a header and as many bytes."""

from __future__ import annotations

import dataclasses
import enum
import struct

MAGIC = 0x6D736A00
VERSION = 1
HEADER = struct.Struct("<IIQ")  # the magic with the kind in its lowest byte, sequence, length
MOST_REASON = 500
_HELLO = struct.Struct("<IIII")


class Kind(enum.IntEnum):
    """What a frame is; data and talk are numbered, by one count."""

    HELLO = 1
    READY = 2
    DATA = 3
    TALK = 4
    HEARTBEAT = 5
    ABORT = 6
    BYE = 7


class Broken(Exception):
    """A connection that ended, or that something else than an endpoint is behind."""


class Untrusted(Exception):
    """A peer that did not show the certificate that is pinned for it."""


class Refused(Exception):
    """A peer that does not accept the certificate that it was shown."""


@dataclasses.dataclass(frozen=True)
class Hello:
    """Who is behind a connection, sent first in both directions."""

    version: int
    rank: int
    endpoints: int
    silence_ms: int

    def frame(self) -> bytes:
        return frame(Kind.HELLO, _HELLO.pack(*dataclasses.astuple(self)))

    @staticmethod
    def read(payload: bytes) -> Hello:
        """The hello of a frame; of other versions only the version is known to be right."""
        if len(payload) < _HELLO.size:
            raise Broken("a hello that is too short")
        return Hello(*_HELLO.unpack(payload[: _HELLO.size]))


def frame(kind: Kind, payload: bytes = b"", sequence: int = 0) -> bytes:
    """A frame with its payload."""
    return HEADER.pack(MAGIC | kind, sequence & 0xFFFFFFFF, len(payload)) + payload


def parse(header: bytes | bytearray) -> tuple[int, int, int] | None:
    """Kind, sequence number and length; None if this is no header."""
    word, sequence, length = HEADER.unpack(header)
    kind = word & 0xFF
    if word & ~0xFF != MAGIC or kind not in tuple(Kind):
        return None
    return kind, sequence, length


def printable(text: str | bytes) -> str:
    """A reason as it may be shown: 500 bytes of printable ASCII at most."""
    if isinstance(text, str):
        text = text.encode("ascii", "replace")
    return "".join(chr(b) if 32 <= b <= 126 else "?" for b in text[:MOST_REASON])
