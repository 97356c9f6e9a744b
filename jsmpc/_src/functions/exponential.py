"""Exponentials, logarithms and powers of shared numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Generic

import numpy as np

from jsmpc._src.functions import comparison
from jsmpc._src.functions.floating import (
    Floating,
    assemble,
    normalize,
    normalize_positive,
)
from jsmpc._src.functions.polynomial import evaluate, fit, fraction_bits, public, rescale
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring.ring import Ring
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import traced_once


@dataclasses.dataclass(frozen=True)
class _Exponent(Generic[V]):
    """A number with F fractional bits, and an integer next to it: that above, or that below."""

    value: V
    whole: V

    def power_of_rest(self, smpc: Protocol[V], ctx: Context) -> V:
        """[2^(value - whole)] by a polynomial of degree 6 on [-1, 1], relative error 2^-21."""
        rest = self.value - (self.whole << fraction_bits(smpc.ring))
        return evaluate(smpc, ctx, fit(np.exp2, 6), rest)


def _exponent(
    smpc: Protocol[V], ctx: Context, x: V, factor: float, largest: float, addend: float = 0.0
) -> _Exponent[V]:
    """[x·factor + addend] for public ones; both of its parts follow from x at the same time."""
    one = 1 << fraction_bits(smpc.ring)
    value = rescale(smpc, ctx, x, factor * one, largest, addend * one)
    return _Exponent(value, rescale(smpc, ctx, x, factor, largest, addend))


def _power(
    smpc: Protocol[V],
    ctx: Context,
    t: _Exponent[V],
    over: Bits[V] | None = None,
    under: Bits[V] | None = None,
    sign: V | None = None,
) -> V:
    """[±2^t] for |t| < 2^7 - 2 except where `over` or `under` is set.

    Relative error below 2^-20 and that of t, or one unit in the last place.
    """
    return assemble(smpc, ctx, t.power_of_rest(smpc, ctx), t.whole, sign, over, under)


@traced_once
def exponential(smpc: Protocol[V], ctx: Context, x: V, rate: float, scale: float) -> V:
    """[scale·2^(rate·x)] for public rate > 0 and scale; numbers and results are ring elements.

    With rate = log2(e) / scale it is e^x of numbers. Results above the range are its largest
    number, those below half a unit in the last place are 0.

    1. Compare x with the two ends of the range in which the result is representable.
    2. t = rate·x + log2(scale), and 2^t by `_power`.

    Relative error below 2^-20, or one unit in the last place.

    Cost: 13 rounds, 148 bytes a party and element.
    """
    ring = smpc.ring
    offset = math.log2(scale)
    lowest = max((-2 - offset) / rate, -ring.bound)
    highest = min((ring.bits - 2 - offset) / rate, ring.bound - 1)
    under, inside = smpc.msbs(ctx, x, (round(-lowest), -math.floor(highest)))
    over = smpc.not_b(ctx, inside)
    t = _exponent(smpc, ctx, x, rate, max(-lowest, highest), offset)
    return _power(smpc, ctx, t, over, under)


@traced_once
def decay(smpc: Protocol[V], ctx: Context, x: V, rate: float, scale: float) -> tuple[V, Bits[V]]:
    """[scale·2^(-rate·x)] for x >= 0, a public rate > 0 and a public scale <= 2^F.

    And the bit of whether x is so small that this is not 0.

    As `exponential`, but as no result is above 2^F, the exponent has log2(k/2) bits and one end.
    Off by less than two units.

    Cost: 12 rounds, 115 bytes a party and element.
    """
    ring, one = smpc.ring, 1 << fraction_bits(smpc.ring)
    half = ring.bits // 2
    farthest = (math.log2(scale) + 1) / rate
    offset = math.log2(scale / one)
    near = smpc.msb(ctx, x - public(smpc, ctx, farthest, x))
    t = _exponent(smpc, ctx, x, -rate, farthest, offset)
    power = smpc.power_of_two(ctx, t.whole + public(smpc, ctx, half - 1, x))
    value = smpc.mul_aa(ctx, t.power_of_rest(smpc, ctx), power, 1 << (half - 1))
    return smpc.mul_ba(ctx, near, value), near


def _binary_logarithm(smpc: Protocol[V], ctx: Context, x: Floating[V]) -> V:
    """[log2|x|] of ring elements with F fractional bits; 0 counts as 1.

    log2(m) by a polynomial of degree 9 in 2m - 3, and n added.
    """
    f = fraction_bits(smpc.ring)
    w = (x.divisor << 1) - public(smpc, ctx, 3 << f, x.divisor)
    fraction = evaluate(smpc, ctx, fit(_log2_of_mantissa, 9), w)
    return fraction + (x.exponent(smpc, ctx) << f)


def _log2_of_mantissa(w: np.ndarray) -> np.ndarray:
    return np.log2((w + 3) / 2)


@traced_once
def logarithm(smpc: Protocol[V], ctx: Context, x: V, unit: float, scale: float) -> V:
    """[scale·log2(x / unit)] for public unit and scale > 0.

    With unit and scale/log2(e) the encoding's scale it is log(x) of numbers. Every x <= 0 counts
    as the smallest positive number. Off by less than two units in the last place.

    Cost: 29 rounds, 359 bytes a party and element.
    """
    one = 1 << fraction_bits(smpc.ring)
    y = _binary_logarithm(smpc, ctx, normalize_positive(smpc, ctx, x))
    y = y - public(smpc, ctx, math.log2(unit) * one, x)
    return rescale(smpc, ctx, y, scale / one, one * smpc.bits)


def _out_of_range(smpc: Protocol[V], ctx: Context, t: V) -> tuple[Bits[V], Bits[V]]:
    """Whether 2^t is over or under the range, for t with F fractional bits."""
    one = 1 << fraction_bits(smpc.ring)
    under, inside = smpc.msbs(ctx, t, (2 * one, -(smpc.bits - 2) * one))
    return smpc.not_b(ctx, inside), under


def largest_exponent(ring: Ring) -> int:
    """The largest magnitude of a public exponent."""
    return 1 << (ring.bits // 2 - 3 - fraction_bits(ring) // 2)


def public_power(smpc: Protocol[V], ctx: Context, x: V, y: float, unit: float, scale: float) -> V:
    """[scale·(x / unit)^y] for public unit and scale > 0 and a public y with |y| <=
    `largest_exponent`, as 2^(y·log2(x / unit) + log2(scale)).

    Every x < 0 counts as 0; 0^y is 0 for y > 0, and otherwise what the smallest positive number
    gives. Relative error below |y|·2^-F and 2^-22, or one unit in the last place.

    Cost: 39 rounds, 501 bytes a party and element.
    """
    base = normalize_positive(smpc, ctx, x)
    one = 1 << fraction_bits(smpc.ring)
    logarithm = _binary_logarithm(smpc, ctx, base) - public(smpc, ctx, math.log2(unit) * one, x)
    t = _exponent(smpc, ctx, logarithm, y / one, one * smpc.bits, math.log2(scale))
    over, under = _out_of_range(smpc, ctx, t.value)
    vanishes = smpc.or_bb(ctx, under, base.zero) if y > 0 else under
    return _power(smpc, ctx, t, over, vanishes)


def power_of(smpc: Protocol[V], ctx: Context, x: V, y: V, scale: int) -> V:
    """[x^y] of numbers of one scale; see `public_power`.

    |y| is clamped so that y·log2(x) fits: to 2^12 for 18 fractional bits in the 64-bit ring.

    Cost: 40 rounds, 588 bytes a party and element.
    """
    one = 1 << fraction_bits(smpc.ring)
    end = public(smpc, ctx, smpc.ring.bound // (one * smpc.bits), y)
    y = comparison.maximum(smpc, ctx, comparison.minimum(smpc, ctx, y, end), -end)
    base = normalize_positive(smpc, ctx, x)
    offset = math.log2(scale)
    logarithm = _binary_logarithm(smpc, ctx, base) - public(smpc, ctx, offset * one, x)
    product = smpc.mul_aa(ctx, y, logarithm, addend=public(smpc, ctx, offset * one * scale, x))
    t = _Exponent(*(smpc.truncate(ctx, product, divisor) for divisor in (scale, scale * one)))
    over, under = _out_of_range(smpc, ctx, t.value)
    vanishes = smpc.and_bb(ctx, base.zero, smpc.msb(ctx, -y))
    return _power(smpc, ctx, t, over, smpc.or_bb(ctx, under, vanishes))


def cube_root(smpc: Protocol[V], ctx: Context, x: V, factor: float) -> V:
    """[∛(x·factor)] for a public factor >= 1, as ±2^(log2|x·factor| / 3): with scale², ∛x of
    numbers.

    Relative error below 2^-20, or one unit in the last place.

    Cost: 37 rounds, 486 bytes a party and element.
    """
    one = 1 << fraction_bits(smpc.ring)
    number = normalize(smpc, ctx, x)
    logarithm = _binary_logarithm(smpc, ctx, number)
    t = _exponent(smpc, ctx, logarithm, 1 / (3 * one), one * smpc.bits, math.log2(factor) / 3)
    return _power(smpc, ctx, t, under=number.zero, sign=number.sign)
