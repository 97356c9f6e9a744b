"""Additive sharing between two parties with a dealer of keys: function secret sharing.

A secret x is opened under a mask r of the dealer's. Of whatever function of x = x̂ - r is asked, the
dealer has shared the function of x̂: the parties evaluate their keys of it, and need no message.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src import kernels
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.additive import Additive
from jsmpc._src.protocols.base import Array, Match
from jsmpc._src.protocols.bits import Bits, NumberedBits, rows_apart, words_of
from jsmpc._src.ring import blocks
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.ring.words import cast, right
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import Correlation
from jsmpc._src.runtime.function_keys import FunctionKey, Repeated, SelectionKey
from jsmpc._src.runtime.references import BEAVER, SPDZ
from jsmpc._src.runtime.routines import traced_once

_WIDEST = 64  # of a word whose bits are all tested
_LARGE, _BLOCK = 1 << 15, 1 << 12  # from how many elements on they are in blocks, and of how many


@dataclasses.dataclass(frozen=True)
class FSS2(Additive):
    """Function secret sharing between two parties with a dealer: a comparison takes one round.

    Products, truncation and conversions are those of `Additive`. Comparisons are distributed
    comparison functions, equalities distributed point functions, of values opened under a mask.

    Guarantee: against one semi-honest party nothing leaks but the program and all shapes, as long
    as the dealer, who sees neither inputs nor messages but what `Additive` says, colludes with
    neither. Keys hide their functions computationally: fixed-key AES stretches seeds of 125 bits
    (see `jsmpc._src.kernels.fss`). No comparison is wrong, with any probability.

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
        "E. Boyle, N. Gilboa, Y. Ishai, Secure computation with preprocessing via function secret "
        "sharing, TCC 2019",
        "E. Boyle et al., Function secret sharing for mixed-mode and fixed-point secure "
        "computation, EUROCRYPT 2021",
        "E. Boyle, N. Gilboa, Y. Ishai, Function secret sharing: improvements and extensions, "
        "CCS 2016",
        "T. Ryffel et al., AriaNN: Low-interaction privacy-preserving deep learning via function "
        "secret sharing, PoPETs 2022",
        BEAVER,
        SPDZ,
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
        """[sign bit of x + c], for each public offset c (TCC 2019; one key: EUROCRYPT 2021).

        1. The dealer hands out [r] and keys of f(y) = [y < r] ^ (top bit of r), where the top bits
           of y and r do not count in the comparison.
        2. Open x̂ = x + r.
        3. Of y = x̂ + c everyone evaluates its share of f; the sign of x + c = y - r is the top bit
           of y, xored with f(y).

        Cost: 1 round, a word a party. The dealer sends each 912 bytes (400 in the 32-bit ring).
        """
        return self._msbs(ctx, x, offsets, self.bits)

    def _msbs(self, ctx: Context, x: Local, offsets: Sequence[int], bits: int) -> list[Bits[Local]]:
        """`msbs` of numbers of so many bits, the lowest of words."""

        def correlation(shape: tuple[int, ...]) -> FunctionKey:
            return FunctionKey(shape, x.dtype, bits - 1, comparison=True)

        def step(ctx: Context, opened: Local, *key: Local) -> list[Bits[Local]]:
            return self._signs(ctx, key, opened, offsets, bits)

        return self._at_masked(ctx, correlation, x, step)[1]

    def _signs(
        self, ctx: Context, key: Sequence[Local], opened: Local, offsets: Sequence[int], bits: int
    ) -> list[Bits[Local]]:
        moves = [self.ring.constant(c).astype(opened.dtype) for c in offsets]
        points = opened.map(lambda w: jnp.stack([w + c for c in moves]))
        values = self._evaluate(ctx, key, points, bits - 1, comparison=True)
        tops = points.map(lambda w: cast(right(w, bits - 1), np.uint8) & np.uint8(1))
        signs = ctx.network.at(0, values ^ tops, values)
        return [Bits(s, 1) for s in signs.maps(list)]

    def _at_masked(
        self,
        ctx: Context,
        correlation: Callable[[tuple[int, ...]], Correlation],
        x: Local,
        step: Callable[..., Any],
        group: Group = ARITHMETIC,
    ) -> tuple[Local, Any]:
        """x opened under a mask, and a local step with it and the rest of what is dealt.

        Many elements are computed on in blocks, so that of the keys which are dealt in place there
        are never many at once, and those from elsewhere are read from end to end.

        Args:
          correlation: what is dealt for elements of a shape, [r] first.
          step: elementwise; of a context, the opened value and the rest, to a pytree of shares.
        """
        size = math.prod(x.shape)
        if size <= _LARGE:
            r, *rest = ctx.deal(correlation(x.shape))
            opened = self._open(ctx, x.map(group.add, r), group)
            return opened, step(ctx, opened, *rest)
        count = -(-size // _BLOCK)
        length = -(-size // count)
        draw, evaluate = self._blocks(ctx, correlation((length,)), step, count)
        r, flat = draw(), x.map(lambda w: w.reshape(size))
        opened = self._open(
            ctx, flat.map(lambda w, m: group.add(w, m.reshape(-1)[:size]), r), group
        )
        padded = opened.map(lambda w: lax.pad(w, w[0], [(0, count * length - size, 0)]))
        found = evaluate(padded.map(lambda w: w.reshape(count, length)))
        return jax.tree.map(lambda w: w.reshape(-1)[:size].reshape(x.shape), (opened, found))

    def _blocks(
        self, ctx: Context, block: Correlation, step: Callable[..., Any], count: int
    ) -> tuple[Callable[[], Local], Callable[[Local], Any]]:
        """[r] of all blocks, and the step with what is opened: in a loop where keys are dealt in
        place, and otherwise with all that was dealt at once. The draws are the same."""
        if not ctx.deals_in_place:
            r, *rest = ctx.deal(Repeated(block, count))
            return lambda: r, lambda opened: jax.vmap(functools.partial(step, ctx))(opened, *rest)
        site = ctx.reserve()

        def mask(ctx: Context, carry: None, _: None) -> tuple[None, Local]:
            return carry, ctx.expand(block)[0]

        def evaluate(ctx: Context, carry: None, opened: Local) -> tuple[None, Any]:
            return carry, step(ctx, opened, *ctx.deal(block)[1:])

        return (
            lambda: ctx.scan(mask, None, None, count, site=site)[1],
            lambda opened: ctx.scan(evaluate, None, opened, count, site=site)[1],
        )

    def _evaluate(
        self, ctx: Context, key: Sequence[Local], points: Local, width: int, comparison: bool
    ) -> Local:
        """Shares of a dealt function at public points along a leading axis. Local."""
        root, corrections = key
        rank = ctx.network.hosted(range(self.size))

        def value(i: int, root: Array, corrections: Array, x: Array) -> Array:
            return kernels.function_values(i, root, corrections, x, width, comparison)

        return rank.map(value, root, corrections, points.astype(np.uint64))

    def signs(self, ctx: Context, x: Local, offsets: Sequence[int]) -> Bits[Local]:
        """As `msbs`: one opening and one key for all offsets."""
        return _stacked(self.msbs(ctx, x, tuple(offsets)))

    def less(self, ctx: Context, x: Local, y: Local, bits: int | None = None) -> Bits[Local]:
        """[x < y] by `msbs`; of fewer bits by shorter keys, of the words that hold so many.

        Cost: 1 round, a word a party. The dealer sends each 16 bytes, and 16 for each bit above 8.
        """
        bits = min(bits or self.bits, self.bits)
        return self._narrow_msb(ctx, (x - y).astype(blocks.word_type(bits)), bits)

    @traced_once
    def _narrow_msb(self, ctx: Context, x: Local, bits: int) -> Bits[Local]:
        return self._msbs(ctx, x, (0,), bits)[0]

    def equal(
        self, ctx: Context, x: Local, y: Local, bits: int | None = None
    ) -> NumberedBits[Local]:
        """[x = y] as `is_zero`; of fewer bits by shorter keys, of the words that hold so many.

        Cost: 1 round, a word a party. The dealer sends each 16 bytes for each bit.
        """
        if bits is None or bits > self.bits:
            return self.is_zero(ctx, x - y)
        width = max(bits - 1, 1)
        return self._is_zero(ctx, (x - y).astype(blocks.word_type(width)), width)

    @traced_once
    def is_zero(self, ctx: Context, x: Local) -> NumberedBits[Local]:
        """[x = 0] (TCC 2019).

        1. The dealer hands out [r] and keys of f(y) = [y = r].
        2. Open x̂ = x + r, and evaluate f(x̂).

        Cost: 1 round, a word a party. The dealer sends each 1,024 bytes (512 in the 32-bit ring).
        """
        return self._test(ctx, x, self.bits, ARITHMETIC)

    @traced_once
    def _is_zero(self, ctx: Context, x: Local, width: int) -> NumberedBits[Local]:
        return self._test(ctx, x, width, ARITHMETIC)

    @traced_once
    def equals(self, ctx: Context, x: Local, values: Sequence[int]) -> NumberedBits[Local]:
        """[x = v] for public v, along a new leading axis, by `is_zero` of x - v for all v at once.

        Cost: as `is_zero`, once for all values.
        """
        moves = self.ring.constants([-v for v in values])

        def correlation(shape: tuple[int, ...]) -> FunctionKey:
            return FunctionKey(shape, x.dtype, self.bits, comparison=False)

        def numbers(ctx: Context, opened: Local, *key: Local) -> list[Local]:
            points = opened.map(lambda w: w[None] + moves.reshape(-1, *[1] * w.ndim))
            found = self._evaluate(ctx, key, points, self.bits, comparison=False)
            return found.astype(self.ring.dtype).maps(list)

        _, found = self._at_masked(ctx, correlation, x, numbers)
        number = found[0].map(lambda *v: jnp.stack(v), *found[1:])
        return NumberedBits(words_of(self.lsb(ctx, number)), number)

    def _test(
        self, ctx: Context, x: Local, width: int, group: Group, complement: bool = False
    ) -> NumberedBits[Local]:
        """[x = 0], or [x = ~0] by a complement: a number, of which the lowest bit is the bit."""

        def correlation(shape: tuple[int, ...]) -> FunctionKey:
            return FunctionKey(shape, x.dtype, width, comparison=False, group=group)

        def value(ctx: Context, opened: Local, *key: Local) -> Local:
            points = opened.map(lambda w: (~w if complement else w)[None])
            values = self._evaluate(ctx, key, points, width, comparison=False)
            return values.map(lambda v: v[0]).astype(self.ring.dtype)

        _, number = self._at_masked(ctx, correlation, x, value, group)
        return NumberedBits(words_of(self.lsb(ctx, number)), number)

    @traced_once
    def relu(self, ctx: Context, x: Local, bits: int | None = None) -> Local:
        """[max(x, 0)] by two masked openings, the first of x itself; of fewer bits by shorter keys.

        1. The dealer hands out [r] and keys as for `msbs`, a dabit [ρ], and [ρ·r].
        2. Open x̂ = x + r, and evaluate [b], whether x is not negative.
        3. Open c = b ^ ρ.
        4. [b] = c + (1 - 2c)·[ρ], and so [b·x] = c·[x] + (1 - 2c)·(x̂·[ρ] - [ρ·r]).

        Cost: 2 rounds, a word and a byte a party. The dealer sends each 912 bytes, and party 0 two
        words.
        """

        bits = min(bits or self.bits, self.bits)

        def correlation(shape: tuple[int, ...]) -> SelectionKey:
            return SelectionKey(FunctionKey(shape, x.dtype, bits - 1, comparison=True))

        def step(ctx: Context, opened: Local, *dealt: Local) -> tuple[Bits[Local], Sequence[Local]]:
            return self._signs(ctx, dealt[:2], opened, (0,), bits)[0], dealt[2:]

        opened, (negative, (rho, rho_a, product)) = self._at_masked(ctx, correlation, x, step)
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
        return self._test(ctx, words_of(x), x.width, BOOLEAN, complement=True)

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
        columns = rows_apart(bits, *([f[j % len(f)] for f in factors] for j in range(width)))
        ones = [words_of(c, 1) & np.uint8(1) for c in columns]
        wide = [b.astype(blocks.word_type(width)) << j for j, b in enumerate(ones)]
        return self.all_set(ctx, Bits(functools.reduce(operator.xor, wide), width))

    def b2a(self, ctx: Context, b: Bits[Local]) -> Local:
        """[b]: what is known of `NumberedBits`, for others as `Additive` does."""
        return b.number if isinstance(b, NumberedBits) else super().b2a(ctx, b)


def _stacked(bits: Sequence[Bits[Local]]) -> Bits[Local]:
    return bits[0].map(lambda *b: jnp.stack(b), *bits[1:])


def _of_planes(planes: Bits[Local], like: Bits[Local]) -> Bits[Local]:
    """Words as wide as others, of bits on the last axis."""
    places = np.arange(like.width, dtype=words_of(like).dtype)

    def word(bits: Array) -> Array:
        return lax.reduce_xor((bits & np.uint8(1)).astype(places.dtype) << places, (bits.ndim - 1,))

    return Bits(words_of(planes).map(word), like.width)
