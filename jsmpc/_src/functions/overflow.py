"""Whether products and sums leave the range: bits that tell of it, secret like the numbers."""

from __future__ import annotations

import math
from typing import Any

from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.runtime.context import Context

_LOW_BITS = {32: 8, 64: 22}


def outside(smpc: Protocol[V], ctx: Context, x: V, bound: int) -> Bits[V]:
    """[|x| >= bound]^B for every word x and bound <= 2^(k-2).

    Where x ± bound wraps, one of the two signs is still right.

    Cost: that of two signs of one number, and an `or`.
    """
    not_below, above = smpc.msbs(ctx, x, (bound - 1, -bound))
    return smpc.or_bb(ctx, not_below, smpc.not_b(ctx, above))


def of_product(
    smpc: Protocol[V], ctx: Context, f: Bilinear, x: V, y: V
) -> tuple[Bits[V], Bits[V], Bits[V]]:
    """Bits of the result and of both operands: if f(x, y) leaves ±2^(k-2), one of them is set.

    1. Truncate by 2^s: x = x_h·2^s + x_l with |x_l| < 2^s, exactly, and y likewise.
    2. p = f(x_h, y_h) + (f(x_h, y_l) + f(x_l, y_h)) / 2^s, so that |f(x, y) / 2^2s - p| < K + 2
       for sums of K terms.
    3. Compare |p| with 2^(k-2-2s) - K - 2, and x and y with 2^b, above which p might wrap.

    A bit is set in vain for results within (K + 2)·2^(2s+2-k) of the bound (2^-18·K of it in 64
    bits) and for operands from 2^b = 2^(k/2-1+s) / √K on, numbers above 2^35 / √K.

    Cost: about 250 bytes a party and element of elementwise products in replicated sharing, three
    more products, 13 rounds.
    """
    s, top, count = _LOW_BITS[smpc.bits], smpc.bits - 2, terms(f, x, y)
    log = math.ceil(math.log2(count))
    largest = 1 << min((top + 2 * s - log) // 2, top - 2 - log)
    xh = smpc.truncate(ctx, x, 1 << s)
    yh = xh if y is x else smpc.truncate(ctx, y, 1 << s)
    xl, yl = x - (xh << s), y - (yh << s)
    middle = smpc.product(ctx, f, xl, yh, 1 << s, smpc.product(ctx, f, xh, yl))
    p = smpc.product(ctx, f, xh, yh, addend=middle)
    return (
        outside(smpc, ctx, p, max((1 << (top - 2 * s)) - count - 2, 1)),
        outside(smpc, ctx, x, largest),
        outside(smpc, ctx, y, largest),
    )


def terms(f: Bilinear, x: Any, y: Any) -> int:
    """How many products a result of f is the sum of, at most and at least 1."""
    if f.name == "dot_general":
        (contracted, _), _ = f.parameters[0]
        return max(math.prod(x.shape[d] for d in contracted), 1)
    if f.name == "convolution":
        features = f.parameters[4].rhs_spec[0]
        return max(math.prod(n for d, n in enumerate(y.shape) if d != features), 1)
    return 1
