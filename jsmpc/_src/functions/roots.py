"""Square roots of shared numbers."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence
from typing import Generic

from jsmpc._src.functions.digits import Digit, Thermometer
from jsmpc._src.functions.division import binary
from jsmpc._src.functions.floating import (
    Floating,
    assemble,
    normalize_positive,
    places,
)
from jsmpc._src.functions.polynomial import fraction_bits, public
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import traced_once


@traced_once
def rsqrt_of_mantissa(smpc: Protocol[V], ctx: Context, m: V, factor: V) -> V:
    """[factor/√m] below 2, for 1 <= m <= 2 and a factor below 3; all have F fractional bits.

    1. y = (401 - 182·m + 36·m²) / 256, for which m·y² = 1 - e with |e| < 2^-6.9.
    2. 1/√m = y·(1 - e)^(-1/2) = y·(1 + e/2 + 3e²/8 + …) (Householder's iteration of order 2);
       the factor meets y beforehand.

    Relative error below 2^-22.4 and a few units 2^-F.

    Cost: 10 rounds, 84 bytes a party and element.
    """
    f = fraction_bits(smpc.ring)
    one, constant = 1 << f, smpc.ring.constant
    unit = public(smpc, ctx, one, m)
    square = smpc.square(ctx, m, one)
    y = square * constant(36) - m * constant(182) + unit * constant(401)
    e = unit - smpc.mul_aa(ctx, smpc.mul_aa(ctx, m, y, one << 8), y, one << 8)
    series = (unit << 3) + (e << 2) + smpc.square(ctx, e, one) * constant(3)
    return smpc.mul_aa(ctx, smpc.mul_aa(ctx, y, factor, one << 8), series, one << 3)


@dataclasses.dataclass(frozen=True)
class _Root(Generic[V]):
    """2^(e/2) for e = n + 2, or for k - 1 - (n + 2) if it is to fall.

    Attributes:
      digits: those of n + 2; halves: for each of their values its part of floor(e/2).
      odd: for each value of the lowest e mod 2.
    """

    digits: Sequence[Digit[V] | Thermometer[V]]
    halves: list[list[int]]
    odd: list[int]

    @classmethod
    def of(cls, number: Floating[V], falling: bool = False) -> _Root[V]:
        parts = []
        for place, digit in places(number.digits):
            order = range(digit.largest + 1)  # to fall is to count from the largest down
            parts.append([place * d for d in (reversed(order) if falling else order)])
        return cls(number.digits, [[e // 2 for e in p] for p in parts], [e % 2 for e in parts[0]])

    def power(self, smpc: Protocol[V], ctx: Context) -> V:
        """[2^floor(e/2)]."""
        tables = [[1 << h for h in halves] for halves in self.halves]
        return smpc.product_of(ctx, self._looked_up(smpc, ctx, tables))

    def exponent(self, smpc: Protocol[V], ctx: Context) -> V:
        """[floor(e/2)]."""
        return functools.reduce(operator.add, self._looked_up(smpc, ctx, self.halves))

    def rest(self, smpc: Protocol[V], ctx: Context, factor: float) -> V:
        """[factor·√2^(e mod 2)] with F fractional bits."""
        one = 1 << fraction_bits(smpc.ring)
        table = [round(one * factor * math.sqrt(2) ** odd) for odd in self.odd]
        return self.digits[0].lookup(smpc, ctx, table)

    def _looked_up(self, smpc: Protocol[V], ctx: Context, tables: list[list[int]]) -> list[V]:
        pairs = zip(self.digits, tables, strict=True)
        return [digit.lookup(smpc, ctx, table) for digit, table in pairs]


def _scaled(smpc: Protocol[V], ctx: Context, q: V, power: V, g: int) -> V:
    """[q·power·2^g] for q with F fractional bits."""
    excess = fraction_bits(smpc.ring) - g
    if excess > 0:
        return smpc.mul_aa(ctx, q, power, 1 << excess)
    return smpc.mul_aa(ctx, q, power) << -excess


@traced_once
def square_root(smpc: Protocol[V], ctx: Context, x: V, factor: float, positive: bool = False) -> V:
    """[√(x·factor)] for a public factor: with the scale, √x of numbers.

    0 for x <= 0; if the root is to be positive, that of the smallest positive number.

    √(m·2^n) = m · 1/√m · √2^(n mod 2) · 2^floor(n/2).
    Relative error below 2^-21, or one unit in the last place.

    Cost: 32 rounds, 401 bytes a party and element.
    """
    number = normalize_positive(smpc, ctx, x)
    phi, g = binary(math.sqrt(factor), 0.5)
    root = _Root.of(number)
    mantissa = number.divisor if positive else number.mantissa
    one = 1 << fraction_bits(smpc.ring)
    chosen = smpc.mul_aa(ctx, mantissa, root.rest(smpc, ctx, phi), one)
    q = rsqrt_of_mantissa(smpc, ctx, number.divisor, chosen)
    return _scaled(smpc, ctx, q, root.power(smpc, ctx), g - 1)


@traced_once
def inverse_square_root(smpc: Protocol[V], ctx: Context, x: V, factor: float) -> V:
    """[factor / √x] for a public factor: with scale^1.5, 1/√x of numbers.

    Relative error below 2^-21, or one unit in the last place. Every x <= 0 counts as the
    smallest positive number; a result out of range is the largest number.

    Cost: 32 rounds, 389 bytes a party and element.
    """
    number = normalize_positive(smpc, ctx, x)
    phi, g = binary(factor * 2 ** -((smpc.bits - 3) / 2), 0.5)
    root = _Root.of(number, falling=True)
    q = rsqrt_of_mantissa(smpc, ctx, number.divisor, root.rest(smpc, ctx, phi))
    if factor <= smpc.ring.bound:
        return _scaled(smpc, ctx, q, root.power(smpc, ctx), g)
    return assemble(smpc, ctx, q, root.exponent(smpc, ctx) + public(smpc, ctx, g, x))
