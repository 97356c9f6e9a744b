"""Words of bits: to arithmetic shares, and their prefixes."""

from __future__ import annotations

from typing import Any

import numpy as np

from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring import blocks
from jsmpc._src.runtime.context import Context


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
