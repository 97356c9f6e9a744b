"""Small shared numbers of which it is known which they are: tables of what depends on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Generic

import jax

from jsmpc._src.functions.polynomial import public
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.runtime.context import Context


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Digit(Generic[V]):
    """[d] for 0 <= d <= n, as what it is.

    Attributes:
      bits: [d = 1], …, [d = n] as ring elements.
    """

    bits: tuple[V, ...]

    @property
    def largest(self) -> int:
        return len(self.bits)

    def lookup(self, smpc: Protocol[V], ctx: Context, table: Sequence[int]) -> V:
        """[table[d]]; local."""
        first, *others = table
        total = public(smpc, ctx, first, self.bits[0])
        for bit, value in zip(self.bits, others, strict=True):
            total = total + bit * smpc.ring.constant(value - first)
        return total


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Thermometer(Generic[V]):
    """[d] for m <= d <= n, as how far it reaches.

    Attributes:
      bits: [d > m], …, [d > n - 1] as ring elements, along a leading axis.
      least: m.
    """

    bits: V
    least: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, smpc: Protocol[V], ctx: Context, not_above: Bits[V], least: int) -> Thermometer[V]:
        """From Boolean bits of [d <= m], …, [d <= n - 1], along a leading axis."""
        bits = smpc.b2a(ctx, not_above)
        return cls(public(smpc, ctx, 1, bits) - bits, least)

    @property
    def largest(self) -> int:
        return self.least + self.bits.shape[0]

    def lookup(self, smpc: Protocol[V], ctx: Context, table: Sequence[int]) -> V:
        """[table[d]], where what comes before table[m] is not looked at; local."""
        first, *_ = values = table[self.least :]
        steps = smpc.ring.constants(b - a for a, b in itertools.pairwise(values))
        column = steps.reshape(-1, *[1] * (len(self.bits.shape) - 1))
        total = self.bits.map(lambda b: (b * column).sum(0, dtype=b.dtype))
        return total + public(smpc, ctx, first, total)
