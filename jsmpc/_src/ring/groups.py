"""The groups that shares are drawn from: words under addition, under xor, modulo an odd number."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.ring import words
from jsmpc._src.ring.residues import residue

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Group:
    """A group of words: its operation, the inverse, and uniform elements.

    Attributes:
      name: equal names are equal groups.
      add, subtract: the operation and its inverse, elementwise.
    """

    name: str
    add: Callable[[Any, Any], Any] = dataclasses.field(compare=False)
    subtract: Callable[[Any, Any], Any] = dataclasses.field(compare=False)

    def sum(self, terms: Iterable[Any]) -> Any:
        return functools.reduce(self.add, terms)

    def draw(self, key: Array, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Uniform elements: the `number`-th draw under a key. All words of the type are elements.

        Args:
          key: uint32[8].
          number: which draw; a number must not be drawn twice under one key.
          shape, dtype: of the result; `uint8`, `uint16`, `uint32` or `uint64`.
        """
        return kernels.draw(key, number, shape, dtype)


ARITHMETIC = Group("arithmetic", words.add, words.subtract)
BOOLEAN = Group("boolean", words.xor, words.xor)


@dataclasses.dataclass(frozen=True)
class Residues(Group):
    """The integers modulo `modulus`, as words from 0 to modulus - 1; see `modulo`."""

    modulus: int = 0

    def draw(self, key: Array, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Elements of a statistical distance below 2^-40 from uniform ones.

        Of small moduli several are made of 64 random bits: the digits, in base `modulus`, of a
        fraction.
        """
        each, size = digits(self.modulus), math.prod(shape)
        drawn = kernels.draw(key, number, (-(-size // each),), np.uint64)
        if each == 1:
            elements = (drawn % np.uint64(self.modulus)).astype(dtype).reshape(shape)
        else:
            found = _in_base(self.modulus, drawn, each, dtype)
            elements = jnp.concatenate(found)[:size].reshape(shape)
        return residue(elements, drawn, operation="draw", modulus=self.modulus)


def _in_base(modulus: int, drawn: Array, count: int, dtype: Any) -> list[Array]:
    """The first digits of fractions of 64 bits."""
    found = []
    for _ in range(count):
        digit, drawn = _times(drawn, modulus)
        found.append(words.cast(digit, dtype))
    return found


def digits(modulus: int) -> int:
    """How many digits in this base 64 random bits may be made into."""
    return max((n for n in range(1, 9) if _uniform(modulus**n)), default=0)


def _uniform(count: int) -> bool:
    """Whether 64 random bits are nearer than 2^-40 to uniform ones among so many numbers."""
    rest = (1 << 64) % count if 1 < count < 1 << 64 else None
    return rest is not None and rest * (count - rest) <= count << 24


def _times(x: Array, m: int) -> tuple[Array, Array]:
    """The product of words and a number below 2^32: what is above 64 bits, and what is not."""
    factor, low = np.uint64(m), words.conjunction(x, np.uint64(0xFFFFFFFF))
    middle = words.right(x, 32) * factor + words.right(low * factor, 32)
    return words.right(middle, 32), x * factor


def modulo(modulus: int) -> Residues:
    """The group Z_modulus, in any words that hold its elements: Z_67, Z_{2^64 - 1}, …

    Raises:
      ValueError: if 64 random bits modulo it are farther than 2^-40 from uniform.
    """
    if not digits(modulus):
        raise ValueError(f"64 random bits are not uniform modulo {modulus}")

    def add(x: Array, y: Array) -> Array:
        m = np.asarray(modulus, x.dtype)
        total = x + y  # if it wraps, it is less than x
        total = jnp.where((total < x) | (total >= m), total - m, total)
        return residue(total, x, y, operation="add", modulus=modulus)

    def subtract(x: Array, y: Array) -> Array:
        difference = x - y
        difference = jnp.where(x < y, difference + np.asarray(modulus, x.dtype), difference)
        return residue(difference, x, y, operation="subtract", modulus=modulus)

    return Residues(f"modulo {modulus}", add, subtract, modulus)
