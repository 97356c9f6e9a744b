"""SHA-256 of public arguments, which endpoints compare."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


class Digests:
    """Those of arrays; of one that is there still, it is computed once: arrays do not change."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Any], bytes]] = {}

    def of(self, x: jax.Array) -> bytes:
        """Of an array's bytes; its shape and dtype are the program's."""
        number = id(x)
        known = self._known.get(number)
        if known is not None and known[0]() is x:
            return known[1]
        found = hashlib.sha256(_bytes(x)).digest()
        self._known[number] = weakref.ref(x, lambda _: self._known.pop(number, None)), found
        return found

    def together(self, arrays: Iterable[jax.Array]) -> np.ndarray:
        """Of the digests of all of them: uint8[32]."""
        joined = b"".join(map(self.of, arrays))
        return np.frombuffer(hashlib.sha256(joined).digest(), np.uint8)


def _bytes(x: jax.Array) -> np.ndarray:
    if jax.dtypes.issubdtype(x.dtype, jax.dtypes.extended):
        x = jax.random.key_data(x)
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)
