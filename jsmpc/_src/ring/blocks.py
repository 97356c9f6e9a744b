"""The carries of an addition u + v, of which one party knows u and others know v.

The words are cut into blocks of four bits. With u and v the values of one block:

- It *generates* a carry if u + v >= 16, that is if u >= 16 - v.
- It *propagates* the carry that comes in if u + v = 15, that is if u >= 15 - v but not u >= 16 - v.

So both follow from the thresholds T_t = [u >= t], t = 0, …, 16, at the places 16 - v and 15 - v;
T_0 = 1 and T_16 = 0 always. The thresholds depend on u alone and the places on v alone. Whoever
knows u hides T_1, …, T_15 in one message, shared by xor; whoever knows v picks from the shares,
which is linear over xor and needs no message:

    generate  = ⊕_j [v = j]·T_{16-j},        propagate = ⊕_j [v = j]·(T_{15-j} ⊕ T_{16-j}).

The second is right as T_{15-v} >= T_{16-v}: their xor is the one without the other. The terms of
T_0, a constant, are added once, by one party.

From the blocks to the word: a carry comes out of two neighbours if the upper one generates it, or
propagates one that the lower one generates, and never both, as u + v is not >= 16 and = 15 at once.
Hence (g, p) ∘ (g', p') = (g ⊕ p·g', p·p'), an associative operation, and a tree of log2(k/4) levels
(Brent, Kung, IEEE Trans. Computers 1982) gives the carry out of all blocks. The sign of x = u + v
mod 2^k is the top bits of u and v, xored with the carry into the top position: the carry out of
2u + 2v, whose bits are those below, moved up by one. And x = 0 where v = -u, that is where every
block of u + (v - 1) propagates: u + (v - 1) = 2^k - 1.

The thresholds of blocks are those of CrypTFlow2 (Rathee et al., CCS 2020, section 3.1), there
compared by oblivious transfers. That u or v is known in the clear to somebody, so that a message
and a selection take their place, is this library's.

The bits of all blocks are gathered in one narrow word, bit-reversed by block number: neighbours
lie half a word apart, and so again after each level of the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.ring.words import cast, left, right, xor
from jsmpc._src.ring.words import conjunction as both
from jsmpc._src.ring.words import disjunction as either

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
    word = both(right(x, j), np.asarray(int("1" * (bits // 4), 16), x.dtype))
    offset = 1
    while bits > count(x.dtype.itemsize * 8):
        bits //= 2
        word = cast(either(word, right(word, bits - offset)), f"uint{bits}")
        offset *= 2
    return _swap_middle(word) if bits == 16 else word


def _swap_middle(word: Array) -> Array:
    """Exchanges the second and the third nibble of 16 bits."""
    difference = both(xor(word, right(word, 4)), np.uint16(0x00F0))
    return xor(xor(word, difference), left(difference, 4))


def _ones(like: Array) -> Any:
    return np.asarray(np.iinfo(like.dtype).max, like.dtype)


def thresholds(u: Array) -> tuple[Array, ...]:
    """T_1, …, T_15 with T_t = [u >= t] in each block; u: uint32 or uint64."""
    low0, low1, high0, high1 = (_gather(u, j) for j in range(4))
    ones, none = _ones(low0), xor(low0, low0)
    low = (ones, either(low0, low1), low1, both(low0, low1))
    high = (ones, either(high0, high1), high1, both(high0, high1), none)
    table = [either(both(high[t // 4], low[t % 4]), high[t // 4 + 1]) for t in range(1, 16)]
    return tuple(table)


def _one_hot(v: Array) -> list[Array]:
    """[v = j] in each block, for j = 0, …, 15."""
    bits = [_gather(v, j) for j in range(4)]
    inverse = [xor(b, _ones(b)) for b in bits]
    low, high = (
        [
            both(inverse[i + 1], inverse[i]),
            both(inverse[i + 1], bits[i]),
            both(bits[i + 1], inverse[i]),
            both(bits[i + 1], bits[i]),
        ]
        for i in (0, 2)
    )
    return [both(h, w) for h in high for w in low]


def select(table: Sequence[Array], v: Array) -> tuple[Array, Array]:
    """What the blocks of u + v do, from the thresholds of u and from v.

    Returns:
      a word of twice the width, [u + v >= 16] of all blocks above [u + v = 15]: T_{16-v} with
      T_16 = 0, and T_{15-v} ^ T_{16-v} with T_0 = 0; and a constant, as T_0 is 1. The first
      is linear over xor in the table, so that it may be computed on shares of it; the second is
      added once.
    """
    is_v = _one_hot(v)
    generate = both(is_v[15], table[0])
    propagate = both(xor(is_v[15], is_v[14]), table[0])
    for t in range(2, 16):
        generate = xor(generate, both(is_v[16 - t], table[t - 1]))
        propagate = xor(propagate, both(xor(is_v[16 - t], is_v[15 - t]), table[t - 1]))
    width = count(v.dtype.itemsize * 8)
    wide = word_type(2 * width)
    return either(left(cast(generate, wide), width), cast(propagate, wide)), cast(is_v[15], wide)


def to_planes(x: Array) -> Array:
    """The bits of each word on a new last axis, lowest first, as `uint8` 0 or 1."""
    width = x.dtype.itemsize * 8
    shifts = np.arange(width, dtype=x.dtype)
    return ((x[..., None] >> shifts) & np.asarray(1, x.dtype)).astype(jnp.uint8)
