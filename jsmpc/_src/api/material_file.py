"""Files of material: words that are read as they are used, and a mark that says that they were.

A file is a sequence of arrays in NumPy's own format, each padded to 64 bytes so that XLA can use it
where it is mapped: the mark, a header in JSON, and the words. The header holds a checksum of all
but the mark.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from jsmpc._src.api.files import checksum, different, replaced
from jsmpc._src.errors import MaterialError

_FORMAT = 1
_ALIGNED = 64
_UNUSED, _SPENT = b"unused".ljust(_ALIGNED), b"spent".ljust(_ALIGNED)


def write(file: Path, header: dict[str, Any], arrays: Sequence[Any]) -> None:
    """Write a file as a whole or not at all."""
    own = [np.asarray(x) for x in arrays]
    header = {**header, "format": _FORMAT}
    text = json.dumps({**header, "checksum": checksum(header, own)}).encode()
    padded = text.ljust(len(text) + -len(text) % _ALIGNED)
    with replaced(file) as stream:
        for x in (np.frombuffer(_UNUSED, np.uint8), np.frombuffer(padded, np.uint8), *own):
            npy.write_array(stream, x, allow_pickle=False)
            stream.write(bytes(-stream.tell() % _ALIGNED))


def read(file: Path, expected: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A file's header, and its words mapped into memory.

    Raises:
      MaterialError: if the file is missing, damaged, used, or not what is expected.
    """
    try:
        with file.open("rb") as stream:
            mark, text, *own = _mapped(file, stream)
        header = json.loads(bytes(text))
        whole = header.pop("checksum") == checksum(header, own)
    except FileNotFoundError:
        raise MaterialError(f"{file}: there is no such file of material") from None
    except Exception:  # NumPy's reader passes on whatever Python's parser says to a damaged header
        whole = False
    if not whole:
        raise MaterialError(f"{file} is damaged, or no file of material")
    if (problem := different(header, {"format": _FORMAT, **expected})) is not None:
        raise MaterialError(f"{file} {problem}")
    if bytes(mark) != _UNUSED:
        raise used(f"{file}: ")
    return header, own


def claim(file: Path) -> None:
    """Mark a file as used, and wait until that is kept; MaterialError if it is marked already.

    One that is gone cannot be used again.
    """
    try:
        with file.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            (mark,) = _mapped(file, stream, 1)
            if bytes(mark) != _UNUSED:
                raise used(f"{file}: ")
            stream.seek(mark.offset)
            stream.write(_SPENT)
            stream.flush()
            os.fsync(stream.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise MaterialError(
            f"{file} cannot be marked as used: {error.strerror}. It is used by nobody then"
        ) from None


def _mapped(file: Path, stream: BinaryIO, most: int | None = None) -> list[Any]:
    """The arrays of a file, or the first ones; ValueError if it is cut off."""
    found: list[Any] = []
    end = os.fstat(stream.fileno()).st_size
    while stream.tell() < end and len(found) != most:
        npy.read_magic(stream)
        shape, _, dtype = npy.read_array_header_1_0(stream)
        if dtype.kind != "u":
            raise ValueError("no words")
        start, count = stream.tell(), int(np.prod(shape, dtype=np.int64))
        if count:
            found.append(np.memmap(file, dtype, "r", start, shape))
        else:
            found.append(np.zeros(shape, dtype))
        stop = start + count * dtype.itemsize
        stream.seek(stop + -stop % _ALIGNED)
    if most is None and stream.tell() != end:
        raise ValueError("cut off")
    return found


def used(where: str = "") -> MaterialError:
    """The error that material was used before; `where` tells who says so, for the beginning."""
    return MaterialError(
        f"{where}the material has been used: used twice, its masks would disclose differences of "
        "secrets. Call .offline again with a new key"
    )
