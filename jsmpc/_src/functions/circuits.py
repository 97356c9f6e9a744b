"""Boolean circuits on shared words: the carry tree, the test for zero, the adder."""

from __future__ import annotations

from typing import Any

import numpy as np

from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring import blocks
from jsmpc._src.runtime.context import Context


def _low(x: Shared, width: int) -> Shared:
    """The lowest `width` bits, in the narrowest word that holds them."""
    narrow = x.astype(blocks.word_type(width))
    full = narrow.dtype.itemsize * 8
    return narrow if full == width else narrow & np.asarray((1 << width) - 1, narrow.dtype)


def _pair(high: Shared, low: Shared, half: int) -> Shared:
    """Two half-width words side by side in one of twice the width."""
    wide = blocks.word_type(2 * half)
    return (high.astype(wide) << half) ^ low.astype(wide)


def carry(smpc: Protocol, ctx: Context, leaves: Shared) -> Shared:
    """[carry out] of blocks that generate and propagate: see `Protocol.carry_leaves`.

    A block and the one below it, (g1, p1) and (g0, p0), together generate g1 ^ p1·g0 and
    propagate p1·p0: a product of words as wide as both halves. The words halve at each level
    (Brent, Kung, IEEE Trans. Computers 1982).

    Cost: log2(blocks) rounds; 5 bytes a party and element in replicated sharing.
    """
    width = blocks.count(smpc.bits)
    while width > 1:
        half = width // 2
        p0, p1, g0, g1 = (_low(leaves >> i * half, half) for i in range(4))
        if half == 1:
            return g1 ^ _low(smpc.and_bb(ctx, p1, g0), 1)
        both = smpc.and_bb(ctx, _pair(p1, p1, half), _pair(g0, p0, half))
        leaves = both ^ (g1.astype(both.dtype) << half)
        width = half
    return leaves


def all_set(smpc: Protocol, ctx: Context, leaves: Shared) -> Shared:
    """[1 if every block's bit in the lower half is set, else 0]. log2(blocks) rounds."""
    width = blocks.count(smpc.bits)
    leaves = _low(leaves, width)
    while width > 1:
        half = width // 2
        leaves = _low(smpc.and_bb(ctx, _low(leaves >> half, half), _low(leaves, half)), half)
        width = half
    return leaves


def msb(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[sign bit of x], a Boolean share in `uint8`.

    x = u + v; the sign is the top bits of u and v, xored with the carry into the top position,
    which is the carry out of 2u + 2v.
    """
    return signs(smpc, ctx, x, 0)[0]


def signs(smpc: Protocol, ctx: Context, x: Shared, *offsets: float) -> list[Shared]:
    """[sign bit of x + c] for each public offset, rounded: little more than the price of one."""
    leaves = smpc.carry_leaves(ctx, x, [round(c) for c in offsets])
    return [top ^ carry(smpc, ctx, blocks) for blocks, top in leaves]


def is_zero(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[x = 0], a Boolean share in `uint8`: u and -v agree in every block of x = u + v."""
    return all_set(smpc, ctx, smpc.equality_leaves(ctx, x))


def a2b(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[x] shared by xor, from x = u + v shared by addition, by a parallel-prefix adder.

    Words narrower than the ring's are the lowest bits of a value: cast the shares first.
    The carries into all positions by doubling spans (Kogge, Stone, IEEE Trans. Computers 1973).
    Cost: log2(width) rounds more than the protocol's `carry_words`; in each 2 products of words.
    """
    generate, propagate = smpc.carry_words(ctx, x)
    total, span, width = propagate, 1, 8 * x.dtype.itemsize
    while span < width:
        generate, propagate, span = (
            generate ^ smpc.and_bb(ctx, propagate, generate << span),
            smpc.and_bb(ctx, propagate, propagate << span),
            2 * span,
        )
    return total ^ (generate << 1)


def b2a_words(
    smpc: Protocol, ctx: Context, x: Shared, width: int | None = None, signed: bool = False
) -> Shared:
    """[x] shared by addition, from the lowest `width` bits (all) of words shared by xor.

    Each bit becomes a ring element, and they are summed with their weights; that of the highest
    is negative in two's complement.

    Cost: the rounds of `b2a`; `width` words a party and element.
    """
    width = 8 * x.dtype.itemsize if width is None else width
    planes = smpc.b2a(ctx, x.map(lambda w: blocks.to_planes(w)[..., :width]))
    weights = [1 << i for i in range(width)]
    if signed:
        weights[-1] = -weights[-1]
    column = np.asarray([w % (1 << smpc.bits) for w in weights], smpc.ring.dtype)
    return planes.map(lambda p: (p * column).sum(-1, dtype=p.dtype))


def below_first(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[the word with its highest set bit and all below it set]: a prefix or.

    Cost: log2(width) rounds.
    """
    width, span = 8 * x.dtype.itemsize, 1
    while span < width:
        x, span = smpc.or_bb(ctx, x, x >> span), 2 * span
    return x


def spread(bit: Shared, dtype: Any) -> Shared:
    """Words of copies of a shared bit; local."""
    return -(bit & np.uint8(1)).astype(dtype)
