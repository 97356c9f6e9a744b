"""Boolean circuits over a product of words: the carry tree, the test of all bits, the adder.

They are what the operations of a protocol fall back on, and take its product `conjunction`,
[x & y], as an argument: everything else in them is local.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from jsmpc._src.network.values import PerParty
from jsmpc._src.ring import blocks

V = TypeVar("V", bound=PerParty)


def _low(x: V, width: int) -> V:
    """The lowest `width` bits, in the narrowest word that holds them."""
    narrow = x.astype(blocks.word_type(width))
    full = narrow.dtype.itemsize * 8
    return narrow if full == width else narrow & np.asarray((1 << width) - 1, narrow.dtype)


def _pair(high: V, low: V, half: int) -> V:
    """Two half-width words side by side in one of twice the width."""
    wide = blocks.word_type(2 * half)
    return (high.astype(wide) << half) ^ low.astype(wide)


def carry_out(conjunction: Callable[[V, V], V], gp: V, count: int) -> V:
    """[carry out] of `count` blocks that generate (upper half) and propagate (lower half) one.

    A block and the one below it, (g1, p1) and (g0, p0), together generate g1 ^ p1·g0 and
    propagate p1·p0: a product of words as wide as both halves. The words halve at each level
    (Brent, Kung, IEEE Trans. Computers 1982).

    Cost: log2(count) rounds.
    """
    while count > 1:
        half = count // 2
        p0, p1, g0, g1 = (_low(gp >> i * half, half) for i in range(4))
        if half == 1:
            return g1 ^ _low(conjunction(p1, g0), 1)
        both = conjunction(_pair(p1, p1, half), _pair(g0, p0, half))
        gp = both ^ (g1.astype(both.dtype) << half)
        count = half
    return gp


def all_set(conjunction: Callable[[V, V], V], words: V, count: int) -> V:
    """[1 if the lowest `count` bits are all set, else 0]. log2(count) rounds."""
    words = _low(words, count)
    while count > 1:
        half = count // 2
        words = _low(conjunction(_low(words >> half, half), _low(words, half)), half)
        count = half
    return words


def add(conjunction: Callable[[V, V], V], generate: V, propagate: V) -> V:
    """[u + v] shared by xor, from [g] = [u & v] and [p] = [u ^ v].

    The carries into all positions by doubling spans (Kogge, Stone, IEEE Trans. Computers 1973).

    Cost: log2(width) rounds, in each 2 products of words.
    """
    total, span, width = propagate, 1, 8 * propagate.dtype.itemsize
    while span < width:
        generate, propagate, span = (
            generate ^ conjunction(propagate, generate << span),
            conjunction(propagate, propagate << span),
            2 * span,
        )
    return total ^ (generate << 1)
