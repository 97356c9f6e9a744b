"""Messages as bytes: what processes tell each other, without pickles.

A message is a dict with string keys of None, booleans, integers of 64 bits, floats, strings, bytes,
lists, dicts and arrays. Its bytes are

    "jsm1" | length of all | length of the head | head | blocks

where the lengths are little-endian, of 8 and 4 bytes. The head is the message in msgpack; what is
long is a block after it, and in its place the head has an extension: the length of bytes, or the
dtype and shape of an array. Blocks come in the order of their extensions; they and the head are
padded by zeros to multiples of 16 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import jax
import msgpack
import numpy as np

from jsmpc._src.transport import blocks
from jsmpc._src.transport import head as heads
from jsmpc._src.transport.blocks import Buffer, Reader, Writer
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.head import DEPTH

Message = dict[str, Any]

START = struct.Struct("<4sQI")
HEAD = 1 << 20  # bytes that a head may have: each may become some dozens in memory

_MAGIC = b"jsm1"
_LONG = 256  # bytes that are a block of their own
_ARRAY, _BYTES = 1, 2
_ARRAYS = (np.ndarray, np.generic, jax.Array)


def encode(message: Message) -> list[Buffer]:
    """A message as bytes, in parts that belong one after the other.

    Arrays are JAX's or NumPy's; what is contiguous is not copied, so it must not change until the
    parts are sent. A tuple arrives as a list, a NumPy number as an array without dimensions.

    Raises:
      MessageError: for anything else in it, an integer of more than 64 bits, lists and dicts that
        are more than 32 deep, or more than 1 MiB beside arrays and bytes.

    Example:
      >>> import numpy as np
      >>> from jsmpc._src.transport import messages
      >>> parts = messages.encode({"name": "x", "value": np.arange(3)})
      >>> messages.decode(b"".join(parts))
      {'name': 'x', 'value': array([0, 1, 2])}
    """
    if type(message) is not dict:
        raise MessageError(f"a message is a dict, not a {type(message).__name__}")
    writer = Writer()
    try:
        head = msgpack.packb(_packed(message, writer, DEPTH))
    except OverflowError:
        raise MessageError(
            "an integer has more than 64 bits. Send its bytes (int.to_bytes), or a float"
        ) from None
    except UnicodeEncodeError:
        raise MessageError("a string is no Unicode text. Send bytes") from None
    if len(head) > HEAD:
        raise MessageError(
            f"{len(head)} bytes beside arrays and bytes, at most {HEAD} fit. Send long lists as "
            "arrays, and long strings as bytes"
        )
    size = START.size + blocks.padded(len(head)) + length(writer.parts)
    filled = head.ljust(blocks.padded(len(head)), b"\0")
    return [START.pack(_MAGIC, size, len(head)) + filled, *writer.parts]


def decode(data: Buffer) -> Message:
    """The message that `encode` made bytes of; arrays are NumPy's.

    What is in memory beside the bytes is bounded by once their length, and by 80 bytes for each
    byte of the head. An array that is most of a message in a bytearray stays where it is.

    Raises:
      MessageError: if the bytes are no message.
    """
    view = memoryview(data)
    size, head = opened(view)
    start = START.size + blocks.padded(head)
    if size != len(view) or start > size:
        raise MessageError(f"no message: {len(view)} bytes of {size}")
    reader = Reader(view[start:])

    def extension(code: int, description: bytes) -> Any:
        described = heads.read(description, _no_extension)
        if code == _ARRAY:
            return reader.array(described)
        if code == _BYTES:
            return bytes(reader.take(described))
        raise MessageError(f"no message: an extension {code}")

    message = heads.read(bytes(view[START.size : START.size + head]), extension)
    reader.end()
    if type(message) is not dict:
        raise MessageError(f"no message: a {type(message).__name__} in place of a dict")
    return message


def opened(data: Buffer) -> tuple[int, int]:
    """The lengths of a message and of its head, from its first bytes.

    Raises:
      MessageError: if they are no beginning of a message.
    """
    if len(data) < START.size:
        raise MessageError(f"no message: {len(data)} bytes are too few")
    magic, size, head = START.unpack_from(data)
    if magic != _MAGIC:
        raise MessageError("no message: it begins otherwise. All need the same version of jsmpc")
    if head > HEAD:
        raise MessageError(f"no message: a head of {head} bytes, at most {HEAD} are allowed")
    return size, head


def length(parts: Sequence[Buffer]) -> int:
    """The bytes of an encoded message."""
    return sum(len(part) for part in parts)


def _packed(value: Any, writer: Writer, depth: int) -> Any:
    """The value as msgpack takes it; what is long is given to the writer."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (dict, list, tuple):
        if depth == 0:
            raise MessageError(f"lists and dicts are more than {DEPTH} deep in each other")
        if kind is not dict:
            return [_packed(inner, writer, depth - 1) for inner in value]
        for key in value:
            if type(key) is not str:
                raise MessageError(f"a key is a string, not a {type(key).__name__}")
        return {key: _packed(inner, writer, depth - 1) for key, inner in value.items()}
    if kind in (bytes, bytearray):
        if len(value) < _LONG:
            return bytes(value)
        writer.add(value)
        return msgpack.ExtType(_BYTES, msgpack.packb(len(value)))
    if isinstance(value, _ARRAYS):
        described = writer.add_array(blocks.contiguous(value))
        return msgpack.ExtType(_ARRAY, msgpack.packb(described))
    raise MessageError(
        f"a {kind.__name__} cannot be sent. Send numbers, strings, bytes, arrays, lists or dicts"
    )


def _no_extension(code: int, description: bytes) -> Any:
    raise MessageError("no message: an extension within another")
