"""What a dealer hands out: correlated randomness, known to no party, used once.

A correlation is a list of uniform values and of values derived from them. Every party expands
its shares from a seed that it has in common with the dealer; only party 0's share of a derived
value does not follow from a seed: it is a *correction*, and all that the dealer has to send.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.ring import blocks
from jsmpc._src.ring.bilinear import AND, Bilinear
from jsmpc._src.ring.division import quotients
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Words:
    """The shape, dtype and group of one shared value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    group: Group = ARITHMETIC


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Base: `uniform` and `derived` name the shared values, `derive` is what the dealer does."""

    @property
    def uniform(self) -> tuple[Words, ...]:
        raise NotImplementedError

    @property
    def derived(self) -> tuple[Words, ...]:
        raise NotImplementedError

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Triple(Correlation):
    """[a], [b], [c] with c = a·b (Beaver, CRYPTO 1991), for any product of the ring."""

    product: Bilinear
    left: tuple[int, ...]
    right: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def group(self) -> Group:
        return BOOLEAN if self.product == AND else ARITHMETIC

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (
            Words(self.left, self.dtype, self.group),
            Words(self.right, self.dtype, self.group),
        )

    @property
    def derived(self) -> tuple[Words, ...]:
        operands = (jax.ShapeDtypeStruct(s, self.dtype) for s in (self.left, self.right))
        return (Words(self.product.shape(*operands), self.dtype, self.group),)

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        a, b = uniform
        return (self.product((a, b)),)


@dataclasses.dataclass(frozen=True)
class SquarePair(Correlation):
    """[a], [a²]."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),)

    derived = uniform

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        (a,) = uniform
        return (a * a,)


@dataclasses.dataclass(frozen=True)
class TruncationPair(Correlation):
    """[r], [q0], [q1] for a masked division: see `quotients`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    divisor: int

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),)

    @property
    def derived(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),) * 2

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        (r,) = uniform
        return quotients(r, self.divisor)


@dataclasses.dataclass(frozen=True)
class CarryMask(Correlation):
    """[u], the thresholds of the blocks of u shifted left by `shift`, and u's top bit.

    The thresholds and the bit are Boolean shares; see `ring.blocks`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shift: int

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),)

    @property
    def derived(self) -> tuple[Words, ...]:
        narrow = blocks.word_type(blocks.count(self.dtype.itemsize * 8))
        table = (Words(self.shape, narrow, BOOLEAN),) * 15
        return (*table, Words(self.shape, np.dtype(np.uint8), BOOLEAN))

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        (u,) = uniform
        top = (u >> np.asarray(self.dtype.itemsize * 8 - 1, u.dtype)).astype(jnp.uint8)
        return (*blocks.thresholds(u << np.asarray(self.shift, u.dtype)), top)


@dataclasses.dataclass(frozen=True)
class BitMask(Correlation):
    """[u] shared by addition, and the same u shared by xor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),)

    @property
    def derived(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype, BOOLEAN),)

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        return uniform


@dataclasses.dataclass(frozen=True)
class Dabit(Correlation):
    """A random bit (the lowest of a byte) shared by xor, and the same bit shared by addition."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, np.dtype(np.uint8), BOOLEAN),)

    @property
    def derived(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),)

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        (b,) = uniform
        return ((b & np.uint8(1)).astype(self.dtype),)


@dataclasses.dataclass(frozen=True)
class DabitProduct(Correlation):
    """A dabit b, a uniform [a], and [b·a]: to multiply a shared bit with a shared value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, np.dtype(np.uint8), BOOLEAN), Words(self.shape, self.dtype))

    @property
    def derived(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype),) * 2

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        b, a = uniform
        bit = (b & np.uint8(1)).astype(self.dtype)
        return bit, bit * a
