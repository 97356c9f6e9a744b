"""The rings Z_2^32 and Z_2^64: unsigned words with wrap-around arithmetic.

Everything here works on ordinary arrays of `uint32` or `uint64` and is to be called under
`jax.enable_x64(True)`, which `jsmpc.secure` and `jsmpc.share` take care of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.ring import words

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Ring:
    """The integers modulo 2^bits, stored as `uint32` or `uint64`."""

    bits: int = 64

    def __post_init__(self) -> None:
        if self.bits not in (32, 64):
            raise ValueError(f"a ring has 32 or 64 bits, not {self.bits!r}")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"uint{self.bits}")

    @property
    def signed(self) -> np.dtype[Any]:
        return np.dtype(f"int{self.bits}")

    @property
    def bound(self) -> int:
        """Values x with |x| < bound = 2^(bits-2) may be shared, compared and truncated."""
        return 1 << (self.bits - 2)

    def constant(self, value: int) -> Array:
        """The ring element congruent to the Python integer `value`."""
        return jnp.asarray(self.constants([value])[0], self.dtype)

    def constants(self, values: Iterable[int]) -> np.ndarray[Any, Any]:
        """Ring elements congruent to Python integers, along one axis."""
        return np.asarray([v % (1 << self.bits) for v in values], self.dtype)

    def top_bit(self, x: Array) -> Array:
        """The most significant bit of each word, as `uint8` 0 or 1."""
        return words.cast(words.right(x, self.bits - 1), np.uint8)
