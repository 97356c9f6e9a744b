"""What is long in a message: the bytes of arrays, and other bytes."""

from __future__ import annotations

import math
from typing import Any

import jax
import ml_dtypes
import numpy as np

from jsmpc._src.transport.errors import MessageError

Buffer = bytes | bytearray | memoryview

PADDING = 16
_DIMENSIONS = 32

_DTYPES = {
    name: np.dtype(getattr(ml_dtypes, name, name))
    for name in (
        *("bool", "int4", "int8", "int16", "int32", "int64"),
        *("uint4", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
        *("float8_e4m3fn", "float8_e4m3b11fnuz", "float8_e5m2"),
    )
}
# The dtypes that not every byte is a value of, and its bounds.
_BOUNDS = {"bool": (np.uint8, 0, 1), "int4": (np.int8, -8, 7), "uint4": (np.uint8, 0, 15)}


def contiguous(value: Any) -> np.ndarray:
    """An array as it can be sent: contiguous, in little-endian order, of a dtype of the list.

    Raises:
      MessageError: if it cannot.
    """
    if isinstance(value, jax.core.Tracer):
        raise MessageError("an array that is being traced cannot be sent. Send outside of jit")
    dtype = _DTYPES.get(value.dtype.name)
    if dtype is None:
        remedy = "jax.random.key_data" if value.dtype.name.startswith("key<") else "numbers"
        raise MessageError(f"an array of {value.dtype} cannot be sent. Send {remedy}")
    return np.asarray(value, dtype, order="C")


def padded(length: int) -> int:
    """The bytes that a block, or the head, takes with its padding."""
    return length + -length % PADDING


class Writer:
    """Collects the blocks of a message.

    Attributes:
      parts: the bytes, in parts; arrays and bytes are not copied.
    """

    def __init__(self) -> None:
        self.parts: list[Buffer] = []

    def add(self, block: Buffer) -> None:
        """Adds a block of bytes."""
        self.parts.append(block)
        if rest := -len(block) % PADDING:
            self.parts.append(bytes(rest))

    def add_array(self, array: np.ndarray) -> list[Any]:
        """Adds a contiguous array; returns its dtype and shape, for `Reader.array`."""
        self.add(array.reshape(-1).view(np.uint8).data)
        return [array.dtype.name, list(array.shape)]


class Reader:
    """Takes blocks from the end of a message, one after the other.

    Args:
      data: the blocks with their padding.
    """

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def take(self, length: Any) -> memoryview:
        """The next block.

        Raises:
          MessageError: unless there is one of this length.
        """
        if type(length) is not int or length < 0:
            raise MessageError("no message: the length of bytes is none")
        end, after = self._at + length, self._at + padded(length)
        if after > len(self._data):
            raise MessageError("no message: it ends within an array or bytes")
        if any(self._data[end:after]):
            raise MessageError("no message: its padding is not empty")
        block, self._at = self._data[self._at : end], after
        return block

    def array(self, described: Any) -> np.ndarray:
        """The next block as an array, with memory of its own unless it is most of the message.

        Raises:
          MessageError: unless there is one of a dtype and shape.
        """
        match described:
            case [str(name), [*shape]] if name in _DTYPES and len(shape) <= _DIMENSIONS:
                dtype = _DTYPES[name]
            case _:
                raise MessageError("no message: an array without a dtype and a shape")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in shape):
            raise MessageError("no message: the shape of an array is none")
        raw = self.take(math.prod(shape) * dtype.itemsize)
        try:
            array = np.frombuffer(raw, dtype).reshape(shape)
        except ValueError:  # of no elements, and too many along the other axes
            raise MessageError("no message: the shape of an array is too large") from None
        if name in _BOUNDS and array.size:
            kind, low, high = _BOUNDS[name]
            if array.view(kind).min() < low or array.view(kind).max() > high:
                raise MessageError(f"no message: an array of {name} has other values")
        return array.copy() if raw.readonly or 2 * len(raw) < len(self._data) else array

    def end(self) -> None:
        """Raise MessageError if a block was not taken."""
        if self._at != len(self._data):
            raise MessageError("no message: more bytes than it tells of")
