"""Square roots of shared numbers."""

from __future__ import annotations

import math

from jsmpc._src.functions.division import binary
from jsmpc._src.functions.floating import Floating, assemble, normalize_positive, weighted
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

    Cost: 10 rounds, 96 bytes a party and element.
    """
    f = fraction_bits(smpc.ring)
    one, constant = 1 << f, smpc.ring.constant
    unit = public(smpc, ctx, one, m)
    square = smpc.square(ctx, m, one)
    y = square * constant(36) - m * constant(182) + unit * constant(401)
    e = unit - smpc.mul_aa(ctx, smpc.mul_aa(ctx, m, y, one << 8), y, one << 8)
    series = (unit << 3) + (e << 2) + smpc.square(ctx, e, one) * constant(3)
    return smpc.mul_aa(ctx, smpc.mul_aa(ctx, y, factor, one << 8), series, one << 3)


def _halved(
    smpc: Protocol[V], ctx: Context, number: Floating[V], even: float, odd: float
) -> tuple[V, V]:
    """[floor(n / 2)], and [even] or [odd] with F fractional bits, by the parity of n."""
    parity, *rest = number.exponent_bits
    half = weighted(rest) - public(smpc, ctx, 1, parity)
    one = 1 << fraction_bits(smpc.ring)
    choice = parity * smpc.ring.constant(round((odd - even) * one))
    return half, choice + public(smpc, ctx, even * one, parity)


@traced_once
def square_root(smpc: Protocol[V], ctx: Context, x: V, factor: float, positive: bool = False) -> V:
    """[√(x·factor)] for a public factor: with the scale, √x of numbers.

    0 for x <= 0; if the root is to be positive, that of the smallest positive number.

    √(m·2^n) = m · 1/√m · √2^(n mod 2) · 2^floor(n/2).
    Relative error below 2^-21, or one unit in the last place.

    Cost: 34 rounds, 523 bytes a party and element.
    """
    one = 1 << fraction_bits(smpc.ring)
    number = normalize_positive(smpc, ctx, x)
    phi, g = binary(math.sqrt(factor), 0.5)
    half, choice = _halved(smpc, ctx, number, phi, phi * math.sqrt(2))
    mantissa = number.divisor if positive else number.mantissa
    chosen = smpc.mul_aa(ctx, mantissa, choice, one)
    q = rsqrt_of_mantissa(smpc, ctx, number.divisor, chosen)
    return assemble(smpc, ctx, q, half + public(smpc, ctx, g, half))


@traced_once
def inverse_square_root(smpc: Protocol[V], ctx: Context, x: V, factor: float) -> V:
    """[factor / √x] for a public factor: with scale^1.5, 1/√x of numbers.

    Relative error below 2^-21, or one unit in the last place. Every x <= 0 counts as the
    smallest positive number.

    Cost: 34 rounds, 507 bytes a party and element.
    """
    number = normalize_positive(smpc, ctx, x)
    phi, g = binary(factor, 1.0)
    half, choice = _halved(smpc, ctx, number, phi, phi / math.sqrt(2))
    q = rsqrt_of_mantissa(smpc, ctx, number.divisor, choice)
    return assemble(smpc, ctx, q, public(smpc, ctx, g, half) - half)
