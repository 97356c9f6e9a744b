"""Bit manipulation on words: the leaves of the carry circuit of an addition u + v.

The words are cut into blocks of four bits. A block *generates* a carry if u + v >= 16 there and
*propagates* one if u + v = 15. Both follow from the thresholds T_t = [u >= t], which depend on u
alone, by a selection that depends on v alone: so a party that knows u in the clear can hide all
of them in one message, and those who know v select locally (the leaves of CrypTFlow2, Rathee et
al., CCS 2020, section 3.1, without its oblivious transfers).

The bits of all blocks are gathered in one narrow word, bit-reversed by block number: neighbours
lie half a word apart, and so again after each level of the carry tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


def count(bits: int) -> int:
    """How many blocks a word has: the width in bits of the gathered words."""
    return bits // 4


def word_type(width: int) -> np.dtype[Any]:
    """The narrowest unsigned type of at least `width` bits."""
    return np.dtype(next(f"uint{w}" for w in (8, 16, 32, 64) if width <= w))


def _gather(x: Array, j: int) -> Array:
    """Bit j of every block, one bit a block, in tree order."""
    bits = x.dtype.itemsize * 8
    word = (x >> np.asarray(j, x.dtype)) & np.asarray(int("1" * (bits // 4), 16), x.dtype)
    offset = 1
    while bits > count(x.dtype.itemsize * 8):
        bits //= 2
        word = (word | (word >> np.asarray(bits - offset, word.dtype))).astype(f"uint{bits}")
        offset *= 2
    return _swap_middle(word) if bits == 16 else word


def _swap_middle(word: Array) -> Array:
    """Exchanges the second and the third nibble of 16 bits."""
    difference = (word ^ (word >> np.uint16(4))) & np.uint16(0x00F0)
    return word ^ difference ^ (difference << np.uint16(4))


def _ones(like: Array) -> Any:
    return np.asarray(np.iinfo(like.dtype).max, like.dtype)


def thresholds(u: Array) -> tuple[Array, ...]:
    """T_1, …, T_15 with T_t = [u >= t] in each block; u: uint32 or uint64."""
    low0, low1, high0, high1 = (_gather(u, j) for j in range(4))
    ones, none = _ones(low0), low0 ^ low0
    low = (ones, low0 | low1, low1, low0 & low1)
    high = (ones, high0 | high1, high1, high0 & high1, none)
    table = [(high[t // 4] & low[t % 4]) | high[t // 4 + 1] for t in range(1, 16)]
    return tuple(table)


def _one_hot(v: Array) -> list[Array]:
    """[v = j] in each block, for j = 0, …, 15."""
    bits = [_gather(v, j) for j in range(4)]
    inverse = [b ^ _ones(b) for b in bits]
    low, high = (
        [
            inverse[i + 1] & inverse[i],
            inverse[i + 1] & bits[i],
            bits[i + 1] & inverse[i],
            bits[i + 1] & bits[i],
        ]
        for i in (0, 2)
    )
    return [h & w for h in high for w in low]


def select(table: Sequence[Array], v: Array) -> tuple[Array, Array]:
    """What the blocks of u + v do, from the thresholds of u and from v.

    Returns:
      a word of twice the width, [u + v >= 16] of all blocks above [u + v = 15]: T_{16-v} with
      T_16 = 0, and T_{15-v} ^ T_{16-v} with T_0 = 0; and a constant, as T_0 is 1. The first
      is linear over xor in the table, so that it may be computed on shares of it; the second is
      added once.
    """
    is_v = _one_hot(v)
    generate = is_v[15] & table[0]
    propagate = (is_v[15] ^ is_v[14]) & table[0]
    for t in range(2, 16):
        generate = generate ^ (is_v[16 - t] & table[t - 1])
        propagate = propagate ^ ((is_v[16 - t] ^ is_v[15 - t]) & table[t - 1])
    width = count(v.dtype.itemsize * 8)
    wide = word_type(2 * width)
    both = (generate.astype(wide) << np.asarray(width, wide)) | propagate.astype(wide)
    return both, is_v[15].astype(wide)


def to_planes(x: Array) -> Array:
    """The bits of each word on a new last axis, lowest first, as `uint8` 0 or 1."""
    width = x.dtype.itemsize * 8
    shifts = np.arange(width, dtype=x.dtype)
    return ((x[..., None] >> shifts) & np.asarray(1, x.dtype)).astype(jnp.uint8)
