"""A plan's bytes: a mark, the SHA-256 of what follows, a header in JSON, and the code."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from jsmpc._src.errors import PlanError

_MARK = b"jsmpc plan 1\n"
_LENGTH = struct.Struct("<Q")
_DIGEST = hashlib.sha256().digest_size


def hash_of(data: bytes) -> str:
    """The hash that a plan's bytes say they have, which `opened` verifies."""
    return data[len(_MARK) : len(_MARK) + _DIGEST].hex()


def joined(header: dict[str, Any], body: bytes) -> bytes:
    """The bytes of a plan."""
    text = json.dumps(header, sort_keys=True).encode()
    content = _LENGTH.pack(len(text)) + text + body
    return _MARK + hashlib.sha256(content).digest() + content


def opened(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The header and the code of a plan; PlanError if a bit of it was changed."""
    digest, content = data[len(_MARK) : len(_MARK) + _DIGEST], data[len(_MARK) + _DIGEST :]
    if not data.startswith(_MARK) or hashlib.sha256(content).digest() != digest:
        raise PlanError("a plan is damaged, or it is none: its hash is not that of its contents")
    try:
        (size,) = _LENGTH.unpack_from(content)
        end = _LENGTH.size + size
        header = json.loads(content[_LENGTH.size : end])
    except (struct.error, ValueError, RecursionError):
        header = None
    if type(header) is not dict:
        raise PlanError("a plan cannot be read: it has no header. Make it anew")
    return header, content[end:]
