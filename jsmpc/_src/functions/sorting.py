"""Oblivious sorting, selection of the largest, and running extremes of shared values.

Which elements are compared depends on the number of elements alone, so nothing leaks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import indexing
from jsmpc._src.network.values import PerParty
from jsmpc._src.protocols.base import Array, Protocol, V
from jsmpc._src.protocols.bits import Bits, rows
from jsmpc._src.ring.bilinear import dot_general
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import BATCHER, cites

Shares = TypeVar("Shares", PerParty, Bits[Any])
BY_RANKS = 32  # up to how many elements are sorted by ranks


def network(n: int) -> list[np.ndarray]:
    """Layers of comparators (i, j), i < j, that bring the smaller of two elements to place i.

    Batcher's odd-even merge sort for any n (K. Batcher, Sorting networks and their applications,
    AFIPS 1968; D. Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M): t(t+1)/2 layers,
    t = ceil(log2 n).
    """
    layers: list[np.ndarray] = []
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            i = np.array([i for i in range(n - d) if i & p == r], np.int32)
            layers.append(np.stack([i, i + np.int32(d)], 1))
            if q == p:
                break
            q, r, d = q // 2, p, q - p
        p //= 2
    return layers


def _routes(layers: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Layers of one width, and where each place then finds its element.

    The places count through the first elements of all pairs, the second ones, and all n.
    """
    width = max(len(layer) for layer in layers)
    pairs = np.zeros((len(layers), 2, width), np.int32)
    sources = np.tile(2 * width + np.arange(n, dtype=np.int32), (len(layers), 1))
    for row, source, layer in zip(pairs, sources, layers, strict=True):
        count = np.arange(len(layer), dtype=np.int32)
        row[:, : len(layer)] = layer.T
        source[layer[:, 0]], source[layer[:, 1]] = count, width + count
    return pairs, sources


def precedes(smpc: Protocol[V], ctx: Context, x: V, y: V) -> Bits[V]:
    """[x < y]^B in lexicographic order of the columns on axis 1.

    1. Compare all columns at once, all but the last in both directions.
    2. From the last column on: [x < y] = [x_i < y_i] ^ [x_i = y_i]·[the rest of x < that of y].

    Cost: a comparison; a round more for each column more, and two comparisons' bytes.
    """
    columns = x.shape[1]
    both = (x - y).map(lambda d: jnp.concatenate([d, -d[:, :-1]], 1) if columns > 1 else d)
    signs = smpc.msb(ctx, both)
    result = signs.map(lambda s: s[:, columns - 1])
    for i in reversed(range(columns - 1)):
        less = signs.map(lambda s, i=i: s[:, i])
        equal = smpc.not_b(ctx, less ^ signs.map(lambda s, i=i: s[:, columns + i]))
        result = less ^ smpc.and_bb(ctx, equal, result)
    return result


def sort(
    smpc: Protocol[V],
    ctx: Context,
    keys: Sequence[V],
    others: Sequence[V] = (),
    stable: bool = True,
) -> list[V]:
    """[keys] and [others] in lexicographic order of the keys along the leading axis.

    A few elements are sorted by ranks, in far fewer rounds; more by a network, which compares
    less and needs their numbers as a last key to be stable.
    """
    columns, count = [*keys, *others], len(keys)
    n = columns[0].shape[0]
    if n <= BY_RANKS:
        return _unstack(by_ranks(smpc, ctx, _stack(columns), count))
    if not stable or not others:
        return _unstack(by_network(smpc, ctx, _stack(columns), count))
    columns.insert(count, numbers(smpc, ctx, columns[0].shape))
    table = _unstack(by_network(smpc, ctx, _stack(columns), count + 1))
    return table[:count] + table[count + 1 :]


def _stack(columns: Sequence[V]) -> V:
    return columns[0].map(lambda *c: jnp.stack(c, 1), *columns[1:])


def _unstack(x: V) -> list[V]:
    return [x.map(lambda a, i=i: a[:, i]) for i in range(x.shape[1])]


def by_ranks(smpc: Protocol[V], ctx: Context, x: V, keys: int, wanted: int | None = None) -> V:
    """[x] with its rows in stable ascending order of the first `keys` columns.

    Args:
      x: elements × columns × …
      wanted: how many rows to return, the first ones; by default all.

    1. All pairs at once: [c_ij] = [x_j precedes x_i] for i < j.
    2. [rank of x_i] = i + sum over j > i of [c_ij] - sum over j < i of [c_ji].
    3. The ranks become one-hot vectors, a permutation matrix; its product with [x].

    Cost: a comparison, 2 `b2a`, a product and `indexing.decode`, 19 rounds for 32 elements;
    n²/2 comparisons, of n² entries 11 bytes each.
    """
    n, _, *rest = x.shape
    first, second = np.triu_indices(n, 1)
    later, earlier = (x.map(lambda a, i=i: a[i, :keys]) for i in (second, first))
    swapped = smpc.b2a(ctx, precedes(smpc, ctx, later, earlier))
    place = np.full((n, n), len(first))
    place[first, second] = np.arange(len(first))

    def balance(c: Array) -> Array:
        pairs = jnp.concatenate([c, jnp.zeros((1, *rest), c.dtype)])[place]
        return pairs.sum(1, dtype=c.dtype) - pairs.sum(0, dtype=c.dtype)

    rank = swapped.map(balance) + numbers(smpc, ctx, (n, *rest))
    hot = indexing.decode(smpc, ctx, rank, n).map(lambda h: h[..., :wanted])
    batch = range(1, len(rest) + 1)
    f = dot_general((((0,), (0,)), (batch, [d + 1 for d in batch])))
    result = smpc.product(ctx, f, smpc.b2a(ctx, hot), x)
    return result.map(lambda a: jnp.moveaxis(a, (-2, -1), (0, 1)))


@cites(BATCHER)
def by_network(smpc: Protocol[V], ctx: Context, x: V, keys: int) -> V:
    """[x] with its rows in ascending order of the first `keys` columns, not stable.

    Args:
      x: elements × columns × …

    1. Each layer of the network compares its pairs: [swap] = [second precedes first].
    2. [delta] = [swap]·([second] - [first]) for all columns is added to the first, and
       subtracted from the second.

    Cost: a layer takes `precedes` and `mul_ba` of half of the elements.
    """
    layers = network(x.shape[0])
    if layers:
        pairs, sources = _routes(layers, x.shape[0])

        def layer(ctx: Context, x: V, route: tuple[Array, Array]) -> tuple[V, None]:
            (low, high), source = route
            first, second = rows(x, low), rows(x, high)
            swap = precedes(smpc, ctx, *(v.map(lambda a: a[:, :keys]) for v in (second, first)))
            bits = swap.map(lambda b: jnp.broadcast_to(b[:, None], first.shape))
            delta = smpc.mul_ba(ctx, bits, second - first)
            moved = first.map(
                lambda a, b, d, rest: jnp.concatenate([a + d, b - d, rest]), second, delta, x
            )
            return rows(moved, source), None

        x, _ = ctx.scan(layer, x, (pairs, sources), len(layers))
    return x


def numbers(smpc: Protocol[V], ctx: Context, shape: tuple[int, ...]) -> V:
    """[0], [1], … along the leading axis."""
    return smpc.constant(ctx, lax.broadcasted_iota(smpc.ring.dtype, shape, 0))


def top_k(smpc: Protocol[V], ctx: Context, x: V, k: int) -> tuple[V, V]:
    """[the k largest] along the leading axis in descending order, and their indices.

    The lower index comes first among equals.

    1. As long as there are more than a few elements, the k largest of each block of them remain,
       found by ranks for all blocks at once.
    2. The rest is sorted. If k itself is large, all is, without 1.

    Cost: `by_ranks` of blocks log(n) / log(BY_RANKS / k) times, or `by_network`.
    """
    table = _stack([-x, numbers(smpc, ctx, x.shape)])
    while table.shape[0] > BY_RANKS and 2 * k <= BY_RANKS:
        table = _joined(by_ranks(smpc, ctx, _blocks(smpc, ctx, table), 1, k))
    if table.shape[0] <= BY_RANKS:
        table = by_ranks(smpc, ctx, table, 1, k)
    else:
        table = by_network(smpc, ctx, table, 2)
    return table.map(lambda a: -a[:k, 0]), table.map(lambda a: a[:k, 1])


def _blocks(smpc: Protocol[V], ctx: Context, x: V) -> V:
    """Rows in blocks of one size, up to BY_RANKS, on axis 2; filled with the largest value."""
    n = x.shape[0]
    count = -(-n // BY_RANKS)
    size = -(-n // count)
    config = [(0, count * size - n, 0), *[(0, 0, 0)] * (len(x.shape) - 1)]
    largest = smpc.constant(ctx, smpc.ring.constant(smpc.ring.bound - 1))

    def cut(a: Array, value: Array) -> Array:
        a = lax.pad(a, value, config)
        return jnp.moveaxis(a.reshape(count, size, *a.shape[1:]), 0, 2)

    return x.map(cut, largest)


def _joined(x: V) -> V:
    """Blocks on axis 2 one after another again."""

    def join(a: Array) -> Array:
        a = jnp.moveaxis(a, 2, 0)
        return a.reshape(-1, *a.shape[2:])

    return x.map(join)


def cumulative(
    combine: Callable[[Shares, Shares], Shares], x: Shares, axis: int, reverse: bool
) -> Shares:
    """[x_0 ∘ … ∘ x_i] for each i along an axis, from the end if `reverse`; ∘ is associative.

    The spans double in each of ceil(log2 n) rounds, of less than n operations each (W. Hillis,
    G. Steele, Data parallel algorithms, CACM 1986).
    """

    def part(start: int, stop: int) -> Shares:
        return x.map(lambda a: lax.slice_in_dim(a, start, stop, 1, axis))

    n, span = x.shape[axis], 1
    while span < n:
        head, left, right = part(0, span), part(0, n - span), part(span, n)
        if reverse:
            head, left, right = part(n - span, n), right, left
        pieces = [head, combine(left, right)]
        first, second = reversed(pieces) if reverse else pieces
        x = first.map(lambda a, b: jnp.concatenate([a, b], axis), second)
        span *= 2
    return x
