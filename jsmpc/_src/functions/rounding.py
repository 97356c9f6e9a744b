"""Exact rounding of fixed-point numbers to integers."""

from __future__ import annotations

import jax.numpy as jnp

from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.runtime.context import Context


def floor(smpc: Protocol[V], ctx: Context, x: V, divisor: int) -> V:
    """[floor(x / divisor)], exact: `truncate` may be one too high, which its remainder shows."""
    quotient = smpc.truncate(ctx, x, divisor)
    remainder = x - quotient * smpc.ring.constant(divisor)
    return quotient - smpc.b2a(ctx, smpc.msb(ctx, remainder))


def toward_zero(smpc: Protocol[V], ctx: Context, x: V, divisor: int) -> V:
    """[x / divisor] without its fractional part, exact: floor of the magnitude, signed."""
    sign = smpc.msb(ctx, x)
    negative = smpc.mul_ba(ctx, sign, x)
    magnitude = floor(smpc, ctx, x - negative - negative, divisor)
    negative = smpc.mul_ba(ctx, sign, magnitude)
    return magnitude - negative - negative


def nearest(smpc: Protocol[V], ctx: Context, x: V, divisor: int, even: bool) -> V:
    """[x / divisor] rounded to the nearest integer, exact; ties to even, or away from zero.

    1. f = floor, with the remainder r = x - divisor·f.
    2. [2r > divisor], [2r >= divisor] and [f < 0] in one comparison.
    3. Add 1 where the first holds, or the second and the tie goes up: f odd, or f not negative.

    Cost: as `floor`, a comparison and 3 rounds.
    """
    below = floor(smpc, ctx, x, divisor)
    d = smpc.ring.constant(divisor)
    twice = (x - below * d) * smpc.ring.constant(2)
    excess = smpc.add_ap(ctx, twice, jnp.broadcast_to(-d, x.shape))
    tests = excess.map(lambda e, f: jnp.stack([-e, e, f]), below)
    over, under, negative = smpc.msb(ctx, tests).maps(lambda b: (b[0], b[1], b[2]))
    up = smpc.lsb(ctx, below) if even else smpc.not_b(ctx, negative)
    tie = smpc.not_b(ctx, under ^ over)
    return below + smpc.b2a(ctx, over ^ smpc.and_bb(ctx, tie, up))
