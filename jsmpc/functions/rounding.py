"""Exact rounding of fixed-point numbers to integers."""

from __future__ import annotations

from jsmpc.context import Context
from jsmpc.functions import circuits
from jsmpc.protocols.base import Protocol, Shared


def floor(smpc: Protocol, ctx: Context, x: Shared, divisor: int) -> Shared:
    """[floor(x / divisor)], exact: `truncate` may be one too high, which its remainder shows."""
    quotient = smpc.truncate(ctx, x, divisor)
    remainder = x - quotient * smpc.ring.constant(divisor)
    return quotient - smpc.b2a(ctx, circuits.msb(smpc, ctx, remainder))


def toward_zero(smpc: Protocol, ctx: Context, x: Shared, divisor: int) -> Shared:
    """[x / divisor] without its fractional part, exact: floor of the magnitude, signed."""
    sign = circuits.msb(smpc, ctx, x)
    negative = smpc.mul_ba(ctx, sign, x)
    magnitude = floor(smpc, ctx, x - negative - negative, divisor)
    negative = smpc.mul_ba(ctx, sign, magnitude)
    return magnitude - negative - negative
