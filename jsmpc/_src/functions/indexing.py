"""Reading and writing at secret positions: one-hot vectors, and products with them.

A position becomes a one-hot vector, whose entries are 0 and 1 as ring elements: the products with
it need no truncation, and what is read is exact. Tables are in a canonical layout, with or without
a leading batch axis P that positions and table have in common:

    table    [P, D1, D2, …, R…]          hot_d    [P, U, C_d], one for each indexed axis D_d
    windows  [P, U, S1, S2, …, R…]       with S_d = D_d - C_d + 1 entries from each start

Any of the operands may be public; products of two public ones cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.network.values import PerParty
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import bilinear, blocks
from jsmpc._src.ring.bilinear import MULTIPLY, Bilinear
from jsmpc._src.runtime.context import Context

_AT_ONCE = 1 << 10  # positions that are compared with a number each, where that takes no bytes


def decode(
    smpc: Protocol[V], ctx: Context, x: V, count: int, enable: Bits[V] | None = None
) -> Bits[V]:
    """[x = j]^B for j < count on a new last axis, for 0 <= x < count.

    1. The low bits of x, by the adder of a narrow word.
    2. A decoder: the outer product of the one-hot vectors of the upper and the lower half of the
       bits, recursively. With `enable`, all are zero where that bit is.

    Cost: 2 + log2(word) + log2(bits) rounds, about `count` bytes a party and element.
    """
    width = max(count - 1, 1).bit_length()
    if width == 1:
        planes = [smpc.lsb(ctx, x)]
    else:
        word = smpc.a2b(ctx, x.astype(blocks.word_type(width)))
        planes = [word.bit(i) for i in range(width)]
    return _decoder(smpc, ctx, planes, count, enable)


def _decoder(
    smpc: Protocol[V],
    ctx: Context,
    planes: list[Bits[V]],
    count: int,
    enable: Bits[V] | None,
) -> Bits[V]:
    if len(planes) == 1:
        both = planes[0].map(lambda b, c: jnp.stack([c, b], -1), smpc.not_b(ctx, planes[0]))
        both = both.map(lambda b: b[..., :count])
        return both if enable is None else smpc.and_bb(ctx, both, _expanded(enable, -1))
    half = len(planes) // 2
    low = _decoder(smpc, ctx, planes[:half], 1 << half, None)
    high = _decoder(smpc, ctx, planes[half:], -(-count >> half), enable)
    hot = smpc.and_bb(ctx, _expanded(high, -1), _expanded(low, -2))
    return hot.map(lambda h: h.reshape(*h.shape[:-2], math.prod(h.shape[-2:]))[..., :count])


def _expanded(x: Bits[V], axis: int) -> Bits[V]:
    return x.map(lambda w: jnp.expand_dims(w, axis))


def one_hot(smpc: Protocol[V], ctx: Context, x: V, count: int, clip: bool) -> V:
    """[x = j] for j < count on a new last axis, 0 or 1 as ring elements, for any x.

    Args:
      clip: whether x outside of [0, count) counts as the nearest position; else all are zero.

    1. [x < 0] and [x > count - 1] in one comparison.
    2. `decode`, of nothing where one of them holds; to clip, they are the first and the last.
    3. Bits become ring elements.

    Cost: 12 rounds (count 256, 64 bits); of `count` entries 9 bytes each, and a comparison.
    """
    if smpc.match.at_once and count <= _AT_ONCE:
        return _one_hot_at_once(smpc, ctx, x, count, clip)
    last = jnp.broadcast_to(smpc.ring.constant(count - 1), x.shape)
    sides = x.map(lambda w, v: jnp.stack([w, v]), smpc.add_ap(ctx, -x, last))
    below, above = smpc.msb(ctx, sides).maps(lambda b: (b[0], b[1]))
    hot = decode(smpc, ctx, x, count, smpc.not_b(ctx, below ^ above))
    if clip:
        hot = hot ^ below.map(
            lambda b, a: jnp.zeros((*b.shape, count), b.dtype).at[..., 0].set(b).at[..., -1].set(a),
            above,
        )
    return smpc.b2a(ctx, hot)


def _one_hot_at_once(smpc: Protocol[V], ctx: Context, x: V, count: int, clip: bool) -> V:
    """`one_hot` where comparisons with many numbers are one, and give numbers."""
    hot = smpc.b2a(ctx, smpc.equals(ctx, x, range(count)))
    if clip:
        below, beneath = smpc.msbs(ctx, x, (0, -count))
        sides = below.map(lambda b, a: jnp.stack([b, a]), smpc.not_b(ctx, beneath))
        outside = smpc.b2a(ctx, sides)
        hot = hot.map(lambda h, s: h.at[0].add(s[0]).at[-1].add(s[1]), outside)
    return hot.map(lambda h: jnp.moveaxis(h, 0, -1))


def public_one_hot(smpc: Protocol[V], x: Any, count: int, clip: bool) -> Any:
    """`one_hot` of public positions."""
    x = jnp.clip(x, 0, count - 1) if clip else x
    return (x[..., None] == jnp.arange(count)).astype(smpc.ring.dtype)


def _product(smpc: Protocol[V], ctx: Context, f: Bilinear, x: Any, y: Any) -> Any:
    """f(x, y), where each may be shared or public."""
    match isinstance(x, PerParty), isinstance(y, PerParty):
        case True, True:
            return smpc.product(ctx, f, x, y)
        case True, False:
            return x.map(lambda w: f((w, y)))
        case False, True:
            return y.map(lambda w: f((x, w)))
    return f((x, y))


def _local(x: Any, f: Any) -> Any:
    return x.map(f) if isinstance(x, PerParty) else f(x)


def _windows(x: Any, axis: int, count: int) -> Any:
    """The axis as two: which start, and which entry from there."""
    size = x.shape[axis] - count + 1
    if size == 1:
        return _local(x, lambda w: jnp.expand_dims(w, axis + 1))
    rows = np.arange(count)[:, None] + np.arange(size)
    return _local(x, lambda w: jnp.take(w, rows, axis=axis, mode="clip"))


def _overlap(x: Any, axis: int) -> Any:
    """The transpose of `_windows`: the sum of all windows, each at its start."""
    count, size = x.shape[axis : axis + 2]
    if size == 1:
        return _local(x, lambda w: jnp.squeeze(w, axis + 1))
    rows = np.arange(count)[:, None] + np.arange(size)

    def total(w: Any) -> Any:
        moved = jnp.moveaxis(w, (axis, axis + 1), (0, 1))
        zeros = jnp.zeros((count + size - 1, *moved.shape[2:]), w.dtype)
        return jnp.moveaxis(zeros.at[rows].add(moved), 0, axis)

    return _local(x, total)


def read(smpc: Protocol[V], ctx: Context, table: Any, hots: Sequence[Any], batched: bool) -> Any:
    """[windows] of [table] at the positions with one-hot vectors `hots`, exact.

    Axis by axis, a matrix product with the one-hot vectors: the first reduces the table to a row
    for each of the U positions.

    Cost: 1 round and a result for each indexed axis; none for the first of a public table.
    """
    lead = int(batched)
    first, *others = hots
    f = _contraction(first, lead, range(lead))
    result = _product(smpc, ctx, f, first, _windows(table, lead, first.shape[-1]))
    for i, hot in enumerate(others):
        axis = lead + 2 + i
        windows = _windows(result, axis, hot.shape[-1])
        windows = _local(windows, lambda w: jnp.moveaxis(w, axis, lead + 1))
        f = _contraction(hot, lead + 1, range(lead + 1))
        result = _product(smpc, ctx, f, hot, windows)
    return result


def _contraction(hot: Any, axis: int, batch: Sequence[int]) -> Bilinear:
    """The sum over the last axis of one-hot vectors and an axis of a table."""
    return bilinear.dot_general((((len(hot.shape) - 1,), (axis,)), (batch, batch)))


def add(smpc: Protocol[V], ctx: Context, windows: Any, hots: Sequence[Any], batched: bool) -> Any:
    """[table] that is the sum of the [windows] at their positions and zero elsewhere.

    The transpose of `read`: outer products with the one-hot vectors, axis by axis from the last,
    and for the first a matrix product that sums over the positions.

    Cost: 1 round for each indexed axis, of the size of what is written; the first is local if
    windows are public.
    """
    lead = int(batched)
    first, *others = hots
    result = windows
    for i, hot in reversed(list(enumerate(others))):
        axis, ones = lead + 2 + i, [1] * (len(result.shape) - lead - 1)
        column = _local(hot, lambda h: h.reshape(*h.shape, *ones))
        row = _local(result, lambda w: jnp.expand_dims(w, lead + 1))
        result = _product(smpc, ctx, MULTIPLY, column, row)
        result = _overlap(_local(result, lambda w: jnp.moveaxis(w, lead + 1, axis)), axis)
    f = bilinear.dot_general((((lead,), (lead,)), (range(lead), range(lead))))
    return _overlap(_product(smpc, ctx, f, first, result), lead)
