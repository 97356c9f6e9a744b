"""The largest of shared values along an axis: tournaments of groups in which all meet at once.

A match of two takes as many rounds as a match of all pairs of a group, but for the products that
tell who has won them all; a group of g takes g(g-1)/2 comparisons where a tournament takes g-1. How
large the groups are follows from how much a round is worth.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.network.rounds import ROUND
from jsmpc._src.protocols.base import Match, Protocol, V
from jsmpc._src.protocols.bits import Bits, rows_apart
from jsmpc._src.ring import blocks
from jsmpc._src.ring.words import add, xor
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import traced_once

Array = jax.Array

_MOST = 32  # in a group


@functools.lru_cache(maxsize=1024)
def group_sizes(match: Match, n: int, columns: int, indexed: bool = False) -> tuple[int, ...]:
    """How many meet at once, level by level, until one of n is left in each of many columns; and
    its index, if `indexed`."""
    return _cheapest(match, n, columns, indexed)[1]


@functools.lru_cache(maxsize=1024)
def _cheapest(
    match: Match, n: int, columns: int, indexed: bool, carried: bool = False
) -> tuple[int, tuple[int, ...]]:
    """The price of the best sizes, in bytes and bytes' worth of rounds, and these.

    Where secret indices are carried from an earlier level, one comparison starts before the other
    ends; and the last level multiplies with them too. They become numbers at the end, which those
    of a single level may be at once.
    """
    if n < 2:
        return 0, ()
    found = []
    for size in range(2, min(n, _MOST) + 1):
        pairs = sum(math.comb(len(g), 2) for g in _groups(n, size))
        factors = size - 1 + (carried and size == n)
        rounds = match.rounds + match.product_rounds(factors) - carried
        rounds += match.at_once and carried and size == n
        rest, sizes = _cheapest(match, -(-n // size), columns, indexed, indexed)
        price = rounds * ROUND + pairs * columns * match.size
        found.append((price + rest, (size, *sizes)))
    return min(found)


def _groups(n: int, size: int) -> list[range]:
    """The numbers below n in as few runs as there must be for none to be longer than a size."""
    count = -(-n // size)
    ends = [i * n // count for i in range(count + 1)]
    return list(itertools.starmap(range, itertools.pairwise(ends)))


@traced_once
def largest(smpc: Protocol[V], ctx: Context, x: V) -> V:
    """[max] along the leading axis.

    Cost: for each level of groups of g those of g(g-1)/2 comparisons an element of a winner and of
    g-1 products with bits, in the rounds of one comparison and ceil(log2(g-1)) + 2 more.
    """
    for size in group_sizes(smpc.match, x.shape[0], math.prod(x.shape[1:])):
        groups = _groups(x.shape[0], size)
        x = _values(smpc, ctx, winners(smpc, ctx, x, groups), x, groups)
    return x.map(lambda a: a[0])


def argument_of_largest(smpc: Protocol[V], ctx: Context, x: V) -> tuple[V, V]:
    """[max] and the index [argmax], the first of equals, along the leading axis; see
    `_argument_of_largest`."""
    step = functools.partial(_argument_of_largest, columns=math.prod(x.shape[1:]))
    result: tuple[V, V] = smpc.by_columns(ctx, step, x)
    return result


@traced_once
def _argument_of_largest(smpc: Protocol[V], ctx: Context, x: V, columns: int) -> tuple[V, V]:
    """The largest of some of so many columns, and its index.

    As `largest`; the indices are Boolean shares of as many bits as they need, which become
    arithmetic ones at the end. The last level tells the index at the same time as the winner.
    """
    n, rest = x.shape[0], x.shape[1:]
    width = max((n - 1).bit_length(), 1)
    numbers = np.arange(n, dtype=blocks.word_type(width)).reshape(n, *[1] * len(rest))
    index: Bits[V] | None = None
    sizes = group_sizes(smpc.match, n, columns, indexed=True)
    if smpc.match.at_once and len(sizes) == 1:
        return _at_once(smpc, ctx, x)
    for size in sizes:
        groups = _groups(x.shape[0], size)
        outcomes, factors = _meetings(smpc, ctx, x, groups)
        won = smpc.conjunctions(ctx, outcomes, factors)
        if index is None:
            index = _public_indices(smpc, ctx, won, numbers, width, groups)
        elif len(groups) > 1:
            index = _indices(smpc, ctx, won, index, groups)
        else:
            index = _last_index(smpc, ctx, outcomes, factors, index)
        x = _values(smpc, ctx, won, x, groups)
    value = x.map(lambda a: a[0])
    if index is None:
        return value, value - value
    bits = smpc.b2a(ctx, index.map(lambda a: a[0]).planes())
    weights = smpc.ring.constant(1) << np.arange(width, dtype=smpc.ring.dtype)
    return value, bits.map(lambda b: (b * weights).sum(-1, dtype=b.dtype))


def _at_once(smpc: Protocol[V], ctx: Context, x: V) -> tuple[V, V]:
    """`argument_of_largest` where who has won is known in numbers: their sum with the indices."""
    group = range(x.shape[0])
    won = winners(smpc, ctx, x, [group])
    change = np.asarray(group[:-1]) - group[-1]
    weights = smpc.ring.constants(change.tolist()).reshape(-1, *[1] * (len(x.shape) - 1))
    index = smpc.b2a(ctx, won).map(lambda b: (b * weights).sum(0, dtype=b.dtype))
    value = _values(smpc, ctx, won, x, [group]).map(lambda a: a[0])
    return value, smpc.add_ap(ctx, index, jnp.full(index.shape, group[-1], smpc.ring.dtype))


def winners(smpc: Protocol[V], ctx: Context, x: V, groups: Sequence[range]) -> Bits[V]:
    """Of every group all but the last: bits of whether each is the first of the largest.

    1. [b_ij] = [x_i < x_j] for all i < j of a group.
    2. [w_i] = Π_{j<i} [b_ji] · Π_{j>i} [1 - b_ij].

    Cost: those of the comparisons, and of g(g-1) products of bits a group in ceil(log2(g-1))
    rounds.
    """
    return smpc.conjunctions(ctx, *_meetings(smpc, ctx, x, groups))


def _meetings(
    smpc: Protocol[V], ctx: Context, x: V, groups: Sequence[range]
) -> tuple[Bits[V], list[list[int]]]:
    """[b_ij] and [1 - b_ij] of `winners`; and the rows of these whose product each [w_i] is."""
    pairs = [pair for g in groups for pair in itertools.combinations(g, 2)]
    number = {pair: i for i, pair in enumerate(pairs)}
    less = smpc.less(ctx, *rows_apart(x, *zip(*pairs, strict=True)))
    both = less.map(lambda a, b: jnp.concatenate([a, b]), smpc.not_b(ctx, less))
    factors = [
        [number[j, i] if j < i else len(pairs) + number[i, j] for j in g if j != i]
        for g in groups
        for i in g[:-1]
    ]
    return both, factors


# What the winners of all groups have: that of the last, and what it differs by where another won.


def _values(smpc: Protocol[V], ctx: Context, won: Bits[V], x: V, groups: Sequence[range]) -> V:
    last, others, rest = _parts(x, groups)
    change = smpc.mul_ba(ctx, won, rest - others)
    return last + change.map(lambda a: _sums(a, groups, add))


def _indices(
    smpc: Protocol[V], ctx: Context, won: Bits[V], index: Bits[V], groups: Sequence[range]
) -> Bits[V]:
    last, others, rest = _parts(index, groups)
    change = smpc.and_bb(ctx, won.spread(index.width), rest ^ others)
    return last ^ change.map(lambda a: _sums(a, groups, xor))


def _last_index(
    smpc: Protocol[V],
    ctx: Context,
    outcomes: Bits[V],
    factors: Sequence[Sequence[int]],
    index: Bits[V],
) -> Bits[V]:
    """As `_indices` for one group, without waiting for who has won: ceil(log2(g)) rounds."""
    group = range(index.shape[0])
    last, others, rest = _parts(index, [group])
    words = outcomes.spread(index.width).map(lambda a, b: jnp.concatenate([a, b]), rest ^ others)
    own = [[*f, outcomes.shape[0] + i] for i, f in enumerate(factors)]
    change = smpc.conjunctions(ctx, words, own)
    return last ^ change.map(lambda a: _sums(a, [group], xor))


def _public_indices(
    smpc: Protocol[V],
    ctx: Context,
    won: Bits[V],
    numbers: np.ndarray,
    width: int,
    groups: Sequence[range],
) -> Bits[V]:
    """As `_indices` for public ones: local."""
    last = np.concatenate([numbers[g[-1:]] for g in groups])
    rest = np.concatenate([numbers[g[:-1]] ^ numbers[g[-1]] for g in groups])
    change = (won.spread(width) & rest).map(lambda a: _sums(a, groups, xor))
    return smpc.xor_bp(ctx, change, jnp.broadcast_to(last, change.shape))


def _parts(x: Any, groups: Sequence[range]) -> tuple[Any, Any, Any]:
    """The last of each group; for all but the last the last of their group; and these."""
    lasts = [g[-1] for g in groups]
    others = [g[-1] for g in groups for _ in g[:-1]]
    first, second, third = rows_apart(x, lasts, others, [i for g in groups for i in g[:-1]])
    return first, second, third


def _sums(x: Array, groups: Sequence[range], plus: Callable[[Array, Array], Array]) -> Array:
    """Of each group the sum of the rows of all but its last."""
    row = [lax.slice_in_dim(x, i, i + 1) for i in range(x.shape[0])]
    ends = itertools.accumulate((len(g) - 1 for g in groups), initial=0)
    none = lax.full_like(x, 0, shape=(1, *x.shape[1:]))
    sums = [functools.reduce(plus, row[a:b] or [none]) for a, b in itertools.pairwise(ends)]
    return lax.concatenate(sums, 0)
