"""Rules for sorting, the largest k, and running extremes, products and sums."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison, sorting
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import A_PRODUCT, Bound
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import mul
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret
from jsmpc._src.protocols.base import Shared


def _leading(ev: Evaluator, x: Secret, axis: int) -> Shared:
    """Ring elements with an axis in front; bits become 0 and 1."""
    value = ev.smpc.b2a(ev.ctx, x.bits) if x.dtype == BOOL else x.value
    return value.map(lambda w: jnp.moveaxis(w, axis, 0))


def _restored(ev: Evaluator, value: Shared, dtype: Any, axis: int) -> Secret:
    """The inverse of `_leading`."""
    value = value.map(lambda w: jnp.moveaxis(w, 0, axis))
    return Secret(ev.smpc.lsb(ev.ctx, value) if dtype == BOOL else value, dtype)


@rule(lax.sort_p, cost="order")
def _sort(
    ev: Evaluator, *operands: Any, dimension: int, is_stable: bool, num_keys: int
) -> list[Any]:
    if 0 in operands[0].shape:
        return list(operands)
    if not any(map(is_secret, operands[:num_keys])):
        return _sort_by_public_keys(operands, dimension, is_stable, num_keys)
    secrets = [ev.secret(x) for x in operands]
    columns = [_leading(ev, x, dimension) for x in secrets]
    ordered = sorting.sort(ev.smpc, ev.ctx, columns[:num_keys], columns[num_keys:], is_stable)
    return [_restored(ev, v, x.dtype, dimension) for v, x in zip(ordered, secrets, strict=True)]


def _sort_by_public_keys(
    operands: Sequence[Any], dimension: int, is_stable: bool, num_keys: int
) -> list[Any]:
    index = lax.broadcasted_iota(np.int32, np.shape(operands[0]), dimension)
    order = lax.sort([*operands[:num_keys], index], dimension, is_stable, num_keys)[-1]

    def ordered(x: Any) -> Any:
        return jnp.take_along_axis(x, order, dimension)

    return [x.map(ordered) if is_secret(x) else ordered(x) for x in operands]


@rule(lax.top_k_p, cost="order")
def _top_k(ev: Evaluator, x: Secret, *, k: int, axis: int = -1, **_: Any) -> list[Secret]:
    axis %= x.ndim
    results = sorting.top_k(ev.smpc, ev.ctx, _leading(ev, x, axis), k)
    dtypes = (x.dtype, np.dtype(np.int32))
    return [_restored(ev, v, d, axis) for v, d in zip(results, dtypes, strict=True)]


@rule(lax.approx_top_k_p, cost="order")
def _approx_top_k(
    ev: Evaluator, x: Secret, *, k: int, reduction_dimension: int, is_max_k: bool, **_: Any
) -> list[Secret]:
    """Exact: the recall asked for is a lower bound."""
    if ev.eqn.outvars[0].aval.shape[reduction_dimension] != k:
        raise ev.unsupported("candidates are not computed apart: use aggregate_to_topk=True")
    if is_max_k:
        return _top_k(ev, x, k=k, axis=reduction_dimension)
    values, indices = _top_k(ev, Secret(-x.value, x.dtype), k=k, axis=reduction_dimension)
    return [Secret(-values.value, x.dtype), indices]


def largest_of_two(ev: Evaluator, dtype: Any) -> Callable[[Any, Any], Any]:
    """Of two shares of a dtype."""
    if dtype == BOOL:
        return functools.partial(ev.smpc.or_bb, ev.ctx)
    return functools.partial(comparison.maximum, ev.smpc, ev.ctx)


def negated(ev: Evaluator, x: Secret) -> Secret:
    """In the reverse order."""
    return Secret(ev.smpc.not_b(ev.ctx, x.bits) if x.dtype == BOOL else -x.value, x.dtype)


@rule(lax.cummax_p, cost="comparison")
def _cummax(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    shares: Any = x.shares
    combine = largest_of_two(ev, x.dtype)
    return Secret(sorting.cumulative(combine, shares, axis, reverse), x.dtype)


@rule(lax.cummin_p, cost="comparison")
def _cummin(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    return negated(ev, _cummax(ev, negated(ev, x), axis=axis, reverse=reverse))


@rule(
    lax.cumprod_p,
    cost="product",
    error=A_PRODUCT,
    modular=Modular(ranges.cumulative_products),
)
def _cumprod(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    def combine(a: Shared, b: Shared) -> Shared:
        return mul(ev, Secret(a, x.dtype), Secret(b, x.dtype)).value

    return Secret(sorting.cumulative(combine, x.value, axis, reverse), x.dtype)


@rule(lax.cumlogsumexp_p, cost="function", error=Bound(ulps=2, step="step of log2 n"))
def _cumlogsumexp(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    def combine(a: Shared, b: Shared) -> Shared:
        return ev.call(jnp.logaddexp, Secret(a, x.dtype), Secret(b, x.dtype))[0].value

    return Secret(sorting.cumulative(combine, x.value, axis, reverse), x.dtype)
