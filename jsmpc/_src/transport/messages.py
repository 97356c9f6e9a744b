"""Messages as bytes: what processes tell each other, without pickles.

A message is a dict with string keys of None, booleans, integers of 64 bits, floats, strings, bytes,
lists, dicts and arrays. Its bytes are

    "jsm1" | length of all | length of the head | head | blocks

in little-endian order, 4, 8, 4, … bytes. The head is the message in msgpack; what is long is a
block after it, padded to a multiple of 16 bytes, and in its place the head has an extension: the
length of bytes, or the dtype and shape of an array. Blocks come in the order of their extensions.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import jax
import ml_dtypes
import msgpack
import numpy as np

from jsmpc._src.transport.errors import MessageError

Message = dict[str, Any]
Buffer = bytes | bytearray | memoryview

START = struct.Struct("<4sQI")
DEPTH = 32  # of lists and dicts within each other
HEAD = 1 << 20  # bytes; each of them may become some dozens in memory

_MAGIC = b"jsm1"
_PADDING = 16
_LONG = 256  # bytes that are a block of their own
_ARRAY, _BYTES = 1, 2

_SMALL = ("int4", "uint4", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz")
_DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        "bool",
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
        *_SMALL,
    )
}
# The dtypes that not every byte is a value of, and its bounds.
_BOUNDS = {"bool": (np.uint8, 0, 1), "int4": (np.int8, -8, 7), "uint4": (np.uint8, 0, 15)}


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
    blocks: list[Buffer] = []
    try:
        head = msgpack.packb(_packed(message, blocks, DEPTH))
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
    size = START.size + _padded(len(head)) + sum(len(block) for block in blocks)
    return [START.pack(_MAGIC, size, len(head)), _filled(head), *blocks]


def decode(data: Buffer) -> Message:
    """The message that `encode` made bytes of; arrays are NumPy's, with memory of their own.

    Raises:
      MessageError: for all bytes that `encode` does not make. What is in memory before is bounded
        by the length of the bytes, and by 80 bytes for each byte of the head.
    """
    view = memoryview(data)
    size, length = opened(view)
    start = START.size + _padded(length)
    if size != len(view) or start > size:
        raise MessageError(f"no message: {len(view)} bytes of {size}")
    blocks = _Blocks(view[start:])
    try:
        head = view[START.size : START.size + length]
        message = msgpack.unpackb(
            head,
            strict_map_key=False,
            object_pairs_hook=_dict,
            ext_hook=blocks.next,
            **dict.fromkeys(("max_array_len", "max_map_len", "max_str_len"), HEAD),
        )
    except MessageError:
        raise
    except Exception as error:  # of many kinds
        raise MessageError(f"no message: {type(error).__name__} in its head") from None
    blocks.end()
    if type(message) is not dict:
        raise MessageError(f"no message: a {type(message).__name__} in place of a dict")
    _check(message, DEPTH)
    return message


def opened(view: Buffer) -> tuple[int, int]:
    """The lengths of a message and of its head, from its first bytes.

    Raises:
      MessageError: if they are no beginning of a message.
    """
    if len(view) < START.size:
        raise MessageError(f"no message: {len(view)} bytes are too few")
    magic, size, length = START.unpack_from(view)
    if magic != _MAGIC:
        raise MessageError("no message: it begins otherwise. All need the same version of jsmpc")
    if length > HEAD:
        raise MessageError(f"no message: a head of {length} bytes, at most {HEAD} are allowed")
    return size, length


def length(parts: Sequence[Buffer]) -> int:
    """The bytes of an encoded message."""
    return sum(len(part) for part in parts)


def _packed(value: Any, blocks: list[Buffer], depth: int) -> Any:
    """The value as msgpack takes it; what is long is appended to the blocks."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is dict or kind is list or kind is tuple:
        if depth == 0:
            raise MessageError(f"lists and dicts are more than {DEPTH} deep in each other")
        if kind is not dict:
            return [_packed(inner, blocks, depth - 1) for inner in value]
        for key in value:
            if type(key) is not str:
                raise MessageError(f"a key is a string, not a {type(key).__name__}")
        return {key: _packed(inner, blocks, depth - 1) for key, inner in value.items()}
    if kind in (bytes, bytearray, memoryview):
        if len(value) < _LONG:
            return bytes(value)
        blocks.extend(_with_padding(value, len(value)))
        return msgpack.ExtType(_BYTES, msgpack.packb(len(value)))
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = _array(value)
        blocks.extend(_with_padding(array.reshape(-1).view(np.uint8).data, array.nbytes))
        return msgpack.ExtType(_ARRAY, msgpack.packb([array.dtype.name, list(array.shape)]))
    raise MessageError(
        f"a {kind.__name__} cannot be sent. Send numbers, strings, bytes, arrays, lists or dicts"
    )


def _array(value: Any) -> np.ndarray:
    """A contiguous array in little-endian order."""
    if isinstance(value, jax.core.Tracer):
        raise MessageError("an array that is being traced cannot be sent: send outside of jit")
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.extended):
        raise MessageError(f"an array of {value.dtype} cannot be sent. Send jax.random.key_data")
    array = np.asarray(value)
    if array.dtype.name not in _DTYPES:
        raise MessageError(f"an array of {array.dtype} cannot be sent. Send numbers or booleans")
    return np.ascontiguousarray(array, _DTYPES[array.dtype.name]).reshape(array.shape)


def _padded(length: int) -> int:
    return length + -length % _PADDING


def _filled(head: bytes) -> bytes:
    return head.ljust(_padded(len(head)), b"\0")


def _with_padding(block: Buffer, length: int) -> tuple[Buffer, ...]:
    rest = -length % _PADDING
    return (block, bytes(rest)) if rest else (block,)


class _Blocks:
    """The blocks of a message, taken one after the other as the head asks for them."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def next(self, code: int, description: memoryview | bytes) -> Any:
        """What an extension in the head stands for."""
        described = msgpack.unpackb(description, max_ext_len=0, max_map_len=0)
        if code == _BYTES:
            if type(described) is not int:
                raise MessageError("no message: bytes without a length")
            return bytes(self._take(described))
        if code == _ARRAY:
            return self._array(described)
        raise MessageError(f"no message: an extension {code}")

    def _array(self, described: Any) -> np.ndarray:
        match described:
            case [str(name), [*shape]] if name in _DTYPES and len(shape) <= DEPTH:
                dtype = _DTYPES[name]
            case _:
                raise MessageError("no message: an array without a dtype and a shape")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise MessageError("no message: the shape of an array is none")
        raw = self._take(math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(raw, dtype).reshape(shape)
        if raw.readonly or 2 * len(raw) < len(self._data):
            array = array.copy()
        if name in _BOUNDS:
            kind, low, high = _BOUNDS[name]
            seen = array.view(kind)
            if seen.size and (seen.min() < low or seen.max() > high):
                raise MessageError(f"no message: an array of {name} has other values")
        return array

    def _take(self, length: int) -> memoryview:
        end = self._at + _padded(length)
        if length < 0 or end > len(self._data):
            raise MessageError("no message: it ends within an array or bytes")
        block, padding = (
            self._data[self._at : self._at + length],
            self._data[self._at + length : end],
        )
        if any(padding):
            raise MessageError("no message: its padding is not empty")
        self._at = end
        return block

    def end(self) -> None:
        """Raise MessageError if there are more blocks than the head asked for."""
        if self._at != len(self._data):
            raise MessageError("no message: more bytes than it tells of")


def _dict(pairs: list[tuple[Any, Any]]) -> Message:
    """A dict of pairs; in a list, as a msgpack object may have any key, however often."""
    if not all(type(key) is str for key, _ in pairs):
        raise MessageError("no message: a key that is no string")
    made = dict(pairs)
    if len(made) != len(pairs):
        raise MessageError("no message: the same key twice")
    return made


def _check(value: Any, depth: int) -> None:
    """Refuse what msgpack knows and messages do not have, and what is too deep."""
    kind = type(value)
    if kind is dict or kind is list:
        if depth == 0:
            raise MessageError(f"no message: more than {DEPTH} deep")
        for inner in value.values() if kind is dict else value:
            _check(inner, depth - 1)
    elif kind not in (type(None), bool, int, float, str, bytes, np.ndarray):
        raise MessageError(f"no message: a {kind.__name__} in it")
