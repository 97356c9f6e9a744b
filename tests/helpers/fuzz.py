"""Messages that are almost right, and how to send them to a worker that knows the sender."""

from __future__ import annotations

import random
from collections.abc import Iterable

from jsmpc._src.transport import channels, messages
from jsmpc._src.transport.client import Channel

_LENGTHS = (0, 1, 2**7 - 1, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1)


def encoded(message: messages.Message) -> bytes:
    """The bytes of a message as one."""
    return b"".join(messages.encode(message))


def mutated(recorded: bytes, rng: random.Random) -> bytes:
    """The bytes of a message after one to four damages.

    Bits are flipped, the end is cut off, bytes are put in, pieces are doubled, taken out or moved,
    and numbers that may be lengths are replaced. In every other case the message's own length at
    its beginning is made right again, so that what is inside is looked at.
    """
    data = bytearray(recorded)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_DAMAGES)(data, rng)
    if rng.random() < 0.5 and len(data) >= messages.START.size:
        magic, _, head = messages.START.unpack_from(data)
        messages.START.pack_into(data, 0, magic, len(data), head)
    return bytes(data)


def send_raw(channel: Channel, body: bytes | Iterable[bytes], seconds: float = 5.0) -> bytes:
    """What the worker of a channel answers to bytes that need be no message.

    They are sent as a stream of their own, which ends with them; pieces are sent as they come.

    Raises:
      JsmpcError: as `Channel.call` does.
    """
    pieces = channels.chunks([body]) if isinstance(body, bytes) else iter(body)
    connection, lane = channel._taken()
    try:
        return b"".join(connection._method(pieces, timeout=seconds))
    except channel._grpc.RpcError as error:
        raise channel._error(error, None) from None
    finally:
        connection.give_back(lane, good=False)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, but every other time near the beginning, where the head is."""
    return rng.randint(0, min(len(data), 64) if rng.random() < 0.5 else len(data))


def _piece(data: bytearray, rng: random.Random) -> slice:
    start = _place(data, rng)
    return slice(start, start + rng.randint(0, 32))


def _flip(data: bytearray, rng: random.Random) -> None:
    if data:
        data[_place(data, rng) - 1] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    data[start:start] = rng.randbytes(rng.randint(1, 16))


def _double(data: bytearray, rng: random.Random) -> None:
    piece = _piece(data, rng)
    data[piece.stop : piece.stop] = data[piece]


def _take_out(data: bytearray, rng: random.Random) -> None:
    del data[_piece(data, rng)]


def _move(data: bytearray, rng: random.Random) -> None:
    piece = _piece(data, rng)
    moved = data[piece]
    del data[piece]
    start = _place(data, rng)
    data[start:start] = moved


def _lengthen(data: bytearray, rng: random.Random) -> None:
    size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
    start = _place(data, rng)
    number = rng.choice(_LENGTHS) % (1 << 8 * size)
    data[start : start + size] = number.to_bytes(size, order)


_DAMAGES = (_flip, _truncate, _insert, _double, _take_out, _move, _lengthen)
