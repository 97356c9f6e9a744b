"""Replicated sharing among three parties, of whom at most one is corrupt.

x = x_0 + x_1 + x_2; party i holds x_i, its own component, and x_{i+1}, the next (indices modulo
3). So party i - 1 holds x_i too, and a seed shared like that gives both the same draws.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, Public, Replica
from jsmpc._src.protocols.base import Array, Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.protocols.turns import columns_in_turns, in_turn, in_turns
from jsmpc._src.ring import blocks, words
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.division import Divisor, signed_ceiling, signed_floor, wrap, wrap_type
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import CRYPTFLOW2
from jsmpc._src.runtime.routines import traced_once

_THRESHOLDS = 15 / 4  # words: all of a word's blocks


@dataclasses.dataclass(frozen=True)
class Replicated3(Protocol[Replica]):
    """Replicated secret sharing among three parties, without a dealer.

    Guarantee: against one semi-honest party nothing leaks but the program and all shapes. Two
    parties together learn everything.

    Raises:
      ProtocolError: unless there are exactly three parties with different names.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.Replicated3(parties=("alice", "bob", "carol"))
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.array([3, 1, 2]), smpc)
      >>> jsmpc.reveal(jsmpc.secure(jnp.argmax)(jsmpc.random_key(), x))
      Array(0, dtype=int32)
    """

    parties: tuple[str, ...] = ("party0", "party1", "party2")

    references: ClassVar[tuple[str, ...]] = (
        "T. Araki et al., High-throughput semi-honest secure three-party computation with an "
        "honest majority, CCS 2016",
        "P. Mohassel, P. Rindal, ABY3: A mixed protocol framework for machine learning, CCS 2018",
        f"{CRYPTFLOW2} (thresholds of blocks in comparison)",
        "D. Rathee et al., SIRNN: A math library for secure RNN inference, S&P 2021 (truncation)",
    )
    fewest: ClassVar[int] = 3
    most: ClassVar[int | None] = 3
    row: ClassVar[tuple[str, ...]] = (
        "`Replicated3()`",
        "3",
        "semi-honest, 1 corrupt",
        "nobody",
        "1 word a party, 1 round",
    )

    @property
    def corruptions(self) -> int:
        return 1

    def setup(self, network: Network, keys: Sequence[Array]) -> Replica:
        """Party i draws a seed k_i and sends it to party i - 1. 1 round, 32 bytes a party."""
        own = network.hosted([prf.derive(prf.iterate(keys[i], 0, i), "own") for i in range(3)])
        return network.during("setup").replicate(own)

    def unpack(self, network: Network, packed: tuple[Any, ...]) -> Replica:
        return network.unpack_replica(packed)

    def holds(self, rank: int) -> tuple[int, ...]:
        return rank, (rank + 1) % 3

    def constant(self, ctx: Context, words: Any) -> Replica:
        """Component 0 is the constant, the others are zero."""
        net, zero = ctx.network, jnp.zeros_like(words)
        return net.pair(net.hosted([words, zero, zero]), net.hosted([zero, zero, words]))

    def open(self, ctx: Context, x: Replica, group: Group = ARITHMETIC) -> Array:
        """Party i sends x_i to party i + 1, who lacks it. 1 round, a word a party."""
        net = ctx.network
        own, missing = net.own(x), net.send(net.own(x), {0: 1, 1: 2, 2: 0})
        return group.sum((missing, own, net.next(x))).example

    def open_to(self, ctx: Context, x: Replica, rank: int, group: Group = ARITHMETIC) -> Local:
        """Party rank - 1 sends its own component to party `rank`. 1 round, a word."""
        net = ctx.network
        missing = net.send(net.own(x), {(rank - 1) % 3: rank})
        return group.sum((missing, net.own(x), net.next(x)))

    # Two ways back to replicated shares.

    def _reshare(self, ctx: Context, z: Local, group: Group = ARITHMETIC) -> Replica:
        """From one summand a party (Araki et al., section 2.2).

        1. Party i adds its summand of a pseudorandom sharing of zero to z_i.
        2. It sends the result to party i - 1.

        Cost: 1 round, a word a party.
        """
        masked = z.map(group.add, self._przs(ctx, z.shape, z.dtype, group))
        return ctx.network.replicate(masked)

    def _przs(self, ctx: Context, shape: tuple[int, ...], dtype: Any, group: Group) -> Local:
        """Summands of 0, uniform but for their sum: F(k_i) - F(k_{i+1}) at party i. Local."""
        mask = ctx.draw(shape, dtype)
        return ctx.network.own(mask).map(group.subtract, ctx.network.next(mask))

    def _reshare_pair(
        self, ctx: Context, z: Local, first: int, group: Group = ARITHMETIC
    ) -> Replica:
        """From one summand each at parties a = `first` and b = a + 1, who share component b.

        1. Component a is F(k_a), known to a and the third party; component b + 1 is F(k_{b+1}),
           known to b and the third party.
        2. Party a sends z_a - F(k_a) to b, party b sends z_b - F(k_{b+1}) to a; the sum of both
           is component b.

        Cost: 1 round, a word from each of the two.
        """
        net, a, b = ctx.network, first, (first + 1) % 3
        third = (first + 2) % 3
        mask = ctx.draw(z.shape, z.dtype)
        own, next_ = net.own(mask), net.next(mask)
        masked = z.map(group.subtract, _ranks(net, {a: own, b: next_}))
        common = masked.map(group.add, net.send(masked, {a: b, b: a}))
        return net.pair(
            _ranks(net, {a: own, b: common, third: own}),
            _ranks(net, {a: common, b: next_, third: next_}),
        )

    # Products.

    def product(
        self,
        ctx: Context,
        f: Bilinear,
        x: Replica,
        y: Replica,
        divisor: int | None = None,
        addend: Replica | None = None,
    ) -> Replica:
        """[z] = [f(x, y) + addend] (Araki et al., section 2.2).

        1. Party i computes z_i = f(x_i, y_i + y_{i+1}) + f(x_{i+1}, y_i), or the same with the
           sum on the other side, where that is smaller; z = z_0 + z_1 + z_2.
        2. Party i adds its own component of the addend.
        3. The parties reshare z, or divide it while they do.

        Cost: 1 round, a word a party; with a divisor 2 rounds, a word and a half a party.
        """
        net, group = ctx.network, f.group

        def summand(x0: Array, x1: Array, y0: Array, y1: Array) -> Array:
            if x0.size < y0.size:
                return f((group.add(x0, x1), y0), (x0, y1))
            return f((x0, group.add(y0, y1)), (x1, y0))

        z = net.own(x).map(summand, net.next(x), net.own(y), net.next(y))
        z = z if addend is None else z.map(group.add, net.own(addend))
        if divisor is None:
            return self._reshare(ctx, z, group)
        return self._divide(ctx, *self._in_two(ctx, z), divisor)

    @in_turn(lambda smpc, *_: 1)
    def truncate(self, ctx: Context, x: Replica, divisor: Divisor) -> Replica:
        """[x / divisor], off by less than one unit for -2^(k-2) <= x < 2^(k-2), with certainty.

        Cost: 2 rounds, 5/6 of a word a party.
        """
        return self._divide(ctx, *self._addends(ctx, x), divisor)

    def _in_two(self, ctx: Context, z: Local) -> tuple[Local, Local]:
        """u + v = z, u known to party 0, v to parties 1 and 2, from one summand a party.

        1. Parties 1 and 2 exchange z_1 - F(k_1) and z_2 - F(k_0), whose sum is v.
        2. u is z_0 + F(k_1) + F(k_0).

        Cost: 1 round, a word from 1 and from 2.
        """
        net = ctx.network
        mask = ctx.draw(z.shape, z.dtype)
        own, next_ = net.own(mask), net.next(mask)
        masked = net.by_rank(None, z - own, z - next_)
        return (
            net.by_rank(z + own + next_, None, None),
            masked + net.send(masked, {1: 2, 2: 1}),
        )

    def _divide(self, ctx: Context, u: Local, v: Local, divisor: Divisor) -> Replica:
        """[x / divisor] of x = u + v, u known to party 0, v to parties 1 and 2.

        1. Party 0 adds offset = 2^(k-2), so that x + offset lies in [0, 2^(k-1)).
        2. All divide what they know, with its sign: party 0 upwards, taking the offset off again,
           1 and 2 downwards. Party 0 shares its quotient, that of 1 and 2 is a share.
        3. The sum with signs is x + offset, or less by 2^k where u and v are both negative. Party
           0 hides the sign of u between 1 and 2, who multiply it by what the quotient then lacks,
           0 where v is not negative, and reshare; for a power of two in no more than its bits.

        The sign is right as u + v mod 2^k < 2^(k-1): of numbers of different signs the sum has no
        wrap, of two positive ones it would be too large for one (the other case is D. Rathee et
        al., SIRNN, IEEE S&P 2021, section III-A). Party 0 learns nothing, as nobody sends it
        anything.
        Cost: 2 rounds. For a divisor 2^f a word and f bits from party 0, f bits from 1 and from 2,
        rounded up to types of words; for others 2 words from party 0, one from 1 and from 2.
        """
        ring, offset = self.ring, self.ring.bound
        u = u + ring.constant(offset)
        (quotient,) = self._share_sums(
            ctx,
            ARITHMETIC,
            u.map(lambda w: signed_ceiling(w, divisor, offset)),
            v.map(lambda w: signed_floor(w, divisor)),
        )
        dtype, shift = wrap_type(divisor, ring.bits)
        sign = self._hide(ctx, u.map(ring.top_bit).astype(dtype), ARITHMETIC)
        lacking = sign * v.map(lambda w: wrap(w, divisor))
        wrapped = self._reshare_pair(ctx, lacking, first=1).astype(ring.dtype)
        return quotient + (wrapped << shift)

    # Of these party 0 sends the most.

    msbs = in_turns(in_turn(lambda smpc, x, ends: _THRESHOLDS - len(ends) / 2)(Protocol.msbs))
    is_zero = in_turns(in_turn(lambda smpc, x: _THRESHOLDS - 1 / 2)(Protocol.is_zero))
    a2b = in_turn(lambda smpc, x: x.dtype.itemsize / smpc.ring.dtype.itemsize)(Protocol.a2b)
    relu = in_turns(Protocol.relu)
    less = in_turns(Protocol.less)
    equal = in_turns(Protocol.equal)

    def by_columns(self, ctx: Context, step: Callable[..., Any], x: Replica) -> Any:
        """Of many, each third with roles one further; see `in_turns`."""
        return columns_in_turns(step)(self, ctx, x)

    # Conversions: x = u + v with u = x_0 + x_1, known to party 0, and v = x_2, known to 1 and 2.

    def _addends(self, ctx: Context, x: Replica, group: Group = ARITHMETIC) -> tuple[Local, Local]:
        net = ctx.network
        u = net.own(x).map(group.add, net.next(x))
        return net.by_rank(u, None, None), net.by_rank(None, net.next(x), net.own(x))

    def _bit_addends(self, ctx: Context, b: Bits[Replica]) -> tuple[Local, Local]:
        u, v = self._addends(ctx, words_of(b, 1) & np.uint8(1), BOOLEAN)
        return u.astype(self.ring.dtype), v.astype(self.ring.dtype)

    def _hide(self, ctx: Context, secret: Local, group: Group) -> Local:
        """Party 0's value as summands of parties 1 and 2: F(k_1), and the difference, sent.

        Cost: a word from party 0.
        """
        net = ctx.network
        mask = ctx.draw(secret.shape, secret.dtype)
        sent = net.send(secret.map(group.subtract, net.next(mask)), {0: 2})
        return net.by_rank(None, net.own(mask), sent)

    def generate_propagate_blocks(
        self, ctx: Context, x: Replica, offsets: Sequence[int]
    ) -> list[tuple[Bits[Replica], Bits[Replica]]]:
        """x = u + v with u known to party 0 and v known to parties 1 and 2.

        1. Party 0 hides the thresholds of 2u, and u's top bit, between parties 1 and 2.
        2. Both select from their shares by 2v, and by 2(v + c) for each offset.
        3. They reshare what they selected.

        Cost: 2 rounds; 15/4 words and a byte from party 0; for each offset 1/2 word from 1 and
        from 2.
        """
        u, v = self._addends(ctx, x)
        table = self._thresholds(ctx, u << 1)
        sums = [v + self.ring.constant(c) for c in offsets]
        tops = [w.map(self.ring.top_bit) for w in sums]
        leaves = [self._select(ctx, table, w << 1) for w in sums]
        shared = [self._reshare_bits(ctx, w) for w in leaves]
        signs = self._share_bits(ctx, u.map(self.ring.top_bit), *tops, width=1)
        return list(zip(shared, signs, strict=True))

    def propagate_blocks(self, ctx: Context, x: Replica) -> Bits[Replica]:
        """Like `generate_propagate_blocks`: u = -v in a block where u + ~(-v) = 15."""
        u, v = self._addends(ctx, x)
        leaves = self._select(ctx, self._thresholds(ctx, u), v - self.ring.constant(1))
        return self._reshare_bits(ctx, leaves)

    def _thresholds(self, ctx: Context, u: Local) -> list[Local]:
        return [self._hide(ctx, t, BOOLEAN) for t in u.maps(blocks.thresholds)]

    def _select(self, ctx: Context, table: list[Local], v: Local) -> Local:
        leaves, constant = v.maps(lambda w, *t: blocks.select(t, w), *table)
        return ctx.network.at(1, leaves ^ constant, leaves)

    def _reshare_bits(self, ctx: Context, z: Local) -> Bits[Replica]:
        """[z]^B of summands of parties 1 and 2."""
        return Bits(self._reshare_pair(ctx, z, first=1, group=BOOLEAN))

    def _share_bits(
        self, ctx: Context, u: Local, *values: Local, width: int | None = None
    ) -> list[Bits[Replica]]:
        """[u ^ v] of party 0's u and of each v that parties 1 and 2 know."""
        return [Bits(x, width) for x in self._share_sums(ctx, BOOLEAN, u, *values)]

    def _share_sums(self, ctx: Context, group: Group, u: Local, *values: Local) -> list[Replica]:
        """[u + v] of party 0's u and of each v that parties 1 and 2 know.

        Component 2 is v, component 1 a mask, component 0 the masked u, sent to party 2.
        """
        net = ctx.network
        mask = ctx.draw(u.shape, u.dtype)
        masked = u.map(group.subtract, net.next(mask))
        received = net.send(masked, {0: 2})
        return [
            net.pair(
                net.by_rank(masked, net.own(mask), v),
                net.by_rank(net.next(mask), v, received),
            )
            for v in values
        ]

    def generate_propagate(self, ctx: Context, x: Replica) -> tuple[Bits[Replica], Bits[Replica]]:
        """[u ^ v] from a word of party 0, and [u & v] by parties 1 and 2 from their shares of u.

        Cost: 2 rounds; 2 words from party 0, a word from 1 and from 2.
        """
        u, v = self._addends(ctx, x)
        both = self._hide(ctx, u, BOOLEAN) & v
        (different,) = self._share_bits(ctx, u, v)
        return self._reshare_bits(ctx, both), different

    def b2a(self, ctx: Context, b: Bits[Replica]) -> Replica:
        """[b] with b = u ^ v, u known to party 0, v to parties 1 and 2.

        1. Party 0 hides u as summands w of parties 1 and 2.
        2. b = (1 - 2v)·w + v, v added by party 1 alone; both reshare.

        Cost: 2 rounds, a word a party.
        """
        net = ctx.network
        u, v = self._bit_addends(ctx, b)
        w = self._hide(ctx, u, ARITHMETIC)
        summand = w - (v + v) * w
        return self._reshare_pair(ctx, net.at(1, summand + v, summand), first=1)

    def mul_ba(self, ctx: Context, b: Bits[Replica], x: Replica) -> Replica:
        """[b·x]; see `sum_ba`. Cost: 2 rounds; 3 words from party 0, a word from 1 and from 2."""
        return self.sum_ba(ctx, (b, x))

    @in_turns
    @in_turn(lambda smpc, *terms: _hidden_words(terms) - 1)
    def sum_ba(self, ctx: Context, *terms: tuple[Bits[Replica], Replica | Public]) -> Replica:
        """[Σ b·x]; b = u ^ v, x = X + x_2: party 0 knows u and X, parties 1 and 2 v and x_2.

        1. Party 0 hides the sum of all u·X, and (1 - 2u)·X and u of each term, as summands of
           parties 1 and 2.
        2. b·x = u·X + v·(1 - 2u)·X + u·(1 - 2v)·x_2 + v·x_2: with summands of the hidden values
           parties 1 and 2 compute summands of this, v·x_2 added by party 1 alone; both reshare
           the sum of all terms. A public x is x_2, X = 0 then.

        Cost: 2 rounds; for each term 2 words from party 0 (1 for a public x), and 1 for all that
        are not public; a word from 1 and from 2.
        """
        net = ctx.network
        summands, known, own = [], [], []
        for b, x in terms:
            u, v = self._bit_addends(ctx, b)
            hidden = self._hide(ctx, u, ARITHMETIC)
            x_2: Any = x
            if isinstance(x, Replica):
                x_0, x_2 = self._addends(ctx, x)
                ux = u * x_0
                own.append(ux)
                summands.append(v * self._hide(ctx, x_0 - ux - ux, ARITHMETIC))
            vx = v * x_2
            known.append(vx)
            summands.append(hidden * (-(vx + vx) + x_2))
        if own:
            summands.append(self._hide(ctx, _total(own), ARITHMETIC))
        summand = _total(summands)
        return self._reshare_pair(ctx, net.at(1, summand + _total(known), summand), first=1)

    @in_turn(lambda smpc, *_: 1 / 2)
    @traced_once
    def power_of_two(self, ctx: Context, e: Replica, bits: Bits[Replica] | None = None) -> Replica:
        """[2^(e mod k/2)], e = u + v with u known to party 0, v to parties 1 and 2.

        1. Party 0 hides 2^u by xor between parties 1 and 2, who rotate their words by v. As they
           differ in one bit now, w_1 - w_2 = ±2^e; and party 0 knows the sign, of before and after.
        2. They reshare w_1 - w_2 = X + x_2, where X is of masks that party 0 knows.
        3. Party 0 hides the sign and its product with X; parties 1 and 2 have summands of the
           product with x_2 too, and reshare.

        Cost: 3 rounds; 2 1/2 words from party 0, 2 words from 1 and from 2.
        """
        net, ring = ctx.network, self.ring
        half = np.dtype(f"uint{ring.bits // 2}")
        lowest = half.type(ring.bits // 2 - 1)
        u, v = (x.astype(half) & lowest for x in self._addends(ctx, e))

        mask = ctx.draw(e.shape, half)
        power = u.map(lambda n: words.left(jnp.ones_like(n), n))
        hidden = power ^ net.next(mask)
        both = net.by_rank(None, net.own(mask), net.send(hidden, {0: 2}))
        rotated = both.map(words.rotated, v).astype(ring.dtype)
        difference = self._reshare_pair(ctx, net.at(1, rotated, -rotated), first=1)

        negative = hidden.map(words.right, u) & half.type(1)
        sign = negative.astype(ring.dtype).map(
            lambda w: jnp.ones_like(w) - (w << ring.dtype.type(1))
        )
        x_0, x_2 = self._addends(ctx, difference)
        hidden_product = self._hide(ctx, sign * x_0, ARITHMETIC)
        summand = hidden_product + self._hide(ctx, sign, ARITHMETIC) * x_2
        return self._reshare_pair(ctx, summand, first=1)


def _hidden_words(terms: Sequence[tuple[Bits[Replica], Replica | Public]]) -> int:
    """How many words party 0 sends for a sum of products with bits."""
    shared = sum(isinstance(x, Replica) for _, x in terms)
    return len(terms) + shared + (shared > 0)


def _total(values: Sequence[Local]) -> Local:
    return functools.reduce(operator.add, values)


def _ranks(net: Network, values: dict[int, Local]) -> Local:
    return net.by_rank(*(values.get(i) for i in range(3)))
