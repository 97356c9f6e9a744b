"""Division of shared numbers, by reciprocals of their mantissas."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np

from jsmpc._src.functions.comparison import beneath
from jsmpc._src.functions.digits import Thermometer
from jsmpc._src.functions.floating import assemble, normalize
from jsmpc._src.functions.polynomial import fraction_bits, public, rescale
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import GOLDSCHMIDT, cites
from jsmpc._src.runtime.routines import traced_once


@cites(GOLDSCHMIDT)
@traced_once
def reciprocal_of_mantissa(smpc: Protocol[V], ctx: Context, m: V) -> V:
    """[1/m] for 1 <= m <= 2; operand and result have F fractional bits.

    1. y = (545 - 374·m + 83·m²) / 256, which m turns into 1 - e with |e| < 2^-6.4.
    2. 1/m = y·(1 + e)·(1 + e²) / (1 - e⁴) (R. Goldschmidt, Applications of division by
       convergence, 1964).

    Relative error below 2^-25.6 and a few units 2^-F.

    Cost: 8 rounds, 68 bytes a party and element.
    """
    f = fraction_bits(smpc.ring)
    one, constant = 1 << f, smpc.ring.constant
    unit = public(smpc, ctx, one, m)
    square = smpc.square(ctx, m, one)
    y = square * constant(83) - m * constant(374) + unit * constant(545)
    e = unit - smpc.mul_aa(ctx, m, y, one << 8)
    better = smpc.mul_aa(ctx, y, unit + e, one << 8)
    return smpc.mul_aa(ctx, better, unit + smpc.square(ctx, e, one), one)


def binary(factor: float, least: float) -> tuple[float, int]:
    """A positive number as φ·2^g with least <= φ < 2·least."""
    g = math.floor(math.log2(factor / least))
    return factor / 2**g, g


def is_power_of_two(x: float) -> bool:
    return math.frexp(x)[0] == 0.5


@traced_once
def reciprocal(smpc: Protocol[V], ctx: Context, x: V, factor: float) -> V:
    """[factor / x] for a public factor: with the square of the scale, 1/x of numbers.

    Relative error below 2^-23, or one unit in the last place. 1/0 is what the smallest positive
    number gives.

    Cost: 29 rounds, 421 bytes a party and element.
    """
    number = normalize(smpc, ctx, x)
    phi, g = binary(factor, 1.0)
    q = reciprocal_of_mantissa(smpc, ctx, number.divisor)
    q = rescale(smpc, ctx, q, phi, 1 << fraction_bits(smpc.ring))
    exponent = public(smpc, ctx, g, x) - number.exponent(smpc, ctx)
    return assemble(smpc, ctx, q, exponent, number.sign)


@traced_once
def divide(smpc: Protocol[V], ctx: Context, x: V, y: V, factor: float) -> V:
    """[x·factor / y] for a public factor: with the scale, the quotient of numbers.

    Both are normalized, so that a quotient of two large numbers is as precise as of small ones;
    operands are spread to one shape after that.
    Relative error below 2^-22, or one unit in the last place. A quotient out of range is the
    largest number with its sign. A divisor 0 counts as the smallest positive number; 0/0 is 0.

    Cost: 31 rounds, 714 bytes a party and element.
    """
    above, below = (normalize(smpc, ctx, v) for v in (x, y))
    shape = np.broadcast_shapes(x.shape, y.shape)

    def spread(v: V) -> V:
        return v if v.shape == shape else v.map(lambda w: jnp.broadcast_to(w, shape))

    one = 1 << fraction_bits(smpc.ring)
    slightly_less = public(smpc, ctx, 4, y)  # so that q < 2
    inverse = reciprocal_of_mantissa(smpc, ctx, below.divisor) - slightly_less
    q = smpc.mul_aa(ctx, spread(above.mantissa), spread(inverse), one)
    phi, g = (1.0, math.log2(factor)) if is_power_of_two(factor) else binary(factor, 0.5)
    q = rescale(smpc, ctx, q, phi, 2 * one)
    exponent = spread(above.exponent(smpc, ctx)) - spread(below.exponent(smpc, ctx))
    sign = smpc.mul_aa(ctx, spread(above.sign), spread(below.sign))
    return assemble(smpc, ctx, q, exponent + public(smpc, ctx, g, q), sign)


@traced_once
def part(
    smpc: Protocol[V], ctx: Context, x: V, whole: V, unit: float, count: int, divisor: int
) -> V:
    """[x·c / (whole·divisor)] with c = unit·2^(F + m), for unit <= whole <= count·unit.

    2^m is the power of two next to count / 2. Each of `whole` is for all x along the axes in which
    it has one element.

    1. [whole > unit·2^j] for 0 < j <= m, so that whole = unit·2^d·w with 1 <= w <= 2.
    2. x·2^(m-d) / w / divisor, where 1/w needs no more than the mantissa's reciprocal.

    Relative error below 2^-23, or one unit in the last place.

    Cost: 19 rounds, 20 bytes a party for each x.
    """
    one, m = 1 << fraction_bits(smpc.ring), doublings(count)
    scaled = whole
    if m:
        ends = [round(unit * (1 << j)) for j in range(1, m + 1)]
        reach = Thermometer.of(smpc, ctx, beneath(smpc, ctx, whole, ends), 0)
        power = reach.lookup(smpc, ctx, [1 << m - d for d in range(m + 1)])
        scaled = smpc.mul_aa(ctx, whole, power)
        x = smpc.mul_aa(ctx, x, power.map(lambda w: jnp.broadcast_to(w, x.shape)))
    w = rescale(smpc, ctx, scaled, one / (unit * (1 << m)), 2 * unit * (1 << m))
    inverse = reciprocal_of_mantissa(smpc, ctx, w)
    return smpc.mul_aa(ctx, x, inverse.map(lambda w: jnp.broadcast_to(w, x.shape)), divisor)


def doublings(count: int) -> int:
    """How often the least whole of so many parts may double before it is next to the largest."""
    return max((count - 1).bit_length() - 1, 0)
