"""Boolean circuits over a product of words: the carry tree, the test of all bits, the adder.

They are what the operations of a protocol fall back on, and take its product `conjunction`,
[x & y], as an argument: everything else in them is local.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax.numpy as jnp

from jsmpc._src.network.values import V
from jsmpc._src.protocols.bits import Bits, rows_apart

Conjunction: TypeAlias = Callable[[Bits[V], Bits[V]], Bits[V]]


def carry_out(conjunction: Conjunction[V], gp: Bits[V]) -> Bits[V]:
    """[carry out] of blocks that generate (upper half of the word) and propagate (lower half) one.

    Blocks and those below them, (g1, p1) and (g0, p0), together generate g1 ^ p1·g0 and propagate
    p1·p0: a product of words as wide as both halves. The words halve at each level (Brent, Kung,
    IEEE Trans. Computers 1982).

    Cost: log2 of the number of blocks, rounds.
    """
    while gp.width > 4:
        half = gp.width // 4
        p0, p1, g0, g1 = _quarters(gp)
        gp = g1.padded(half) ^ conjunction(p1.concat(p1), g0.concat(p0))
    _, p1, g0, g1 = _quarters(gp)
    return g1 ^ conjunction(p1, g0)


def _quarters(x: Bits[V]) -> list[Bits[V]]:
    """Four words of a quarter of the width, the lowest first."""
    width = x.width // 4
    return [*((x >> i * width).low(width) for i in range(3)), x.high(width)]


def all_set(conjunction: Conjunction[V], x: Bits[V]) -> Bits[V]:
    """[1 if all bits of the word are set, else 0]. log2(width) rounds."""
    while x.width > 1:
        half = (x.width + 1) // 2
        x = conjunction(x.high(half), x.low(half))
    return x


def add(conjunction: Conjunction[V], g: Bits[V], p: Bits[V]) -> Bits[V]:
    """[u + v]^B from [g] = [u & v] and [p] = [u ^ v].

    The carries into all positions by doubling spans (Kogge, Stone, IEEE Trans. Computers 1973):
    g = g ^ p·(g << s) and p = p·(p << s).

    Cost: log2(width) rounds, in each 2 products of words.
    """
    total, span = p, 1
    while span < p.width:
        g, p, span = (
            g ^ conjunction(p, g << span),
            conjunction(p, p << span),
            2 * span,
        )
    return total ^ (g << 1)


def conjunctions(
    conjunction: Conjunction[V], bits: Bits[V], factors: Sequence[Sequence[int]]
) -> Bits[V]:
    """[Π b_i] over several lists of rows, all of them in ceil(log2 of the longest) rounds."""
    while max(map(len, factors)) > 1:
        pairs = [pair for f in factors for pair in zip(f[::2], f[1::2], strict=False)]
        alone = [f[-1] for f in factors if len(f) % 2]
        first, second, rest = rows_apart(bits, *zip(*pairs, strict=True), alone)
        product = conjunction(first, second)
        if alone:
            product = product.map(lambda a, b: jnp.concatenate([a, b]), rest)
        made, kept = iter(range(len(pairs))), iter(range(len(pairs), len(pairs) + len(alone)))
        factors = [
            [*itertools.islice(made, len(f) // 2), *itertools.islice(kept, len(f) % 2)]
            for f in factors
        ]
        bits = product
    (result,) = rows_apart(bits, [f[0] for f in factors])
    return result
