"""What both ends of a connection have in common: gRPC, its settings, and messages in chunks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jsmpc._src.errors import JsmpcError
from jsmpc._src.transport import messages
from jsmpc._src.transport.blocks import Buffer
from jsmpc._src.transport.errors import MessageError

METHOD = "/jsmpc.Transport/Call"
CHUNK = 1 << 20

# The signs of life wait behind what is under way, so that this must be bounded: in the 3.5 seconds
# that a client waits for them, a link of 5 Mbit/s moves a window.
_WINDOW = 1 << 21

OPTIONS = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", _WINDOW),
    ("grpc.max_receive_message_length", CHUNK),
    ("grpc.max_send_message_length", CHUNK),
    ("grpc.max_metadata_size", 1 << 14),
    ("grpc.absolute_max_metadata_size", 1 << 14),
)


def library() -> Any:
    """The module grpc, which is loaded when the first connection is made.

    Raises:
      JsmpcError: if it is not installed.
    """
    # What gRPC writes to the terminal by itself holds addresses and names of peers.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import grpc
    except ImportError:
        raise JsmpcError(
            "requests between processes need gRPC, which is not installed. Run "
            "pip install 'jsmpc[workers]'"
        ) from None
    return grpc


def chunks(parts: Sequence[Buffer]) -> Iterator[bytes]:
    """The bytes of a message in pieces of 1 MiB."""
    held: list[memoryview] = []
    size = 0
    for part in parts:
        view = memoryview(part)
        while size + len(view) >= CHUNK:
            yield b"".join((*held, view[: CHUNK - size]))
            view = view[CHUNK - size :]
            held, size = [], 0
        held.append(view)
        size += len(view)
    if size:
        yield b"".join(held)


def joined(pieces: Iterable[bytes], largest: int) -> bytearray:
    """The bytes of the next message, of at most `largest` MiB; empty if there is none.

    Raises:
      MessageError: if it is larger, ends early, or is none from its first piece on.
    """
    data, size = bytearray(), 0
    for piece in pieces:
        if not data:
            size, _ = messages.opened(piece)
            check_size(size, largest)
        data += piece
        if len(data) >= size:
            return data
    if data:
        raise MessageError(f"a message ends after {len(data)} of {size} bytes")
    return data


def check_size(size: int, largest: int) -> None:
    """Raise MessageError if a message of so many bytes is larger than `largest` MiB."""
    if size > largest << 20:
        raise MessageError(
            f"a message of {size} bytes is larger than {largest} MiB. Send it in parts, or raise "
            "`largest` in the file of the workers"
        )
