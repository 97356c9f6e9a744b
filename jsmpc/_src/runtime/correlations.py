"""Correlated randomness: what a dealer hands out, known to no party, used once.

A correlation says itself how it is dealt: what each party expands from the seed that it has in
common with the dealer, what the dealer sends besides, and what a party makes of both. By default
it is a list of uniform values and of values derived from them, in additive shares that every party
expands from its seed; only party 0's share of a derived value does not follow from a seed, and is
all that the dealer has to send.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.ring import blocks, positions
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.division import Divisor, quotients
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group, modulo

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Words:
    """The shape, dtype and group of one shared value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    group: Group = ARITHMETIC

    def draw(self, key: Array, number: int) -> Array:
        return self.group.draw(key, number, self.shape, self.dtype)


@dataclasses.dataclass(frozen=True)
class Correlation:
    """Base of what is dealt; equal parameters are equal correlations.

    A kind of additive shares defines `uniform`, `derived` and `derive`. Others (keys of function
    secret sharing, authenticated values) define the methods below `draws` instead.
    """

    # Additive shares.

    @property
    def uniform(self) -> tuple[Words, ...]:
        """The values that are uniform."""
        raise NotImplementedError

    @property
    def derived(self) -> tuple[Words, ...]:
        """The values that follow from the uniform ones."""
        raise NotImplementedError

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        """The derived values; the dealer's work."""
        raise NotImplementedError

    # How it is dealt.

    @property
    def draws(self) -> int:
        """How many numbers of draws it takes."""
        return len(self.uniform) + len(self.derived)

    def expand(self, network: Network, seeds: Local, number: int) -> list[Local]:
        """What parties make of their seeds, by the draws from `number`: all but the derived values'
        shares at party 0."""
        others = network.by_rank(None, *[seeds] * (network.parties - 1))
        holders = [seeds] * len(self.uniform) + [others] * len(self.derived)
        words = (*self.uniform, *self.derived)
        return [
            keys.map(lambda key, w=w, n=n: w.draw(key, n))
            for n, (keys, w) in enumerate(zip(holders, words, strict=True), number)
        ]

    def deal(self, network: Network, expanded: list[Local], state: Any = None) -> tuple[Local, ...]:
        """What the dealer, who knows everyone's expansions, sends to whom: party 0's shares of the
        derived values, each the difference to the others' sum.

        The state is that of `Protocol.establish`, of which a dealer may hold a part.
        """
        count = len(self.uniform)
        values = self.derive(
            *(w.group.sum(x.values) for w, x in zip(self.uniform, expanded, strict=False))
        )
        return tuple(
            network.deliver(network.only(0, w.group.subtract(value, w.group.sum(x.values[1:]))))
            for w, value, x in zip(self.derived, values, expanded[count:], strict=True)
        )

    def blank(self, network: Network) -> tuple[Local, ...]:
        """Zeros in the form of what `deal` returns, for a program that is only planned."""
        return tuple(network.only(0, jnp.zeros(w.shape, w.dtype)) for w in self.derived)

    def assemble(
        self, network: Network, expanded: list[Local], sent: tuple[Local, ...]
    ) -> tuple[Local, ...]:
        """The parties' shares, from what they expanded and what they were sent."""
        count, rest = len(self.uniform), network.parties - 1
        return (
            *expanded[:count],
            *(network.by_rank(s, *[x] * rest) for s, x in zip(sent, expanded[count:], strict=True)),
        )


@dataclasses.dataclass(frozen=True)
class Triple(Correlation):
    """[a], [b], [c] with c = a·b (Beaver, CRYPTO 1991), for any product of the ring."""

    product: Bilinear
    left: tuple[int, ...]
    right: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def group(self) -> Group:
        return self.product.group

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
class TruncationMask(Correlation):
    """[r], [q0], [q1] for a masked division: see `quotients`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    divisor: Divisor

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
class ThresholdMask(Correlation):
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
class OddMask(Correlation):
    """[x] in Z_{L-1} for words of Z_L, its bits in Z_67, and the lowest of them shared by xor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def uniform(self) -> tuple[Words, ...]:
        return (Words(self.shape, self.dtype, modulo((1 << 8 * self.dtype.itemsize) - 1)),)

    @property
    def derived(self) -> tuple[Words, ...]:
        byte, k = np.dtype(np.uint8), 8 * self.dtype.itemsize
        bits = Words((k, *self.shape), byte, positions.FIELD)
        return bits, Words(self.shape, byte, BOOLEAN)

    def derive(self, *uniform: Array) -> tuple[Array, ...]:
        (x,) = uniform
        return kernels.bits(x), (x & np.ones((), x.dtype)).astype(np.uint8)


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
