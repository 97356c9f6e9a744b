"""One party that computes in the clear: the oracle of all tests, and no protection at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.base import Array, Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.ring import blocks
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.division import Divisor, divide, integers
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.runtime.context import Context


@dataclasses.dataclass(frozen=True)
class InsecurePlain(Protocol[Local]):
    """Fixed-point arithmetic in the clear, by one party.

    Guarantee: none; it hides nothing. Cost: no message. Truncation rounds to the nearest.

    Example:
      What fixed-point arithmetic alone does to a number, here with three decimal digits.

      >>> import jsmpc
      >>> digits = jsmpc.FixedPoint(base=10, precision_fractional=3)
      >>> decimal = jsmpc.testing.InsecurePlain(encoding=digits)
      >>> jsmpc.reveal(jsmpc.share(jsmpc.random_key(), 0.12345, decimal))
      Array(0.123, dtype=float32)
    """

    parties: tuple[str, ...] = ("nobody",)

    most: ClassVar[int | None] = 1
    row: ClassVar[tuple[str, ...]] = (
        "`InsecurePlain()`",
        "1",
        "none: computes in the clear",
        "—",
        "the oracle of the tests",
    )

    @property
    def corruptions(self) -> int:
        return 0

    def unpack(self, network: Network, packed: tuple[Any, ...]) -> Local:
        return network.unpack_local(packed)

    def setup(self, network: Network, keys: Sequence[Array]) -> Local:
        return network.hosted(keys)

    def constant(self, ctx: Context, words: Any) -> Local:
        return ctx.network.hosted([words])

    def product(
        self,
        ctx: Context,
        f: Bilinear,
        x: Local,
        y: Local,
        divisor: int | None = None,
        addend: Local | None = None,
    ) -> Local:
        return self._finish(ctx, x.map(lambda a, b: f((a, b)), y), divisor, addend)

    def truncate(self, ctx: Context, x: Local, divisor: Divisor) -> Local:
        d = integers(divisor)
        offset = -(-self.ring.bound // d)
        shifted = x + np.asarray(offset * d + d // 2, self.ring.dtype)
        return shifted.map(lambda w: divide(w, divisor)) - np.asarray(offset, self.ring.dtype)

    def generate_propagate_blocks(
        self, ctx: Context, x: Local, offsets: Sequence[int]
    ) -> list[tuple[Bits[Local], Bits[Local]]]:
        sums = [x + self.ring.constant(c) for c in offsets]
        return [(self._select(s << 1, x ^ x), Bits(s.map(self.ring.top_bit), 1)) for s in sums]

    def propagate_blocks(self, ctx: Context, x: Local) -> Bits[Local]:
        return self._select(x, (x ^ x) - self.ring.constant(1))

    def _select(self, u: Local, v: Local) -> Bits[Local]:
        table = u.maps(blocks.thresholds)
        leaves, constant = v.maps(lambda w, *t: blocks.select(t, w), *table)
        return Bits(leaves ^ constant)

    def generate_propagate(self, ctx: Context, x: Local) -> tuple[Bits[Local], Bits[Local]]:
        return Bits(x ^ x), Bits(x)

    def b2a(self, ctx: Context, b: Bits[Local]) -> Local:
        return (words_of(b, 1) & np.uint8(1)).astype(self.ring.dtype)

    def mul_ba(self, ctx: Context, b: Bits[Local], x: Local) -> Local:
        return self.b2a(ctx, b) * x

    def open(self, ctx: Context, x: Local, group: Group = ARITHMETIC) -> Array:
        return x.example

    def open_to(self, ctx: Context, x: Local, rank: int, group: Group = ARITHMETIC) -> Local:
        return x
