"""Reductions of shared values over sliding windows, and gradients of their extremes.

A window is reduced axis by axis, the last axis first; along an axis by a tournament of
neighbours. In a match for the largest the player on the left stays unless it is smaller: the
winner is the first of the largest in row-major order, as in `jax.lax.reduce_window`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison
from jsmpc._src.protocols.base import Array, Protocol, V
from jsmpc._src.runtime.context import Context

Values = TypeVar("Values")  # shares, or a pytree of shares of one shape
Match = Callable[[Values, Values], Values]


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of `jax.lax.reduce_window`: each field has a value for every axis."""

    dimensions: Sequence[int]
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    base_dilation: Sequence[int]
    dilation: Sequence[int]

    @property
    def axes(self) -> list[int]:
        """The axes to reduce, in that order."""
        sizes = zip(self.dimensions, self.strides, strict=True)
        return [i for i, size in enumerate(sizes) if size != (1, 1)][::-1]

    def _offsets(self, axis: int) -> range:
        step = self.dilation[axis]
        return range(0, self.dimensions[axis] * step, step)

    def count(self, axis: int, length: int) -> int:
        """How many windows there are along an axis of a padded operand."""
        return (length - self._offsets(axis)[-1] - 1) // self.strides[axis] + 1

    @property
    def pads(self) -> list[tuple[int, int, int]]:
        """Low and high padding and the holes of the dilation; empty if there are none."""
        ends = zip(self.padding, self.base_dilation, strict=True)
        config = [(low, high, hole - 1) for (low, high), hole in ends]
        return config if any(map(any, config)) else []

    def padded(self, x: Array, value: Any) -> Array:
        """The operand with padding around it and in the holes of its dilation."""
        return lax.pad(x, value, self.pads) if self.pads else x

    def slices(self, x: Values, axis: int) -> list[Values]:
        """The first elements of all windows along an axis, the second ones, and so on."""
        stride = self.strides[axis]

        def cut(a: Array, start: int) -> Array:
            axis_of_a = axis - len(self.dimensions)
            stop = start + (self.count(axis, a.shape[axis_of_a]) - 1) * stride + 1
            return lax.slice_in_dim(a, start, stop, stride, axis_of_a)

        return [jax.tree.map(lambda a, i=i: cut(a, i), x) for i in self._offsets(axis)]

    def never_empty(self, shape: Sequence[int]) -> bool:
        """Whether every window holds more than padding, for an operand of a shape."""
        for axis, n in enumerate(shape):
            (low, high), hole = self.padding[axis], self.base_dilation[axis]
            count = self.count(axis, low + (n - 1) * hole + 1 + high)
            starts = np.arange(count)[:, None] * self.strides[axis] - low
            at = starts + np.array(self._offsets(axis))
            if not ((at >= 0) & (at <= (n - 1) * hole) & (at % hole == 0)).any(1).all():
                return False
        return True


def _stack(players: Sequence[Values]) -> Values:
    return jax.tree.map(lambda *a: jnp.stack(a), *players)


def _unstack(x: Any) -> list[Any]:
    return [jax.tree.map(lambda a, i=i: a[i], x) for i in range(jax.tree.leaves(x)[0].shape[0])]


def _neighbours(players: Sequence[Values]) -> tuple[Values, Values, list[Values]]:
    """All left and all right players of a round, and the one that has no opponent."""
    paired = len(players) // 2 * 2
    return _stack(players[:paired:2]), _stack(players[1:paired:2]), list(players[paired:])


def tournament(players: list[Values], match: Match[Values]) -> Values:
    """The winner of ceil(log2 n) rounds; the matches of a round are played at once."""
    while len(players) > 1:
        left, right, rest = _neighbours(players)
        players = [*_unstack(match(left, right)), *rest]
    return players[0]


def reduce(x: Any, windows: Windows, match: Match[Any]) -> Any:
    """Each window of a padded operand combined by an associative operation."""
    for axis in windows.axes:
        x = tournament(windows.slices(x, axis), match)
    return x


def _least(smpc: Protocol[V], ctx: Context) -> V:
    """[-2^(k-2) + 1]: smaller than other values, and no difference to them overflows."""
    return smpc.constant(ctx, smpc.ring.constant(1 - smpc.ring.bound))


def largest(smpc: Protocol[V], ctx: Context, x: V, windows: Windows) -> V:
    """[max] of each window; padding never wins.

    Long windows that overlap share their matches: the largest of 2i neighbours is that of two
    windows of i, and one of any length that of two shorter ones that overlap.
    Cost: along an axis ceil(log2 w) rounds of `maximum`, together w - 1 a window or fewer.
    """

    def match(left: V, right: V) -> V:
        return comparison.maximum(smpc, ctx, left, right)

    x = x.map(windows.padded, _least(smpc, ctx))
    for axis in windows.axes:
        size, length = windows.dimensions[axis], x.shape[axis]
        if (size - 1) * windows.count(axis, length) <= math.ceil(math.log2(size)) * length:
            x = tournament(windows.slices(x, axis), match)
            continue
        span = 1
        while span < size:
            shift = min(span, size - span) * windows.dilation[axis]
            x = match(*_shifted(x, axis, shift))
            span = min(2 * span, size)
        stride = windows.strides[axis]
        x = x.map(lambda a, s=stride, i=axis: lax.slice_in_dim(a, 0, None, s, i))
    return x


def _shifted(x: V, axis: int, shift: int) -> tuple[V, V]:
    end = x.shape[axis] - shift
    return (
        x.map(lambda a: lax.slice_in_dim(a, 0, end, 1, axis)),
        x.map(lambda a: lax.slice_in_dim(a, shift, None, 1, axis)),
    )


def at_largest(smpc: Protocol[V], ctx: Context, x: V, y: V, windows: Windows) -> V:
    """[y] at the place of the first of the largest [x] of each window.

    Cost: as `largest`, with a `select` of two values instead of one.
    """
    x, y = x.map(windows.padded, _least(smpc, ctx)), y.map(lambda a: windows.padded(a, _zero(a)))

    def match(left: V, right: V) -> V:
        first, second = (v.map(lambda a: a[:, 0]) for v in (left, right))
        larger = smpc.less(ctx, first, second)
        bits = larger.map(lambda b: jnp.broadcast_to(b[:, None], left.shape))
        return comparison.select(smpc, ctx, bits, right, left)

    return reduce(_stack([x, y]), windows, match).map(lambda a: a[1])


def _zero(a: Array) -> Any:
    return np.zeros((), a.dtype)


def to_largest(smpc: Protocol[V], ctx: Context, x: V, source: V, windows: Windows) -> V:
    """[sum of the sources of all windows that have their first largest element here].

    1. Play the tournaments of `largest`; keep the bits [left < right] of all matches.
    2. From the last match to the first, [source] goes to the winner: [bit·source] to the right,
       the rest to the left.

    Cost: as `largest`, and for each of its rounds one of `mul_ba`.
    """
    padded = x.map(windows.padded, _least(smpc, ctx))
    played = []
    for axis in windows.axes:
        players, rounds = windows.slices(padded, axis), []
        shape = padded.shape
        while len(players) > 1:
            left, right, rest = _neighbours(players)
            bits = smpc.less(ctx, left, right)
            rounds.append(bits)
            final = axis == windows.axes[-1] and len(players) == 2
            winners = left if final else comparison.select(smpc, ctx, bits, right, left)
            players = [*_unstack(winners), *rest]
        padded = players[0]
        played.append((axis, shape, rounds))
    for axis, shape, rounds in reversed(played):
        parts = [source]
        for bits in reversed(rounds):
            matches = bits.shape[0]
            total = _stack(parts[:matches])
            right = smpc.mul_ba(ctx, bits, total)
            pairs = zip(_unstack(total - right), _unstack(right), strict=True)
            parts = [*(part for pair in pairs for part in pair), *parts[matches:]]
        source = _transposed(functools.partial(windows.slices, axis=axis), shape, parts)
    return _transposed(lambda a: [windows.padded(a, _zero(a))], x.shape, [source])


def _transposed(f: Callable[[Array], list[Array]], shape: Any, parts: list[V]) -> V:
    """Each element of `parts` added to the one that `f`, a choice of elements, took it from."""
    example = jax.ShapeDtypeStruct(shape, parts[0].dtype)
    transpose = jax.linear_transpose(f, example)
    return parts[0].map(lambda *p: transpose(list(p))[0], *parts[1:])
