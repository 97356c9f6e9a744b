"""Rules for sorting, running extremes, and reductions over windows or by a function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc import compat
from jsmpc.functions import comparison, indexing, sorting, windows
from jsmpc.functions.windows import Windows
from jsmpc.protocols.base import Shared
from jsmpc.secure.arithmetic import aligned
from jsmpc.secure.interpreter import Evaluator, Secret, is_secret, rule
from jsmpc.secure.ordering import leading

_BOOL = np.dtype(bool)


def _leading(ev: Evaluator, x: Secret, axis: int) -> Shared:
    """Words shared by addition, with an axis in front; bits become 0 and 1."""
    value = ev.smpc.b2a(ev.ctx, x.value) if x.dtype == _BOOL else x.value
    return value.map(lambda w: jnp.moveaxis(w, axis, 0))


def _restored(value: Shared, dtype: Any, axis: int) -> Secret:
    """The inverse of `_leading`."""
    value = value.map(lambda w: jnp.moveaxis(w, 0, axis))
    return Secret(indexing.low_bit(value) if dtype == _BOOL else value, dtype)


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
    return [_restored(v, x.dtype, dimension) for v, x in zip(ordered, secrets, strict=True)]


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
    return [_restored(v, d, axis) for v, d in zip(results, dtypes, strict=True)]


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


# Running extremes and products.


def _largest_of_two(ev: Evaluator, dtype: Any) -> Callable[[Shared, Shared], Shared]:
    if dtype == _BOOL:
        return functools.partial(ev.smpc.or_bb, ev.ctx)
    return functools.partial(comparison.maximum, ev.smpc, ev.ctx)


def _negated(ev: Evaluator, x: Secret) -> Secret:
    """In the reverse order."""
    return Secret(ev.smpc.not_b(ev.ctx, x.value) if x.dtype == _BOOL else -x.value, x.dtype)


@rule(lax.cummax_p, cost="comparison")
def _cummax(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    combine = _largest_of_two(ev, x.dtype)
    return Secret(sorting.cumulative(combine, x.value, axis, reverse), x.dtype)


@rule(lax.cummin_p, cost="comparison")
def _cummin(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    return _negated(ev, _cummax(ev, _negated(ev, x), axis=axis, reverse=reverse))


@rule(lax.cumprod_p, cost="product", error="1 ulp a product")
def _cumprod(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    def combine(a: Shared, b: Shared) -> Shared:
        return ev.smpc.mul_aa(ev.ctx, a, b, ev.divisor(x.dtype))

    return Secret(sorting.cumulative(combine, x.value, axis, reverse), x.dtype)


@rule(lax.cumlogsumexp_p, cost="function", error="2 ulp a step of log2 n")
def _cumlogsumexp(ev: Evaluator, x: Secret, *, axis: int, reverse: bool) -> Secret:
    def combine(a: Shared, b: Shared) -> Shared:
        example = jax.ShapeDtypeStruct(a.shape, x.dtype)
        jaxpr = jax.make_jaxpr(jnp.logaddexp)(example, example)
        return ev.evaluate(jaxpr, [Secret(a, x.dtype), Secret(b, x.dtype)])[0].value

    return Secret(sorting.cumulative(combine, x.value, axis, reverse), x.dtype)


# Windows.


def _windows(ev: Evaluator, params: dict[str, Any], x: Any, extreme: bool = True) -> Windows:
    ones = (1,) * x.ndim
    result = Windows(
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation", ones),
        params.get("window_dilation", ones),
    )
    if extreme and not result.never_empty(x.shape):
        raise ev.unsupported(
            "a window that holds nothing but padding has an infinite extreme, which secrets "
            "cannot hold. Use less padding"
        )
    return result


@rule(lax.reduce_window_max_p, cost="comparison")
def _reduce_window_max(ev: Evaluator, x: Secret, **params: Any) -> Secret:
    over = _windows(ev, params, x)
    if x.dtype == _BOOL:
        padded = x.map(lambda w: over.padded(w, np.uint8(0)))
        return Secret(windows.reduce(padded.value, over, _largest_of_two(ev, _BOOL)), _BOOL)
    return Secret(windows.largest(ev.smpc, ev.ctx, x.value, over), x.dtype)


@rule(lax.reduce_window_min_p, cost="comparison")
def _reduce_window_min(ev: Evaluator, x: Secret, **params: Any) -> Secret:
    return _negated(ev, _reduce_window_max(ev, _negated(ev, x), **params))


def _oriented(ev: Evaluator, x: Secret, select_prim: Any) -> Secret:
    """So that the element to select is the largest."""
    return x if select_prim is lax.ge_p else _negated(ev, x)


@rule(lax.select_and_gather_add_p, cost="comparison")
def _select_and_gather_add(
    ev: Evaluator, tangents: Any, operand: Any, *, select_prim: Any, **params: Any
) -> Secret:
    tangents, operand = ev.secrets(tangents, operand)
    x, over = _oriented(ev, operand, select_prim), _windows(ev, params, operand)
    value = windows.at_largest(ev.smpc, ev.ctx, x.value, tangents.value, over)
    return Secret(value, tangents.dtype)


@rule(lax.select_and_scatter_add_p, cost="comparison")
def _select_and_scatter_add(
    ev: Evaluator, source: Any, operand: Any, *, select_prim: Any, **params: Any
) -> Secret:
    source, operand = ev.secrets(source, operand)
    x, over = _oriented(ev, operand, select_prim), _windows(ev, params, operand)
    return Secret(windows.to_largest(ev.smpc, ev.ctx, x.value, source.value, over), source.dtype)


# Reductions by a function that the program brings along.


class _Reduction:
    """An associative function of two lists of scalars, applied to arrays elementwise."""

    def __init__(self, ev: Evaluator, jaxpr: Any, consts: Sequence[Any] = ()):
        jaxpr, own = compat.open_jaxpr(jaxpr)
        self.ev, self.f = ev, lambda *xs: jax.core.eval_jaxpr(jaxpr, own or consts, *xs)

    def __call__(self, left: list[Any], right: list[Secret]) -> list[Secret]:
        f = self.f
        for _ in right[0].shape:
            f = jax.vmap(f)
        specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in right]
        jaxpr = jax.make_jaxpr(f)(*specs, *specs)
        out = self.ev.evaluate(jaxpr, [*left, *right])
        return [self.ev.secret(x, like) for x, like in zip(out, right, strict=True)]

    def from_initial(self, initial: Sequence[Any], results: list[Secret]) -> list[Secret]:
        pairs = (aligned(i, x) for i, x in zip(initial, results, strict=True))
        return self([i for i, _ in pairs], results)


@rule(lax.reduce_p, cost="program")
def _reduce(
    ev: Evaluator, *operands: Any, jaxpr: Any, dimensions: tuple[int, ...], **_: Any
) -> list[Any]:
    count, f = len(operands) // 2, _Reduction(ev, jaxpr)
    xs = [leading(ev.secret(x), dimensions) for x in operands[:count]]
    initial = operands[count:]
    if xs[0].shape[0] == 0:
        empty = [x.map(lambda w: jnp.zeros(w.shape[1:], w.dtype)) for x in xs]
        return [aligned(i, x)[0] for i, x in zip(initial, empty, strict=True)]
    return f.from_initial(initial, comparison.fold(xs, f))


@rule(lax.reduce_window_p, cost="program")
def _reduce_window(
    ev: Evaluator, *operands: Any, jaxpr: Any, consts: Sequence[Any], **params: Any
) -> list[Secret]:
    count, f = len(operands) // 2, _Reduction(ev, jaxpr, consts)
    xs, initial = [ev.secret(x) for x in operands[:count]], operands[count:]
    over = _windows(ev, params, xs[0], extreme=False)
    if over.pads:
        around = [ev.secret(i, x) for i, x in zip(initial, xs, strict=True)]
        xs = [
            Secret(x.value.map(over.padded, i.value), x.dtype)
            for x, i in zip(xs, around, strict=True)
        ]
    return f.from_initial(initial, windows.reduce(xs, over, f))
