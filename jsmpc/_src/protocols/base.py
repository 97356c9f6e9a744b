"""What every protocol offers: the same set of operations on its own kind of shares.

A protocol is a frozen description (ring, encoding, names of the parties) whose methods are the
operations. Each takes a `Context` first, which holds the network and the randomness of the run.
Operand kinds are part of the names: `a` arithmetic shares, `b` Boolean ones (`Bits`), `p` public.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import ProtocolError
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, PerParty, Public, V
from jsmpc._src.protocols import circuits
from jsmpc._src.protocols.bits import Bits, together, words_of
from jsmpc._src.ring import blocks
from jsmpc._src.ring.bilinear import AND, MULTIPLY, Bilinear
from jsmpc._src.ring.division import Divisor
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.ring.ring import Ring
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import BRENT_KUNG, KOGGE_STONE, cites
from jsmpc._src.runtime.routines import traced_once

Array = jax.Array
Shared = PerParty  # of functions that do not care which


@dataclasses.dataclass(frozen=True)
class Match:
    """What a comparison and a selection after it take, by which tournaments are planned.

    Attributes:
      rounds: of both.
      size: bytes a party and element.
      at_once: whether a product of many bits takes one round, and gives `NumberedBits`.
    """

    rounds: int
    size: int
    at_once: bool = False

    def product_rounds(self, factors: int) -> int:
        """The rounds of `Protocol.conjunctions` of so many bits each."""
        return int(factors > 1) if self.at_once else (factors - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class Protocol(Generic[V]):
    """Base of the protocols, over their own kind of per-party value, `Local` or `Replica`.

    Attributes:
      parties: the parties' names, in the order of their ranks.
      bits: the ring's width, 32 or 64.
      encoding: how numbers become ring elements.
      corruptions: how many parties may be corrupt together without learning anything.
      dealer: the name of the dealer that the parties trust; None without one.
      references: where the protocol was published.
      fewest, most: how many parties it takes; most is None for any number.
      arrays: of how many arrays a party's share is: 2 for a value and its MAC.
      dealt_by: the name of the argument that names the dealer, where there is one.
      helped: whether the dealer takes part in computing, and is a helper.
      match: what a comparison and a selection after it take.
      row: of the README's table: a call, parties, adversary, who is trusted, cost of a product.

    Example:
      >>> import jsmpc
      >>> smpc: jsmpc.Protocol = jsmpc.Replicated3(parties=("alice", "bob", "carol"), bits=32)
      >>> smpc.size, smpc.bits, smpc.rank("bob"), smpc.encoding.precision_fractional
      (3, 32, 1, 10)
    """

    parties: tuple[str, ...] = ()
    bits: int = 64
    encoding: FixedPoint = FixedPoint()

    references: ClassVar[tuple[str, ...]] = ()
    fewest: ClassVar[int] = 1
    most: ClassVar[int | None] = None
    arrays: ClassVar[int] = 1
    dealt_by: ClassVar[str | None] = None
    helped: ClassVar[bool] = False
    match: ClassVar[Match] = Match(rounds=7, size=18)
    row: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        parties: Any = self.parties
        names = [f"party{i}" for i in range(parties)] if isinstance(parties, int) else parties
        object.__setattr__(self, "parties", tuple(names))
        if not all(isinstance(p, str) and p for p in self.parties):
            raise ProtocolError(
                f"the parties' names must be strings, not {self.parties!r}. Numbers are ranks: "
                "jsmpc.reveal(x, to=0)"
            )
        if self.size < self.fewest or self.size > (self.most or self.size):
            many = "exactly" if self.most == self.fewest else "at least"
            raise ProtocolError(
                f"{type(self).__name__} runs among {many} {self.fewest} "
                f"{'party' if self.fewest == 1 else 'parties'}, not {self.size}"
            )
        if len(set(self.parties)) != len(self.parties):
            raise ProtocolError(f"the parties' names must differ: {self.parties}")
        if not isinstance(self.encoding, FixedPoint):
            raise ProtocolError(f"encoding must be a jsmpc.FixedPoint, not {self.encoding!r}")
        object.__setattr__(self, "encoding", self.encoding.resolve(self.ring))

    @property
    def ring(self) -> Ring:
        return Ring(self.bits)

    @property
    def size(self) -> int:
        """The number of parties."""
        return len(self.parties)

    @property
    def corruptions(self) -> int:
        raise NotImplementedError

    @property
    def dealer(self) -> str | None:
        return None

    @property
    def corrupt_sets(self) -> tuple[tuple[int, ...], ...]:
        """The sets of endpoints, by number, that may be corrupt together: parties, or the dealer
        alone."""
        sizes, ranks = range(1, self.corruptions + 1), range(self.size)
        parties = [c for n in sizes for c in itertools.combinations(ranks, n)]
        return (*parties, (self.size,)) if self.dealer is not None else tuple(parties)

    def rank(self, party: str | int) -> int:
        """The rank of a party given by name or rank."""
        if isinstance(party, int) and 0 <= party < self.size:
            return party
        if party in self.parties:
            return self.parties.index(str(party))
        raise ProtocolError(f"{party!r} is no party of {self}: its parties are {self.parties}")

    # Between plain arrays and ring elements.

    def encode(self, x: Any, encoding: FixedPoint | None = None) -> Any:
        """The ring elements (bytes 0 or 1 for booleans) that stand for a plain array.

        Numbers are in the protocol's encoding unless another is given.
        """
        if x.dtype == jnp.bool_:
            return x.astype(np.uint8)
        if jnp.issubdtype(x.dtype, jnp.integer):
            return x.astype(self.ring.dtype)
        return (encoding or self.encoding).encode(x, self.ring)

    def decode(self, words: Array, dtype: Any, encoding: FixedPoint | None = None) -> Array:
        """The plain array of a dtype that ring elements stand for; see `encode`."""
        if dtype == jnp.bool_:
            return (words & np.uint8(1)).astype(jnp.bool_)
        if jnp.issubdtype(dtype, jnp.integer):
            signed = f"int{8 * words.dtype.itemsize}"
            return jax.lax.bitcast_convert_type(words, signed).astype(dtype)
        return (encoding or self.encoding).decode(words, self.ring, dtype)

    # Sharing: what the owner of a value does, outside of the protocol.

    @property
    def state(self) -> Any:
        """What `establish` gave, where the protocol keeps it for simulations. Parties in processes
        do not look here: each has its own part."""
        return None

    def establish(self, network: Network, keys: Sequence[Array]) -> Any:
        """What the parties keep beyond a call: shares of a MAC key, for instance. None by default.

        One state is common to sharing, to all runs (`Context.state`) and to opening. Among real
        parties it is established when they join, a choreography like all others; each then keeps
        the leaves that it holds at its end, and no more. What an owner splits may depend on the
        owner's own part alone.

        Args:
          keys: as of `setup`.

        Returns:
          a pytree of per-party values and arrays.
        """
        return None

    def mask_keys(self, key: Array) -> list[Array]:
        """A key for the mask of each party but the first; those who hold the mask may know it."""
        return [prf.iterate(key, 0, i) for i in range(1, self.size)]

    def split(
        self, keys: Sequence[Array], words: Array, group: Group, state: Any = None
    ) -> list[Any]:
        """Uniform words, one for each party, that sum to `words` in the group.

        A protocol whose shares are of several arrays returns a tuple of them for each party.

        Args:
          keys: as of `mask_keys`.

        Guarantee: all but the first are uniform and independent of `words`.
        """
        masks = [group.draw(key, 0, words.shape, words.dtype) for key in keys]
        return [group.subtract(words, group.sum(masks)) if masks else words, *masks]

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The names of all who take part in a run: the parties and, last, the dealer."""
        return self.parties if self.dealer is None else (*self.parties, self.dealer)

    @property
    def computing(self) -> tuple[str, ...]:
        """The names of all who send anything while it is computed."""
        return self.endpoints if self.helped else self.parties

    def setup(self, network: Network, keys: Sequence[Array]) -> Any:
        """The seeds of a run, each from the key of the endpoint that draws it.

        Args:
          keys: uint32[8] for each of `endpoints`; in a simulation they may be the same.
        """
        raise NotImplementedError

    # Between per-party values and arrays.

    def pack(self, network: Network, x: V) -> tuple[Sequence[Array], ...]:
        """Of each of the `arrays` that a share is of, a row for each party."""
        return network.pack(x)

    def unpack(self, network: Network, packed: tuple[Any, ...]) -> V:
        """The inverse of `pack`, of rows apart or in one array."""
        raise NotImplementedError

    def unpack_seeds(self, network: Network, packed: tuple[Any, ...]) -> Any:
        """The inverse of `network.pack` for seeds."""
        return self.unpack(network, packed)

    def holds(self, rank: int) -> tuple[int, ...]:
        """The rows of shares that a party holds."""
        return (rank,)

    def keys_of(self, endpoint: int) -> tuple[int, ...]:
        """The rows of seeds that an endpoint computes with; a dealer, who deals beforehand, with
        none."""
        return self.holds(endpoint) if endpoint < self.size else ()

    # Linear operations need no message: shares add, and scale by public words, by `+` and `*`.

    def constant(self, ctx: Context, words: Any) -> V:
        """Shares of public words (additive and Boolean alike)."""
        raise NotImplementedError

    def add_ap(self, ctx: Context, x: V, words: Any) -> V:
        return x + self.constant(ctx, words)

    def xor_bp(self, ctx: Context, x: Bits[V], words: Any) -> Bits[V]:
        return Bits(words_of(x) ^ self.constant(ctx, words), x.width)

    def not_b(self, ctx: Context, x: Bits[V]) -> Bits[V]:
        """[~x]: the complement of all bits."""
        dtype = words_of(x).dtype
        ones = np.asarray((1 << x.width) - 1, dtype)
        return self.xor_bp(ctx, x, jnp.broadcast_to(ones, x.shape))

    # Products.

    def product(
        self,
        ctx: Context,
        f: Bilinear,
        x: V,
        y: V,
        divisor: int | None = None,
        addend: V | None = None,
    ) -> V:
        """[f(x, y) + addend], divided by a public divisor if one is given, as by `truncate`.

        The addend, of the result's shape, is free: it joins before the division.
        """
        raise NotImplementedError

    def _finish(self, ctx: Context, z: V, divisor: int | None, addend: V | None = None) -> V:
        """The rest of a product, where its shares are ordinary ones before the division."""
        z = z if addend is None else z + addend
        return z if divisor is None else self.truncate(ctx, z, divisor)

    def mul_aa(
        self,
        ctx: Context,
        x: V,
        y: V,
        divisor: int | None = None,
        addend: V | None = None,
    ) -> V:
        """[x·y + addend], elementwise; see `product`."""
        return self.product(ctx, MULTIPLY, x, y, divisor, addend)

    def square(self, ctx: Context, x: V, divisor: int | None = None) -> V:
        """[x²], elementwise; see `product`."""
        return self.product(ctx, MULTIPLY, x, x, divisor)

    def product_of(self, ctx: Context, factors: Sequence[V], divisor: int | None = None) -> V:
        """[Π x_i / divisor], in ceil(log2 n) rounds and one for a divisor."""
        while len(factors) > 2:
            pairs = zip(factors[::2], factors[1::2], strict=False)
            rest = factors[len(factors) & ~1 :]
            factors = [*(self.mul_aa(ctx, x, y) for x, y in pairs), *rest]
        x, *others = factors
        return self.mul_aa(ctx, x, others[0], divisor) if others else x

    def and_bb(self, ctx: Context, x: Bits[V], y: Bits[V]) -> Bits[V]:
        """[x & y]; see `product`."""
        return together(functools.partial(self.product, ctx, AND), x, y)

    def or_bb(self, ctx: Context, x: Bits[V], y: Bits[V]) -> Bits[V]:
        """[x | y] as x ^ y ^ (x & y)."""
        return x ^ y ^ self.and_bb(ctx, x, y)

    def truncate(self, ctx: Context, x: V, divisor: Divisor) -> V:
        """[x / divisor], signed, off by less than one for -2^(k-2) <= x < 2^(k-2), always.

        The divisor is public and known while the program is traced: one, or one an element.
        """
        raise NotImplementedError

    # Comparison and conversion. A protocol may compute any of these in a way of its own; here they
    # are circuits over `and_bb`, whose first words a protocol makes from its shares.

    @cites(BRENT_KUNG)
    @traced_once
    def msbs(self, ctx: Context, x: V, offsets: Sequence[int]) -> list[Bits[V]]:
        """[sign bit of x + c], for each public offset c.

        The sign of u + v is the top bits of u and v, xored with the carry into the top position,
        which is the carry out of 2u + 2v.

        Cost: that of `generate_propagate_blocks`, and log2(k/4) rounds.
        """
        carry = functools.partial(circuits.carry_out, functools.partial(self.and_bb, ctx))
        pairs = self.generate_propagate_blocks(ctx, x, offsets)
        return [top ^ carry(gp) for gp, top in pairs]

    def signs(self, ctx: Context, x: V, offsets: Sequence[int]) -> Bits[V]:
        """As `msbs`, along a new leading axis, for many offsets: as the sign of all sums."""
        return self.msb(ctx, self._moved(ctx, x, offsets))

    def _moved(self, ctx: Context, x: V, offsets: Sequence[int]) -> V:
        column = self.ring.constants(offsets).reshape(-1, *[1] * len(x.shape))
        moves = self.constant(ctx, jnp.broadcast_to(column, (len(offsets), *x.shape)))
        return x.map(lambda w: w[None]) + moves

    def msb(self, ctx: Context, x: V) -> Bits[V]:
        """[sign bit of x]; see `msbs`."""
        return self.msbs(ctx, x, (0,))[0]

    # What follows may use that numbers are known to be small: |x - y|, or |x|, below 2^(bits-1).

    def less(self, ctx: Context, x: V, y: V, bits: int | None = None) -> Bits[V]:
        """[x < y], for |x - y| < 2^(k-1)."""
        return self.msb(ctx, x - y)

    @traced_once
    def is_zero(self, ctx: Context, x: V) -> Bits[V]:
        """[x = 0]: every block of u + (v - 1) propagates, for x = u + v."""
        return self.all_set(ctx, self.propagate_blocks(ctx, x).low(blocks.count(self.bits)))

    def equal(self, ctx: Context, x: V, y: V, bits: int | None = None) -> Bits[V]:
        """[x = y]."""
        return self.is_zero(ctx, x - y)

    def all_set(self, ctx: Context, x: Bits[V]) -> Bits[V]:
        """[1 if all bits of the word are set, else 0]."""
        return circuits.all_set(functools.partial(self.and_bb, ctx), x)

    def conjunctions(
        self, ctx: Context, bits: Bits[V], factors: Sequence[Sequence[int]]
    ) -> Bits[V]:
        """[Π b_i] over several lists of rows of bits, along a new leading axis."""
        return circuits.conjunctions(functools.partial(self.and_bb, ctx), bits, factors)

    def equals(self, ctx: Context, x: V, values: Sequence[int]) -> Bits[V]:
        """[x = v] for public integers v, along a new leading axis."""
        return self.is_zero(ctx, self._moved(ctx, x, [-v for v in values]))

    def relu(self, ctx: Context, x: V, bits: int | None = None) -> V:
        """[max(x, 0)]."""
        return self.mul_ba(ctx, self.not_b(ctx, self.msb(ctx, x)), x)

    def lsb(self, ctx: Context, x: V) -> Bits[V]:
        """[x mod 2]. Local where shares are summands: their sum is odd if the xor of them is."""
        return Bits(x.astype(np.uint8)).low(1)

    @cites(KOGGE_STONE)
    @traced_once
    def a2b(self, ctx: Context, x: V) -> Bits[V]:
        """[x]^B from [x]^A, x = u + v, by a parallel-prefix adder.

        Words narrower than the ring's are the lowest bits of a value: cast the shares first.

        Cost: that of `generate_propagate`, and log2(width) rounds with 2 products of words each.
        """
        generate, propagate = self.generate_propagate(ctx, x)
        return circuits.add(functools.partial(self.and_bb, ctx), generate, propagate)

    def generate_propagate_blocks(
        self, ctx: Context, x: V, offsets: Sequence[int]
    ) -> list[tuple[Bits[V], Bits[V]]]:
        """What the signs of x + c = u + v follow from, for public offsets c.

        Returns, for each offset:
          [gp]: for each block of 2u + 2v, whether it generates (upper half of the word) and
          propagates (lower half) a carry, see `ring.blocks`; [t]: the top bit of u ^ v.
        u is the same for all offsets, and so are the messages that depend on it.
        """
        raise NotImplementedError

    def propagate_blocks(self, ctx: Context, x: V) -> Bits[V]:
        """A word whose lower half tells for each block of u + (v - 1) whether it propagates a
        carry, for x = u + v: whether u equals -v there."""
        raise NotImplementedError

    def generate_propagate(self, ctx: Context, x: V) -> tuple[Bits[V], Bits[V]]:
        """[g] = [u & v], [p] = [u ^ v] for x = u + v."""
        raise NotImplementedError

    def b2a(self, ctx: Context, b: Bits[V]) -> V:
        """[b]^A of a bit [b]^B."""
        raise NotImplementedError

    def mul_ba(self, ctx: Context, b: Bits[V], x: V) -> V:
        """[b·x] of a bit and a ring element, of one shape."""
        return self.mul_aa(ctx, self.b2a(ctx, b), x)

    def sum_ba(self, ctx: Context, *terms: tuple[Bits[V], V | Public]) -> V:
        """[Σ b·x] of bits and ring elements, shared ones or public scalars, all of one shape."""
        products = [
            self.mul_ba(ctx, b, x) if isinstance(x, PerParty) else self.b2a(ctx, b) * x
            for b, x in terms
        ]
        return functools.reduce(operator.add, products)

    def by_columns(self, ctx: Context, step: Callable[..., Any], x: V) -> Any:
        """step(protocol, ctx, x), in which elements beside each other on the leading axis, and no
        others, have to do with each other; results lack this axis."""
        return step(self, ctx, x)

    @traced_once
    def power_of_two(self, ctx: Context, e: V, bits: Bits[V] | None = None) -> V:
        """[2^(e mod k/2)]: the product of 1 + e_j·(2^(2^j) - 1), as a tree.

        The lowest bits of e are taken from `bits` where they are known already.

        Cost: that of `a2b` of a byte, unless they are; for 64 bits of 5 `b2a` and 4 products.
        """
        bits = self.a2b(ctx, e.astype(np.uint8)) if bits is None else bits
        one = self.constant(ctx, jnp.broadcast_to(self.ring.constant(1), e.shape))
        factors = [
            self.b2a(ctx, bits.bit(j)) * self.ring.constant((1 << (1 << j)) - 1) + one
            for j in range((self.bits // 2).bit_length() - 1)
        ]
        return self.product_of(ctx, factors)

    # Disclosure.

    def open(self, ctx: Context, x: V, group: Group = ARITHMETIC) -> Array:
        """The value, known to every party."""
        raise NotImplementedError

    def open_to(self, ctx: Context, x: V, rank: int, group: Group = ARITHMETIC) -> Local:
        """The value, known to the party `rank` alone."""
        raise NotImplementedError
