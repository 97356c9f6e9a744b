"""Comparison, selection and extremes of shared values."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jsmpc.context import Context
from jsmpc.functions import circuits
from jsmpc.protocols.base import Protocol, Shared


def less(smpc: Protocol, ctx: Context, x: Shared, y: Shared) -> Shared:
    """[x < y], a Boolean share, for |x - y| < 2^(k-1)."""
    return circuits.msb(smpc, ctx, x - y)


def equal(smpc: Protocol, ctx: Context, x: Shared, y: Shared) -> Shared:
    """[x = y], a Boolean share."""
    return circuits.is_zero(smpc, ctx, x - y)


def select(smpc: Protocol, ctx: Context, b: Shared, x: Shared, y: Shared) -> Shared:
    """[x] where the bit b is 1, [y] where it is 0."""
    return y + smpc.mul_ba(ctx, b, x - y)


def relu(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[max(x, 0)]."""
    positive = smpc.not_b(ctx, circuits.msb(smpc, ctx, x))
    return smpc.mul_ba(ctx, positive, x)


def maximum(smpc: Protocol, ctx: Context, x: Shared, y: Shared) -> Shared:
    """[max(x, y)]."""
    return y + relu(smpc, ctx, x - y)


def minimum(smpc: Protocol, ctx: Context, x: Shared, y: Shared) -> Shared:
    """[min(x, y)]."""
    return x - relu(smpc, ctx, x - y)


def absolute(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[|x|]."""
    return x - _twice(smpc.mul_ba(ctx, circuits.msb(smpc, ctx, x), x))


def copy_sign(smpc: Protocol, ctx: Context, x: Shared, y: Shared) -> Shared:
    """[x] where y >= 0, [-x] where y < 0."""
    return x - _twice(smpc.mul_ba(ctx, circuits.msb(smpc, ctx, y), x))


def _twice(x: Shared) -> Shared:
    return x + x


def _halves(x: Shared) -> tuple[Shared, Shared, Shared | None]:
    """First and second half along the leading axis, and the last row of an odd number."""
    n = x.shape[0]
    half = n // 2
    odd = x.map(lambda a: a[2 * half :]) if n % 2 else None
    return x.map(lambda a: a[: 2 * half : 2]), x.map(lambda a: a[1 : 2 * half : 2]), odd


def _append(x: Shared, rest: Shared | None) -> Shared:
    return x if rest is None else x.map(lambda a, b: jnp.concatenate([a, b]), rest)


def largest(smpc: Protocol, ctx: Context, x: Shared) -> Shared:
    """[max] along the leading axis, by a tournament of ceil(log2 n) matches."""
    while x.shape[0] > 1:
        left, right, odd = _halves(x)
        x = _append(maximum(smpc, ctx, left, right), odd)
    return x.map(lambda a: a[0])


def argument_of_largest(smpc: Protocol, ctx: Context, x: Shared) -> tuple[Shared, Shared]:
    """[max] and the index [argmax], the first of equals, along the leading axis.

    A tournament of ceil(log2 n) matches of neighbours; value and index of each winner are
    selected together.
    """
    n, rest = x.shape[0], x.shape[1:]
    numbers = np.arange(n, dtype=smpc.ring.dtype).reshape(n, *[1] * len(rest))
    index = smpc.constant(ctx, jnp.broadcast_to(jnp.asarray(numbers), x.shape))
    both = x.map(lambda a, b: jnp.stack([a, b], 1), index)
    while both.shape[0] > 1:
        left, right, odd = _halves(both)
        bit = less(smpc, ctx, left.map(lambda a: a[:, 0]), right.map(lambda a: a[:, 0]))
        bits = bit.map(lambda a, shape=left.shape: jnp.broadcast_to(a[:, None], shape))
        both = _append(select(smpc, ctx, bits, right, left), odd)
    return both.map(lambda a: a[0, 0]), both.map(lambda a: a[0, 1])
