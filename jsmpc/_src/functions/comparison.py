"""Selection and extremes of shared values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.runtime.context import Context


def select(smpc: Protocol[V], ctx: Context, b: Bits[V], x: V, y: V) -> V:
    """[x] where the bit b is 1, [y] where it is 0."""
    return y + smpc.mul_ba(ctx, b, x - y)


def maximum(smpc: Protocol[V], ctx: Context, x: V, y: V, bits: int | None = None) -> V:
    """[max(x, y)]; see `Protocol.relu` for what is known of |x - y|."""
    return y + smpc.relu(ctx, x - y, bits)


def minimum(smpc: Protocol[V], ctx: Context, x: V, y: V, bits: int | None = None) -> V:
    """[min(x, y)]; see `Protocol.relu` for what is known of |x - y|."""
    return x - smpc.relu(ctx, x - y, bits)


def absolute(smpc: Protocol[V], ctx: Context, x: V) -> V:
    """[|x|]."""
    return x - _twice(smpc.mul_ba(ctx, smpc.msb(ctx, x), x))


def copy_sign(smpc: Protocol[V], ctx: Context, x: V, y: V) -> V:
    """[x] where y >= 0, [-x] where y < 0."""
    return x - _twice(smpc.mul_ba(ctx, smpc.msb(ctx, y), x))


def beneath(smpc: Protocol[V], ctx: Context, x: V, ends: Sequence[int]) -> Bits[V]:
    """[x <= e] for public integers e, along a new leading axis."""
    return smpc.signs(ctx, x, [-1 - e for e in ends])


def _twice(x: V) -> V:
    return x + x


def fold(x: Any, match: Callable[[Any, Any], Any]) -> Any:
    """All along the leading axis combined by an associative operation, in ceil(log2 n) rounds.

    Neighbours meet, the one on the left first. `x` is a pytree of shares, combined as a whole.
    """

    def every_other(start: int, stop: int | None) -> Any:
        return jax.tree.map(lambda a: a[start:stop:2], x)

    while (n := jax.tree.leaves(x)[0].shape[0]) > 1:
        paired = n // 2 * 2
        winners = match(every_other(0, paired), every_other(1, paired))
        if paired < n:
            last = every_other(paired, None)
            winners = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), winners, last)
        x = winners
    return jax.tree.map(lambda a: a[0], x)
