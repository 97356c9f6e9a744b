"""SecureNN: two parties with additive shares, and a helper that computes on what it is sent."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, Pairwise
from jsmpc._src.protocols.additive import Dealt
from jsmpc._src.protocols.base import Array, Match
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import positions
from jsmpc._src.ring.groups import BOOLEAN, Group, modulo
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import OddMask
from jsmpc._src.runtime.references import BEAVER, CRYPTFLOW2
from jsmpc._src.runtime.routines import traced_once


@dataclasses.dataclass(frozen=True)
class SecureNN(Dealt):
    """SecureNN (Wagh, Gupta, Chandran, PoPETs 2019): two parties and a helper.

    The parties' shares are additive, over Z_L with L = 2^bits. The helper, P2 of the paper, has no
    share of anything. It deals what products, truncation and conversions need, as the dealer of
    `Additive` does; comparisons it takes part in. Division and the largest of many are the
    library's own over these: the paper's division takes a comparison for each bit of the quotient.
    Nor is truncation the paper's, each party's of its own share, which now and then is wrong by
    2^(bits - f) (P. Mohassel, Y. Zhang, SecureML, S&P 2017, theorem 1).

    Cost: a comparison 7 rounds and a ReLU 8, where the paper has 8 and 10; in the 64-bit ring 144
    and 153 bytes of each party, and 89 of the helper.

    Guarantee: against one semi-honest party, or the helper, nothing leaks but the program and all
    shapes. Two of the three together learn everything. What the helper receives is uniform but for
    one bit a comparison, x > r or its complement as the parties chose at random, and digests of
    public arguments that it deals by. Where a loop or a branch depends on what was revealed to all,
    party 0 also tells it whether the loop goes on and which branch is taken (1 or 4 bytes).

    Args:
      parties: their names.
      helper: the helper's name, the tutorials' crypto provider.
      bits, encoding: the ring and the encoding of numbers.

    Raises:
      ProtocolError: unless there are two parties with different names, the helper not among them.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.SecureNN(parties=("bob", "alice"), helper="james")
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.array([-1.5, 0.25]), smpc)
      >>> jsmpc.reveal(jsmpc.secure(jax.nn.relu)(jsmpc.random_key(), x))
      Array([0.  , 0.25], dtype=float32)
    """

    parties: tuple[str, ...] = ("party0", "party1")
    helper: str = "helper"

    references: ClassVar[tuple[str, ...]] = (
        "S. Wagh, D. Gupta, N. Chandran, SecureNN: 3-party secure computation for neural network "
        "training, PoPETs 2019",
        "I. Damgård, M. Geisler, M. Krøigaard, Efficient and secure comparison for on-line "
        "auctions, ACISP 2007",
        BEAVER,
        f"{CRYPTFLOW2} (thresholds of blocks in tests for zero)",
    )
    most: ClassVar[int | None] = 2
    dealt_by: ClassVar[str | None] = "helper"
    helped: ClassVar[bool] = True
    match: ClassVar[Match] = Match(rounds=8, size=153)
    row: ClassVar[tuple[str, ...]] = (
        "`SecureNN(helper=…)`",
        "2 and a helper",
        "semi-honest, 1 corrupt",
        "nobody",
        "2 words a party, 1 round",
    )

    @property
    def dealer(self) -> str | None:
        return self.helper

    @property
    def corruptions(self) -> int:
        return 1

    @property
    def odd(self) -> Group:
        """Z_{L-1}."""
        return modulo((1 << self.bits) - 1)

    # Seeds: of each party with the helper, and of the two parties.

    def setup(self, network: Network, keys: Sequence[Array]) -> Pairwise:
        """The helper sends a seed to each party, and party 0 one to party 1. 32 bytes each."""
        net = network.during("setup")
        of_helper = super().setup(network, keys)
        common = net.only(0, prf.derive(keys[0], "parties"))
        return Pairwise((*of_helper.values, net.send(common, {0: 1}).values[1]))

    def unpack_seeds(self, network: Network, packed: tuple[Any, ...]) -> Pairwise:
        return Pairwise(packed[0][i] for i in range(3))

    def keys_of(self, endpoint: int) -> tuple[int, ...]:
        return ((0, 2), (1, 2), (0, 1))[endpoint]

    # What the helper knows, and what both parties know.

    def _from_helper(self, ctx: Context, value: Array, group: Group) -> Local:
        """[value] of the helper's: party 1's share is a draw, party 0's is sent."""
        net = ctx.network
        share = ctx.draw(value.shape, value.dtype, group).dealt
        sent = net.deliver(net.only(0, group.subtract(value, share.values[1])))
        return net.by_rank(sent, share)

    def _common(self, ctx: Context, shape: tuple[int, ...], dtype: Any, group: Group) -> Array:
        """A draw that both parties know, and the helper does not."""
        return ctx.draw(shape, dtype, group).common

    def _common_bit(self, ctx: Context, shape: tuple[int, ...]) -> Array:
        return self._common(ctx, shape, np.uint8, BOOLEAN) & np.uint8(1)

    # Comparison.

    def private_compare(self, ctx: Context, x: Local, r: Array, beta: Array) -> Array:
        """β ⊕ [x >= r], to the helper, by summands of the bits of x (the paper's Algorithm 3).

        1. Both parties set v = r for β = 1, to find out whether x < v, and v = r - 1 for β = 0,
           to find out whether x > v. Where r = 0 they find out whether 0 < v instead, which is
           true for β = 0, as v = L - 1 then, and false for β = 1.
        2. [c_i] = 1 + (1 - 2β)(v_i - [x_i]) + Σ_{k>i} ([x_k] ⊕ v_k), see `kernels.positions`.
        3. Both move position i to i ⊕ π, π uniform, and scale it by a uniform s_i ≠ 0.
        4. Party 0 sends s_i·[c_i] + u_i to the helper, party 1 -s_i·[c_i] + u_i, u_i uniform.
        5. The bit is 1 if both are equal in one position.

        The paper has x > r, with a case for r + 1 = L, and share conversion asks for x > r - 1,
        where r - 1 wraps: the second half of step 1 is for both. It sends s_i·[c_i] as it is; but
        the helper made the shares of x itself, and could tell v from the ratio of the two: hence
        the u_i. As no more than one c_i is zero, moving all positions by a uniform π hides as much
        as a permutation does. That both messages together tell nothing, as β is uniform too, is the
        lemma by which `jsmpc.verify` proves this step.

        Args:
          x: summands of the bits in Z_67, uint8[k, …], the highest first.
          r, beta: words and bits that both parties know.

        Cost: 1 round, k bytes a party.
        """
        net, k, shape = ctx.network, x.shape[0], r.shape
        v = r - np.ones((), r.dtype) + beta.astype(r.dtype)
        how = beta | (r == 0).astype(np.uint8) * np.uint8(3)
        place = self._common(ctx, shape, np.uint8, BOOLEAN) & np.uint8(k - 1)
        s = self._common(ctx, x.shape, np.uint8, positions.FACTORS)
        u = self._common(ctx, x.shape, np.uint8, positions.FIELD)
        d = net.by_rank(
            *(
                x.map(functools.partial(kernels.differences, first=first), v, how, place, s, u)
                for first in (True, False)
            )
        )
        d_0, d_1 = net.ask(d)
        return (d_0 == d_1).any(0).astype(np.uint8)

    def share_convert(self, ctx: Context, a: Local) -> Local:
        """[y] over Z_{L-1} from [a] over Z_L, y = a - (a mod 2) (the paper's Algorithm 4).

        1. Both parties draw r = r_0 + r_1 mod L, whose carry is α, and a bit η''.
        2. Party j sends ã_j = a_j + r_j mod L, whose carry is β_j, to the helper.
        3. The helper adds x = ã_0 + ã_1 mod L, whose carry is δ, and shares the bits of x over
           Z_67, δ and the lowest bit of x over Z_{L-1}.
        4. Private compare gives it η' = η'' ⊕ [x >= r], which it shares over Z_{L-1}.
        5. [η] = η'' ⊕ [η'], and [θ] = [β] + [δ] + [η] - 1 - α: a_0 + a_1 = a + θ·L.
        6. [y] = [a] - [θ] - (r_0 ⊕ [x_0]).

        a = L - 1 is 0 in Z_{L-1}, and Algorithm 4 excludes it: the paper's derivative of ReLU
        converts 2a, which is even, and loses a bit of the range (see snwagh/securenn-public#18).
        Without its lowest bit, which is that of r and x, a is even and keeps its sign.

        Cost: 4 rounds; a word and k bytes a party; k bytes and 3 words of the helper.
        """
        net, odd, dtype = ctx.network, self.odd, a.dtype
        r, r_0 = (self._common(ctx, a.shape, dtype, BOOLEAN) for _ in range(2))
        carried = (r < r_0).astype(dtype)
        eta_pp = self._common_bit(ctx, a.shape)

        masked = a + net.hosted([r_0, r - r_0])
        beta = masked.map(lambda w, own: (w < own).astype(dtype), a)
        masked_0, masked_1 = net.ask(masked)
        x = masked_0 + masked_1
        delta = self._from_helper(ctx, (x < masked_0).astype(dtype), odd)
        lowest = self._from_helper(ctx, x & np.ones((), dtype), odd)
        bits = self._from_helper(ctx, kernels.bits(x), positions.FIELD)

        eta_p = self.private_compare(ctx, bits, r, eta_pp)
        eta = self._flipped(ctx, self._from_helper(ctx, eta_p.astype(dtype), odd), eta_pp)
        theta = eta.map(odd.add, delta).map(odd.add, beta)
        theta = net.at(0, theta.map(odd.subtract, carried + np.ones((), dtype)), theta)
        lowest = self._flipped(ctx, lowest, r & np.ones((), dtype))
        return a.map(odd.subtract, theta).map(odd.subtract, lowest)

    def _flipped(self, ctx: Context, bit: Local, by: Array) -> Local:
        """[b ⊕ c] = [b] + c·(1 - 2[b]) over Z_{L-1}, for a bit c that both parties know."""
        zero = jnp.zeros(bit.shape, bit.dtype)
        flipped = ctx.network.hosted([zero + np.ones((), bit.dtype), zero])
        flipped = flipped.map(self.odd.subtract, bit)
        return bit.map(lambda b, f: jnp.where(by == 1, f, b), flipped)

    def odd_msb(self, ctx: Context, y: Local) -> Bits[Local]:
        """[y >= L/2] of [y] over Z_{L-1} (the paper's Algorithm 5).

        1. The helper has dealt [x] over Z_{L-1}, the bits of x over Z_67, and its lowest bit.
        2. Open r = 2y + x mod (L - 1).
        3. Both parties draw a bit β. Private compare gives the helper β' = β ⊕ [x > r], which it
           shares by xor.
        4. As L - 1 is odd, 2y is odd if y >= L/2, and 2y = r - x is odd if x[0] ⊕ r[0] ⊕ [x > r]:
           [x[0]] ⊕ r[0] ⊕ [β'] ⊕ β.

        The paper makes arithmetic shares of this, by a product; Boolean ones need none.

        Cost: 3 rounds; a word and k bytes a party, a byte of the helper, which deals k + 1 bytes.
        """
        odd = self.odd
        x, bits, lowest = ctx.deal(OddMask(y.shape, y.dtype))
        r = self._open(ctx, y.map(odd.add, y).map(odd.add, x), odd).values[1]  # the last to know
        beta = self._common_bit(ctx, y.shape)
        above = r + np.ones((), r.dtype)  # r <= L - 2
        beta_p = self.private_compare(ctx, bits, above, beta)
        shared = lowest ^ self._from_helper(ctx, beta_p, BOOLEAN)
        public = beta ^ (r & np.ones((), r.dtype)).astype(np.uint8)
        return Bits(ctx.network.at(0, shared ^ public, shared), 1)

    @traced_once
    def msbs(self, ctx: Context, x: Local, offsets: Sequence[int]) -> list[Bits[Local]]:
        """[sign bit of x + c], for each public offset c, by share conversion and the msb in
        Z_{L-1}.

        Cost: 7 rounds, where the paper's derivative of ReLU has 8.
        """
        column = self.ring.constants(offsets).reshape(-1, *[1] * len(x.shape))
        offset = self.constant(ctx, jnp.broadcast_to(column, (len(offsets), *x.shape)))
        sums = x.map(lambda w: w[None]) + offset
        found = self.odd_msb(ctx, self.share_convert(ctx, sums))
        return found.maps(lambda w: [w[i] for i in range(len(offsets))])
