"""Trigonometric functions of shared numbers."""

from __future__ import annotations

import math

import numpy as np

from jsmpc._src.functions.division import divide
from jsmpc._src.functions.polynomial import fit_odd, fraction_bits, public, rescale
from jsmpc._src.functions.sigmoid import odd_polynomial
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import traced_once


@traced_once
def sine(smpc: Protocol[V], ctx: Context, x: V, unit: float, scale: float, turns: float = 0.0) -> V:
    """[scale·sin(x / unit + 2π·turns)].

    1. The angle as a fraction of a turn is a whole word: x·c modulo 2^k, with c = 2^k / (2π·unit)
       rounded, drops whole turns by itself.
    2. Angles beyond a quarter turn are reflected: sin(π - a) = sin(a).
    3. t·g(2t² - 1) for a quarter turn t in [-1, 1], with a polynomial g of degree 5.

    Off by less than two units in the last place and |x|·2^-k·π.

    Cost: 20 rounds, 111 bytes a party and element.
    """
    ring, f = smpc.ring, fraction_bits(smpc.ring)
    whole = 1 << ring.bits
    angle = x * ring.constant(round(whole / (2 * math.pi * unit)))
    angle = angle + public(smpc, ctx, turns * whole, x)
    far = smpc.msb(ctx, angle + public(smpc, ctx, whole // 4, x))
    reflected = public(smpc, ctx, whole // 2, x) - (angle << 1)
    angle = angle + smpc.mul_ba(ctx, far, reflected)
    t = smpc.truncate(ctx, angle, 1 << (ring.bits - 2 - f))
    y = odd_polynomial(smpc, ctx, fit_odd(_sine_of_quarter, 5), t)
    return rescale(smpc, ctx, y, scale / (1 << f), 2 << f)


def _sine_of_quarter(t: np.ndarray) -> np.ndarray:
    return np.sin(np.pi / 2 * t)


@traced_once
def arc_tangent(smpc: Protocol[V], ctx: Context, y: V, x: V, scale: float) -> V:
    """[scale·atan2(y, x)] of two ring elements of one scale.

    1. The signs and the magnitudes of both, and which is the smaller.
    2. a = atan(t) for t = smaller / larger in [0, 1], by a polynomial.
    3. a or π/2 - a, whichever has the larger magnitude below; for x < 0, π minus that; the sign
       of y.

    atan2(0, 0) is 0. Off by less than three units in the last place.

    Cost: 61 rounds, 945 bytes a party and element.
    """
    f = fraction_bits(smpc.ring)
    left, down = (smpc.msb(ctx, v) for v in (x, y))
    width = x - (smpc.mul_ba(ctx, left, x) << 1)
    height = y - (smpc.mul_ba(ctx, down, y) << 1)
    steep = smpc.less(ctx, width, height)
    swap = smpc.mul_ba(ctx, steep, height - width)
    t = divide(smpc, ctx, height - swap, width + swap, 1 << f)
    angle = odd_polynomial(smpc, ctx, fit_odd(np.arctan, 9), t)
    for b, end in ((steep, math.pi / 2), (left, math.pi), (down, 0.0)):
        angle = angle + smpc.mul_ba(ctx, b, public(smpc, ctx, end * (1 << f), t) - (angle << 1))
    return rescale(smpc, ctx, angle, scale / (1 << f), 4 << f)
