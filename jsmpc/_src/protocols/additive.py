"""Additive sharing among any number of parties with a crypto provider, SPDZ-style.

x = x_0 + … + x_{n-1}: a party a summand. All correlated randomness comes from a dealer, who sees
none of the parties' shares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import ProtocolError
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.base import Array, Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.ring import blocks
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.division import Divisor, public_quotient
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import (
    BitMask,
    Dabit,
    DabitProduct,
    SquarePair,
    ThresholdMask,
    Triple,
    TruncationMask,
)
from jsmpc._src.runtime.references import BEAVER, CRYPTFLOW2, SPDZ


@dataclasses.dataclass(frozen=True)
class Dealt(Protocol[Local]):
    """Base of the protocols of additive shares and a dealer of correlated randomness."""

    fewest: ClassVar[int] = 2
    dealt_by: ClassVar[str | None] = "dealer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dealer in self.parties:
            raise ProtocolError(
                f"the {self.dealt_by} {self.dealer!r} must not be one of the parties"
            )

    def unpack(self, network: Network, packed: tuple[Any, ...]) -> Local:
        return network.unpack_local(packed)

    def setup(self, network: Network, keys: Sequence[Array]) -> Any:
        """The dealer draws a seed for each party, and sends it. 32 bytes a party."""
        root = prf.derive(keys[-1], "dealer")
        seeds = network.hosted([prf.iterate(root, 0, i) for i in range(self.size)])
        return network.during("setup").deliver(seeds)

    def constant(self, ctx: Context, words: Any) -> Local:
        zero = jnp.zeros_like(words)
        return ctx.network.hosted([words, *[zero] * (self.size - 1)])

    def open(self, ctx: Context, x: Local, group: Group = ARITHMETIC) -> Array:
        """x = Σ x_i, everyone sending its share to all. 1 round, n-1 words a party."""
        return self._open(ctx, x, group).example

    def _open(self, ctx: Context, x: Local, group: Group = ARITHMETIC) -> Local:
        first, *others = ctx.network.gather(x)
        return first.map(lambda *w: group.sum(w), *others)

    def open_to(self, ctx: Context, x: Local, rank: int, group: Group = ARITHMETIC) -> Local:
        """x = Σ x_i at one party, the others sending theirs. 1 round, a word a party."""
        return group.sum(ctx.network.collect(x, rank))

    def product(
        self,
        ctx: Context,
        f: Bilinear,
        x: Local,
        y: Local,
        divisor: int | None = None,
        addend: Local | None = None,
    ) -> Local:
        """[z] = [f(x, y)] by a Beaver triple (CRYPTO 1991; SPDZ, CRYPTO 2012, section 2).

        1. The dealer hands out [a], [b], [c] with c = f(a, b).
        2. Open d = x - a and e = y - b.
        3. [z] = [c] + f(d, [b]) + f([a], e) + f(d, e), the last by party 0 alone.

        Cost: 1 round (2 with a divisor), n-1 times the size of x and of y a party. The dealer
        sends the size of z.
        """
        group = f.group
        a, b, c = ctx.deal(Triple(f, x.shape, y.shape, x.dtype))
        d = self._open(ctx, x.map(group.subtract, a), group)
        e = self._open(ctx, y.map(group.subtract, b), group)
        if d.example.size < e.example.size:
            left, right = ctx.network.at(0, a.map(group.add, d), a), b
        else:
            left, right = a, ctx.network.at(0, b.map(group.add, e), b)
        z = c.map(lambda c, *v: group.add(c, f((v[0], v[1]), (v[2], v[3]))), d, right, left, e)
        return self._finish(ctx, z, divisor, addend)

    def square(self, ctx: Context, x: Local, divisor: int | None = None) -> Local:
        """[x²] = [a²] + 2d·[a] + d² with d = x - a opened and [a], [a²] dealt.

        Cost: 1 round (2 with a divisor), n-1 words a party. The dealer sends a word.
        """
        a, aa = ctx.deal(SquarePair(x.shape, x.dtype))
        d = self._open(ctx, x - a)
        z = aa + d * a + ctx.network.at(0, d * (a + d), d * a)
        return self._finish(ctx, z, divisor)

    def truncate(self, ctx: Context, x: Local, divisor: Divisor) -> Local:
        """[x / divisor] by a masked opening.

        1. The dealer hands out [r], [q0], [q1]: see `ring.division.quotients`.
        2. Open c = x + 2^(k-2) + r; x + 2^(k-2) is not negative and at most 2^(k-1).
        3. [y] = floor(c / divisor) + [q0] + [top bit of c clear]·[q1] - 2^(k-2) / divisor, the
           public terms rounded together: see `ring.division.public_quotient`.

        Off by less than one unit for every |x| <= 2^(k-2), with certainty.
        Cost: 1 round, n-1 words a party. The dealer sends 2 words.
        """
        r, q0, q1 = ctx.deal(TruncationMask(x.shape, x.dtype, divisor))
        c = self._open(ctx, self.add_ap(ctx, x, self.ring.constant(self.ring.bound)) + r)
        clear = c.map(lambda w: (self.ring.top_bit(w) ^ np.uint8(1)).astype(w.dtype))
        public = c.map(lambda w: public_quotient(w, divisor, self.ring.bound))
        y = q0 + clear * q1
        return ctx.network.at(0, y + public, y)

    def generate_propagate_blocks(
        self, ctx: Context, x: Local, offsets: Sequence[int]
    ) -> list[tuple[Bits[Local], Bits[Local]]]:
        """x = u + v by a masked opening.

        1. The dealer hands out [u] and Boolean shares of the thresholds of 2u and u's top bit.
        2. Open v = x - u.
        3. Everyone selects from its shares of the thresholds by 2v, and by 2(v + c).

        Cost: 1 round, n-1 words a party. The dealer sends 15/4 words and a byte.
        """
        v, table, top = self._split(ctx, x, shift=1)

        def leaves(w: Local) -> tuple[Bits[Local], Bits[Local]]:
            bit = ctx.network.at(0, top ^ w.map(self.ring.top_bit), top)
            return self._select(ctx, table, w << 1), Bits(bit, 1)

        return [leaves(v + self.ring.constant(c)) for c in offsets]

    def propagate_blocks(self, ctx: Context, x: Local) -> Bits[Local]:
        """Like `generate_propagate_blocks`: u = -v in a block where u + ~(-v) = 15."""
        v, table, _ = self._split(ctx, x, shift=0)
        return self._select(ctx, table, v - self.ring.constant(1))

    def _split(self, ctx: Context, x: Local, shift: int) -> tuple[Local, list[Local], Local]:
        u, *table, top = ctx.deal(ThresholdMask(x.shape, x.dtype, shift))
        return self._open(ctx, x - u), table, top

    def _select(self, ctx: Context, table: list[Local], v: Local) -> Bits[Local]:
        leaves, constant = v.maps(lambda w, *t: blocks.select(t, w), *table)
        return Bits(ctx.network.at(0, leaves ^ constant, leaves))

    def generate_propagate(self, ctx: Context, x: Local) -> tuple[Bits[Local], Bits[Local]]:
        """x = u + v with u's bits dealt and v = x - u opened. 1 round, n-1 words a party."""
        u, u_bits = ctx.deal(BitMask(x.shape, x.dtype))
        v = self._open(ctx, x - u)
        return Bits(u_bits & v), Bits(ctx.network.at(0, u_bits ^ v, u_bits))

    def b2a(self, ctx: Context, b: Bits[Local]) -> Local:
        """[b] = c + (1 - 2c)·[ρ] with c = b ^ ρ opened for a dabit ρ. 1 round, n-1 bytes."""
        rho, rho_a = ctx.deal(Dabit(b.shape, self.ring.dtype))
        c = self._open_bit(ctx, words_of(b, 1) ^ rho)
        return self._flip(ctx, c, rho_a)

    def _open_bit(self, ctx: Context, masked: Local) -> Local:
        opened = self._open(ctx, masked & np.uint8(1), BOOLEAN)
        return opened.astype(self.ring.dtype)

    def _flip(self, ctx: Context, c: Local, rho: Local) -> Local:
        signed = rho - (c + c) * rho
        return ctx.network.at(0, signed + c, signed)

    def mul_ba(self, ctx: Context, b: Bits[Local], x: Local) -> Local:
        """[b·x] with a dabit and a triple at once.

        1. The dealer hands out a dabit [ρ], a uniform [a], and [ρ·a].
        2. Open c = b ^ ρ and d = x - a.
        3. [ρ·x] = d·[ρ] + [ρ·a], and [b·x] = c·[x] + (1 - 2c)·[ρ·x].

        Cost: 1 round, n-1 words and bytes a party. The dealer sends 2 words.
        """
        rho, a, rho_a, product = ctx.deal(DabitProduct(x.shape, x.dtype))
        c = self._open_bit(ctx, words_of(b, 1) ^ rho)
        d = self._open(ctx, x - a)
        masked = d * rho_a + product
        return c * x + masked - (c + c) * masked


@dataclasses.dataclass(frozen=True)
class Additive(Dealt):
    """Additive sharing among n >= 2 parties with a dealer of correlated randomness.

    Guarantee: against semi-honest parties, up to n-1 of them together, nothing leaks but the
    program and all shapes, as long as the dealer colludes with none of them. Of the parties'
    messages the dealer receives digests of public arguments that it deals by. Where a loop or a
    branch depends on what was revealed to all, and is dealt for as it runs, party 0 also tells it
    whether the loop goes on and which branch is taken (1 or 4 bytes).

    Args:
      parties: how many, or their names.
      dealer: the dealer's name, the tutorials' crypto provider.
      bits, encoding: the ring and the encoding of numbers.

    Raises:
      ProtocolError: for fewer than two parties, names that repeat, or a dealer among the parties.

    Example:
      >>> import jsmpc
      >>> smpc = jsmpc.Additive(parties=("bob", "alice"), dealer="james")
      >>> x = jsmpc.share(jsmpc.random_key(), 21, smpc)
      >>> double = jsmpc.secure(lambda x: x + x)
      >>> jsmpc.reveal(double(jsmpc.random_key(), x), to="bob")
      Array(42, dtype=int32)
    """

    parties: tuple[str, ...] = ("party0", "party1")
    dealer: str = "dealer"

    references: ClassVar[tuple[str, ...]] = (
        BEAVER,
        SPDZ,
        f"{CRYPTFLOW2} (thresholds of blocks in comparison)",
    )
    row: ClassVar[tuple[str, ...]] = (
        "`Additive(parties=n, dealer=…)`",
        "n ≥ 2",
        "semi-honest, up to n−1 corrupt",
        "a dealer who colludes with none",
        "2(n−1) words a party, 1 round",
    )

    if TYPE_CHECKING:  # what the generated one takes, and makes names of

        def __init__(
            self,
            parties: int | Sequence[str] = ...,
            bits: int = ...,
            encoding: FixedPoint = ...,
            dealer: str = ...,
        ) -> None: ...

    @property
    def corruptions(self) -> int:
        return self.size - 1
