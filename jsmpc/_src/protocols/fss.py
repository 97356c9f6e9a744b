"""Additive sharing between two parties with a dealer of keys: function secret sharing.

A secret x is opened under a mask r of the dealer's. Of whatever function of x = x̂ - r is asked, the
dealer has shared the function of x̂: the parties evaluate their keys of it, and need no message.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src import kernels
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.additive import Additive
from jsmpc._src.protocols.base import Array, Match
from jsmpc._src.protocols.bits import Bits, NumberedBits, rows, words_of
from jsmpc._src.ring import blocks
from jsmpc._src.ring.groups import BOOLEAN
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.function_keys import FunctionKey, SelectionKey
from jsmpc._src.runtime.routines import traced_once

_WIDEST = 64  # of a word whose bits are all tested


@dataclasses.dataclass(frozen=True)
class FSS2(Additive):
    """Function secret sharing between two parties with a dealer: a comparison takes one round.

    Products, truncation and conversions are those of `Additive`. Comparisons are distributed
    comparison functions, equalities distributed point functions, of values opened under a mask.

    Guarantee: against one semi-honest party nothing leaks but the program and all shapes, as long
    as the dealer, who sees neither inputs nor messages but what `Additive` says, colludes with
    neither. Keys hide their functions computationally: fixed-key AES stretches seeds of 125 bits
    (see `jsmpc._src.kernels.fss`). No result is wrong, with any probability.

    Args:
      parties: their names, or 2.
      dealer: the dealer's name, the tutorials' crypto provider.
      bits, encoding: the ring and the encoding of numbers.

    Raises:
      ProtocolError: unless there are exactly two parties with different names, and another dealer.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.FSS2(parties=("bob", "alice"), dealer="james")
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.array([1.5, -2.0]), smpc)
      >>> relu = jsmpc.secure(jax.nn.relu)
      >>> jsmpc.reveal(relu(jsmpc.random_key(), x))
      Array([1.5, 0. ], dtype=float32)
      >>> jsmpc.secure(lambda x: x > 0).cost(x).rounds
      1
    """

    references: ClassVar[tuple[str, ...]] = (
        "E. Boyle et al., Function secret sharing for mixed-mode and fixed-point secure "
        "computation, EUROCRYPT 2021",
        "E. Boyle, N. Gilboa, Y. Ishai, Function secret sharing: improvements and extensions, "
        "CCS 2016",
        "T. Ryffel et al., AriaNN: Low-interaction privacy-preserving deep learning via function "
        "secret sharing, PoPETs 2022",
        *Additive.references[:2],
    )
    most: ClassVar[int | None] = 2
    # Work on a key of 912 bytes takes as long as 12 bytes on a link of 1 Gbit/s.
    match: ClassVar[Match] = Match(rounds=2, size=17 + 12, at_once=True)
    row: ClassVar[tuple[str, ...]] = (
        "`FSS2(dealer=…)`",
        "2",
        "semi-honest, 1 corrupt",
        "a dealer who colludes with none",
        "2 words a party, 1 round; comparisons 1 word, 1 round",
    )

    @traced_once
    def msbs(self, ctx: Context, x: Local, offsets: Sequence[int]) -> list[Bits[Local]]:
        """[sign bit of x + c], for each public offset c (EUROCRYPT 2021, section 4).

        1. The dealer hands out [r] and keys of f(y) = [y < r] ^ (top bit of r), where the top bits
           of y and r do not count in the comparison.
        2. Open x̂ = x + r.
        3. Of y = x̂ + c everyone evaluates its share of f; the sign of x + c = y - r is the top bit
           of y, xored with f(y).

        Cost: 1 round, a word a party. The dealer sends each 912 bytes (400 in the 32-bit ring).
        """
        r, *key = ctx.deal(self._comparison(x))
        opened = self._open(ctx, x + r)
        return self._signs(ctx, key, opened, offsets)

    def _comparison(self, x: Local) -> FunctionKey:
        return FunctionKey(x.shape, x.dtype, self.bits - 1, comparison=True)

    def _signs(
        self, ctx: Context, key: Sequence[Local], opened: Local, offsets: Sequence[int]
    ) -> list[Bits[Local]]:
        points = opened.map(lambda w: jnp.stack([w + self.ring.constant(c) for c in offsets]))
        values = self._evaluate(ctx, key, points, self.bits - 1, comparison=True)
        signs = ctx.network.at(0, values ^ points.map(self.ring.top_bit), values)
        return [Bits(s, 1) for s in signs.maps(list)]

    def _evaluate(
        self, ctx: Context, key: Sequence[Local], points: Local, width: int, comparison: bool
    ) -> Local:
        """Shares of a dealt function at public points along a leading axis. Local."""
        root, corrections = key
        rank = ctx.network.hosted(range(self.size))

        def value(i: int, root: Array, corrections: Array, x: Array) -> Array:
            return kernels.function_values(i, root, corrections, x, width, comparison)

        return rank.map(value, root, corrections, points.astype(np.uint64))

    @traced_once
    def is_zero(self, ctx: Context, x: Local) -> NumberedBits[Local]:
        """[x = 0] (EUROCRYPT 2021, section 4).

        1. The dealer hands out [r] and keys of f(y) = [y = r].
        2. Open x̂ = x + r, and evaluate f(x̂).

        Cost: 1 round, a word a party. The dealer sends each 1,024 bytes (512 in the 32-bit ring).
        """
        r, *key = ctx.deal(FunctionKey(x.shape, x.dtype, self.bits, comparison=False))
        return self._test(ctx, key, self._open(ctx, x + r), self.bits)

    def _test(
        self, ctx: Context, key: Sequence[Local], point: Local, width: int
    ) -> NumberedBits[Local]:
        """[f(x)] of a point function f: a number, of which the lowest bit is the bit."""
        values = self._evaluate(ctx, key, point.map(lambda w: w[None]), width, comparison=False)
        number = values.map(lambda v: v[0]).astype(self.ring.dtype)
        return NumberedBits(words_of(self.lsb(ctx, number)), number)

    @traced_once
    def relu(self, ctx: Context, x: Local) -> Local:
        """[max(x, 0)] by two masked openings, the first of x itself.

        1. The dealer hands out [r] and keys as for `msbs`, a dabit [ρ], and [ρ·r].
        2. Open x̂ = x + r, and evaluate [b], whether x is not negative.
        3. Open c = b ^ ρ.
        4. [b] = c + (1 - 2c)·[ρ], and so [b·x] = c·[x] + (1 - 2c)·(x̂·[ρ] - [ρ·r]).

        Cost: 2 rounds, a word and a byte a party. The dealer sends each 912 bytes, and party 0 two
        words.
        """
        r, root, corrections, rho, rho_a, product = ctx.deal(SelectionKey(self._comparison(x)))
        opened = self._open(ctx, x + r)
        (negative,) = self._signs(ctx, (root, corrections), opened, (0,))
        c = self._open_bit(ctx, words_of(self.not_b(ctx, negative), 1) ^ rho)
        selected = opened * rho_a - product
        return c * x + selected - (c + c) * selected

    @traced_once
    def all_set(self, ctx: Context, x: Bits[Local]) -> NumberedBits[Local]:
        """[1 if all bits of the word are set, else 0], by a point function.

        1. The dealer hands out [r]^B and keys of f(y) = [y = r].
        2. Open c = x ^ r, and evaluate f(~c).

        Cost: 1 round, a word as wide as x a party. The dealer sends each 16 bytes for each bit.
        """
        words = words_of(x)
        key = FunctionKey(x.shape, words.dtype, x.width, comparison=False, group=BOOLEAN)
        r, *rest = ctx.deal(key)
        opened = self._open(ctx, words ^ r, BOOLEAN)
        return self._test(ctx, rest, opened.map(jnp.invert), x.width)

    def conjunctions(
        self, ctx: Context, bits: Bits[Local], factors: Sequence[Sequence[int]]
    ) -> Bits[Local]:
        """[Π b_i] over several lists of rows, each list a word of which all bits are to be set.

        Cost: 1 round, a word as wide as the longest list a party and bit of the result.
        """
        width = max(map(len, factors))
        if width == 1 or width > _WIDEST:
            return super().conjunctions(ctx, bits, factors)
        if bits.width > 1:
            return _of_planes(self.conjunctions(ctx, bits.planes(), factors), bits)
        columns = [rows(bits, [f[j % len(f)] for f in factors]) for j in range(width)]
        ones = [words_of(c, 1) & np.uint8(1) for c in columns]
        wide = [b.astype(blocks.word_type(width)) << j for j, b in enumerate(ones)]
        return self.all_set(ctx, Bits(functools.reduce(operator.xor, wide), width))

    def b2a(self, ctx: Context, b: Bits[Local]) -> Local:
        """[b]: what is known of `NumberedBits`, for others as `Additive` does."""
        return b.number if isinstance(b, NumberedBits) else super().b2a(ctx, b)


def _of_planes(planes: Bits[Local], like: Bits[Local]) -> Bits[Local]:
    """Words as wide as others, of bits on the last axis."""
    places = np.arange(like.width, dtype=words_of(like).dtype)

    def word(bits: Array) -> Array:
        return lax.reduce_xor((bits & np.uint8(1)).astype(places.dtype) << places, (bits.ndim - 1,))

    return Bits(words_of(planes).map(word), like.width)
