"""The head of a message in msgpack: read strictly, and in no more memory than it is worth.

msgpack's own reader makes room for as many elements as a list claims to have, before it has seen
them; this one makes none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from jsmpc._src.transport.errors import MessageError

DEPTH = 32  # of lists and dicts within each other

_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    code: struct.Struct(f">{kind}")
    for code, kind in zip((0xCB, *range(0xCC, 0xD4)), "dBHIQbhiq", strict=True)
}
# What is preceded by its length, and in how many bytes the length is.
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_TEXTS = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_LISTS = {0xDC: 2, 0xDD: 4}
_DICTS = {0xDE: 2, 0xDF: 4}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}

Extension = Callable[[int, bytes], Any]


def read(data: bytes, extension: Extension) -> Any:
    """The one value that bytes in msgpack hold.

    Args:
      data: the bytes.
      extension: called with the code and the bytes of each extension, in order; returns its value.

    Raises:
      MessageError: if they hold something else, a key twice or one that is no string, or lists and
        dicts more than 32 deep.

    Example:
      >>> from jsmpc._src.transport import head
      >>> head.read(bytes([0x82, 0xA1, 97, 1, 0xA1, 98, 0xC0]), extension=print)
      {'a': 1, 'b': None}
    """
    reader = _Reader(data, extension)
    value = reader.value(DEPTH)
    if reader.at != len(data):
        raise MessageError("no message: more bytes in its head than a value")
    return value


class _Reader:
    def __init__(self, data: bytes, extension: Extension) -> None:
        self._data, self._extension, self.at = data, extension, 0

    def value(self, depth: int) -> Any:
        code = self._number(1)
        if code < 0x80:
            return code
        if code < 0x90:
            return self._dict(code - 0x80, depth)
        if code < 0xA0:
            return self._list(code - 0x90, depth)
        if code < 0xC0:
            return self._text(code - 0xA0)
        if code >= 0xE0:
            return code - 0x100
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            number = _NUMBERS[code]
            return number.unpack(self._take(number.size))[0]
        if code in _TEXTS:
            return self._text(self._number(_TEXTS[code]))
        if code in _BYTES:
            return self._take(self._number(_BYTES[code]))
        if code in _LISTS:
            return self._list(self._number(_LISTS[code]), depth)
        if code in _DICTS:
            return self._dict(self._number(_DICTS[code]), depth)
        if code in _FIXED_EXTENSIONS:
            return self._extended(_FIXED_EXTENSIONS[code])
        if code in _EXTENSIONS:
            return self._extended(self._number(_EXTENSIONS[code]))
        raise MessageError(f"no message: {code:#x} in its head")

    def _take(self, length: int) -> bytes:
        start, self.at = self.at, self.at + length
        if self.at > len(self._data):
            raise MessageError("no message: its head ends early")
        return self._data[start : self.at]

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def _text(self, length: int) -> str:
        try:
            return self._take(length).decode()
        except UnicodeDecodeError:
            raise MessageError("no message: a string that is no text") from None

    def _extended(self, length: int) -> Any:
        code = self._number(1)
        return self._extension(code, self._take(length))

    def _list(self, length: int, depth: int) -> list[Any]:
        _check_depth(depth)
        return [self.value(depth - 1) for _ in range(length)]

    def _dict(self, length: int, depth: int) -> dict[str, Any]:
        _check_depth(depth)
        made: dict[str, Any] = {}
        for _ in range(length):
            key = self.value(0)
            if type(key) is not str or key in made:
                raise MessageError("no message: a key that is no string, or twice there")
            made[key] = self.value(depth - 1)
        return made


def _check_depth(depth: int) -> None:
    if depth == 0:
        raise MessageError(f"no message: lists and dicts more than {DEPTH} deep in each other")
