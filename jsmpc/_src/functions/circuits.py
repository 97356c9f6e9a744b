"""Words of bits: to arithmetic shares, their prefixes, and a choice between them."""

from __future__ import annotations

from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.runtime.context import Context


def b2a_words(smpc: Protocol[V], ctx: Context, x: Bits[V], signed: bool = False) -> V:
    """[x]^A of words [x]^B, in two's complement if `signed`.

    Each bit becomes a ring element, and they are summed with their weights; that of the highest
    is negative in two's complement.

    Cost: the rounds of `b2a`; `x.width` ring elements a party and element.
    """
    weights = [1 << i for i in range(x.width)]
    if signed:
        weights[-1] = -weights[-1]
    column = smpc.ring.constants(weights)
    planes = smpc.b2a(ctx, x.planes())
    return planes.map(lambda p: (p * column).sum(-1, dtype=p.dtype))


def below_first(smpc: Protocol[V], ctx: Context, x: Bits[V]) -> Bits[V]:
    """[the word with its highest set bit and all below it set]: a prefix or.

    Cost: log2(width) rounds.
    """
    span = 1
    while span < x.width:
        x, span = smpc.or_bb(ctx, x, x >> span), 2 * span
    return x


def choose(smpc: Protocol[V], ctx: Context, b: Bits[V], x: Bits[V], y: Bits[V]) -> Bits[V]:
    """[x] where the bit b is 1, [y] where it is 0: y ^ b·(x ^ y).

    Cost: that of `and_bb`.
    """
    return y ^ smpc.and_bb(ctx, b.spread(x.width), x ^ y)
