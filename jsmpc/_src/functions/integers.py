"""Integers: their bits, shifts by secret amounts, and division.

A secret integer is a ring element. The bits of its dtype's own width w are the lowest w of it, a
local cast of the shares, so that sums and products that went beyond w bits wrap here as they do in
two's complement.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.functions import circuits
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import blocks
from jsmpc._src.runtime.context import Context


def word(smpc: Protocol[V], ctx: Context, x: V, width: int) -> Bits[V]:
    """[the lowest `width` bits of x]^B; width 8, 16, 32 or 64.

    Cost: 2 + log2(width) rounds.
    """
    return smpc.a2b(ctx, x.astype(blocks.word_type(min(width, smpc.bits))))


def wrapped(smpc: Protocol[V], ctx: Context, x: V, width: int, signed: bool) -> V:
    """[the number that the lowest `width` bits of x are], for width < k.

    Cost: that of `word` and of `circuits.b2a_words`.
    """
    full = 8 * blocks.word_type(width).itemsize
    return circuits.b2a_words(smpc, ctx, word(smpc, ctx, x, full).low(width), signed)


def count_ones(smpc: Protocol[V], ctx: Context, x: Bits[V]) -> V:
    """[the number of set bits]^A of a word; see `circuits.b2a_words`."""
    return smpc.b2a(ctx, x.planes()).map(lambda p: p.sum(-1, dtype=p.dtype))


def shifted(x: Bits[V], amount: Any, kind: str) -> Bits[V]:
    """A word shifted `left`, `logical` or `arithmetic` by public amounts below its width."""
    if kind == "left":
        return x << amount
    return x.arithmetic_right(amount) if kind == "arithmetic" else x >> amount


def shift(smpc: Protocol[V], ctx: Context, x: Bits[V], amount: V, kind: str) -> Bits[V]:
    """[a word shifted by a secret amount]; negative ones and those beyond its width shift all out.

    1. [amount outside of 0 … width - 1], and the bits of the amount.
    2. For each bit a shift by its power of two, taken where it is set: all are set where the
       amount is outside.
    3. Where it is outside, zero; not in arithmetic shifts, which leave the sign everywhere.

    Cost: 2 + log2(k) + log2(width) rounds.
    """
    last = jnp.broadcast_to(smpc.ring.constant(x.width - 1), amount.shape)
    sides = amount.map(lambda w, v: jnp.stack([w, v]), smpc.add_ap(ctx, -amount, last))
    below, above = smpc.msb(ctx, sides).maps(lambda b: (b[0], b[1]))
    outside = below ^ above
    binary = smpc.a2b(ctx, amount.astype(np.uint8))
    for i in range(x.width.bit_length() - 1):
        bit = smpc.or_bb(ctx, binary.bit(i), outside)
        x = circuits.choose(smpc, ctx, bit, shifted(x, 1 << i, kind), x)
    if kind != "arithmetic":
        x = smpc.and_bb(ctx, smpc.not_b(ctx, outside).spread(x.width), x)
    return x


def divide(smpc: Protocol[V], ctx: Context, x: V, y: V, width: int) -> tuple[V, V]:
    """[quotient] and [remainder] of 0 <= x < 2^width by 0 <= y, exact; width <= k - 2.

    Restoring division, a bit a step from the highest: the remainder so far, doubled, with the
    next bit of x added, is at least y or not. A divisor of 0 gives 2^width - 1 and x.

    Cost: `width` times a comparison and a product: 8 rounds each in replicated sharing.
    """
    binary = smpc.a2b(ctx, x.astype(blocks.word_type(width))).low(width)
    rows = smpc.b2a(ctx, binary.planes()).map(lambda p: jnp.moveaxis(p, -1, 0))

    def step(ctx: Context, rest: V, row: V) -> tuple[V, Bits[V]]:
        rest = rest + rest + row
        bit = smpc.not_b(ctx, smpc.msb(ctx, rest - y))
        return rest - smpc.mul_ba(ctx, bit, y), bit

    zero = x.map(jnp.zeros_like)
    rest, quotient = ctx.scan(step, zero, rows, width, reverse=True)
    digits = smpc.b2a(ctx, quotient)
    weights = np.ones((), smpc.ring.dtype) << np.arange(width, dtype=smpc.ring.dtype)
    return digits.map(lambda q: jnp.tensordot(weights, q, 1)), rest


def truncated(smpc: Protocol[V], ctx: Context, x: V, y: V, width: int) -> tuple[V, V, Bits[V]]:
    """[quotient] rounded toward zero, [remainder] with the sign of x, and [y = 0].

    1. Signs and magnitudes of x and y, together.
    2. `divide`; the quotient is negative where the signs differ.

    Cost: as `divide`.
    """
    both = x.map(lambda a, b: jnp.stack([a, b]), y)
    signs = smpc.msb(ctx, both)
    negative = smpc.mul_ba(ctx, signs, both)
    magnitudes = both - negative - negative
    dividend, divisor = magnitudes.maps(lambda m: (m[0], m[1]))
    quotient, rest = divide(smpc, ctx, dividend, divisor, width)
    flips = signs.map(lambda s: jnp.stack([s[0] ^ s[1], s[0]]))
    results = quotient.map(lambda a, b: jnp.stack([a, b]), rest)
    negative = smpc.mul_ba(ctx, flips, results)
    quotient, rest = (results - negative - negative).maps(lambda r: (r[0], r[1]))
    return quotient, rest, smpc.is_zero(ctx, y)
