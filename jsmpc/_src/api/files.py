"""Files of secrets: whose each is, and that it is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jsmpc._src.protocols.base import Protocol


def of_party(path: str | os.PathLike[str], party: str, kind: str) -> Path:
    """The file of a party, of a kind."""
    return Path(f"{os.fspath(path)}.{party}.{kind}")


def identity(protocol: Protocol, rank: int) -> dict[str, Any]:
    """What a reader compares: the protocol, whose file it is, the ring and the encoding."""
    return {**of_protocol(protocol), "party": protocol.endpoints[rank]}


def of_protocol(protocol: Protocol) -> dict[str, Any]:
    """What a reader compares of all parties: the protocol, their names, ring and encoding."""
    encoding = protocol.encoding
    return {
        "protocol": type(protocol).__name__,
        "parties": list(protocol.parties),
        "bits": protocol.bits,
        "base": encoding.base,
        "precision": encoding.precision_fractional,
    }


def different(header: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """In words, the first thing in which a file's header is not what is expected."""
    for name, wanted in expected.items():
        if header.get(name) != wanted:
            return f"is of another {name}: {header.get(name)!r}, where {wanted!r} is wanted"
    return None


@contextlib.contextmanager
def replaced(file: Path) -> Iterator[BinaryIO]:
    """A stream to a new file, readable by its owner alone, which takes its place when closed."""
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def checksum(header: dict[str, Any], arrays: Sequence[np.ndarray]) -> str:
    """Of a header and of all words, with their types."""
    found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for x in arrays:
        found.update(f"{x.dtype.name}{x.shape}".encode())
        found.update(np.ascontiguousarray(x).reshape(-1).view(np.uint8).data)
    return found.hexdigest()
