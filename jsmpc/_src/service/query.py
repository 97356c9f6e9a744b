"""A query on its way: what its client sends to each party, and what a party makes of it.

The client draws the shares itself and sends each party the rows that it holds. Rows that two
parties hold must be the same at both, or else results would depend on single rows of the weights:
so all parties get a commitment to each row, open those to their own, and compare them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.api import sharing
from jsmpc._src.errors import ServiceError
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf
from jsmpc._src.service.waiting import Query

_SALT = 32  # bytes: a commitment tells nothing about its row


def messages(
    protocol: Protocol, inputs: np.ndarray, padded: int, number: bytes
) -> list[dict[str, Any]]:
    """What a client sends to each party, by rank.

    Args:
      inputs: (n, *shape of an input), checked; padded: the shape that they are shared in, so that
      few are compiled.
    """
    count = len(inputs)
    filled = np.zeros((padded, *inputs.shape[1:]), inputs.dtype)
    filled[:count] = inputs
    with compat.protocol_mode():
        (component,) = sharing.share(prf.random_key(), filled, protocol).components
    rows = [np.ascontiguousarray(row[:count]) for row in np.asarray(component)]
    salts = [secrets.token_bytes(_SALT) for _ in rows]
    commitments = [_commitment(*pair) for pair in zip(salts, rows, strict=True)]
    common = {"do": "predict", "number": number, "count": count, "commitments": commitments}
    return [
        {
            **common,
            "rows": [rows[r] for r in sorted(protocol.holds(rank))],
            "salts": [salts[r] for r in sorted(protocol.holds(rank))],
        }
        for rank in range(protocol.size)
    ]


def received(
    protocol: Protocol,
    rank: int,
    kind: jax.ShapeDtypeStruct,
    largest: int,
    caller: str,
    message: dict[str, Any],
) -> Query:
    """The query of a message.

    Args:
      rank: of this party; kind: of one input; largest: the most inputs.

    Raises:
      ServiceError: if it is not what `messages` makes.
    """
    match message:
        case {
            "number": bytes(number),
            "count": int(count),
            "commitments": [*commitments],
            "rows": [*rows],
            "salts": [*salts],
        } if len(number) == 16 and type(count) is int and 1 <= count <= largest:
            held = sorted(protocol.holds(rank))
            expected = (count, *kind.shape), word(protocol, kind)
            fits = len(rows) == len(salts) == len(held) and len(commitments) == protocol.size
            fits = fits and all(_is_bytes(x) for x in (*commitments, *salts))
            fits = fits and all(type(x) is np.ndarray for x in rows)
            if fits and all((x.shape, x.dtype) == expected for x in rows):
                if kind.dtype == bool:
                    rows = [x & np.uint8(1) for x in rows]
                opened = [_commitment(*pair) for pair in zip(salts, rows, strict=True)]
                if opened == [commitments[r] for r in held]:
                    return Query(caller, number, count, _digest(count, commitments), tuple(rows))
    raise ServiceError(
        f"no query: a number of 16 bytes, 1 to {largest} inputs, commitments and their salts, and "
        f"for each row that a party holds an array of {word(protocol, kind)}"
        f"[count, {', '.join(map(str, kind.shape))}] are wanted. Ask with jsmpc.connect",
        "malformed",
    )


def word(protocol: Protocol, kind: jax.ShapeDtypeStruct) -> np.dtype[Any]:
    """The dtype of a query's rows."""
    return np.dtype(np.uint8) if kind.dtype == bool else protocol.ring.dtype


def _commitment(salt: bytes, row: np.ndarray) -> bytes:
    found = hashlib.sha256(salt)
    found.update(row.reshape(-1).view(np.uint8).data)
    return found.digest()


def _digest(count: int, commitments: Sequence[bytes]) -> bytes:
    """Of what all parties must have in common."""
    return hashlib.sha256(b"".join([count.to_bytes(8, "big"), *commitments])).digest()


def _is_bytes(x: Any) -> bool:
    return type(x) is bytes and len(x) == _SALT
