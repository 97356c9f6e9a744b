"""Rules for reductions over axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison, extremes
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import A_PRODUCT, INNER
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import aligned, as_number, mul
from jsmpc._src.interpreter.secret import BOOL, Secret
from jsmpc._src.jaxprs import compat


def leading(x: Secret, axes: tuple[int, ...]) -> Secret:
    """The axes to reduce over, flattened into one leading axis."""
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = [math.prod(x.shape[d] for d in axes), *(x.shape[d] for d in kept)]
    return x.map(lambda w: w.transpose(*axes, *kept).reshape(shape))


def _extreme(ev: Evaluator, x: Secret, find: Callable[[Secret], Secret]) -> Secret:
    """What `find` finds along the leading axis; nothing where there is nowhere to look."""
    if x.shape[0]:
        return find(x)
    if math.prod(x.shape[1:]):
        raise ev.unsupported("an extreme of no elements does not exist")
    return x.map(lambda w: w.reshape(w.shape[1:]))


@rule(lax.reduce_max_p, cost="comparison", scaled=True)
def _reduce_max(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    def largest(v: Secret) -> Secret:
        if v.dtype == BOOL:
            return _folded(v, lambda a, b: ev.smpc.or_bb(ev.ctx, a, b))
        return dataclasses.replace(v, shares=extremes.largest(ev.smpc, ev.ctx, v.value))

    return _extreme(ev, leading(x, axes), largest)


@rule(lax.reduce_min_p, cost="comparison", scaled=True)
def _reduce_min(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    def least(v: Secret) -> Secret:
        if v.dtype == BOOL:
            return _folded(v, lambda a, b: ev.smpc.and_bb(ev.ctx, a, b))
        return dataclasses.replace(v, shares=-extremes.largest(ev.smpc, ev.ctx, -v.value))

    return _extreme(ev, leading(x, axes), least)


@rule(lax.argmax_p, cost="comparison", scaled=True)
def _argmax(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    def place(v: Secret) -> Secret:
        _, index = extremes.argument_of_largest(ev.smpc, ev.ctx, v.value)
        return Secret(index, np.dtype(index_dtype))

    return _extreme(ev, leading(as_number(ev, x), axes), place)


@rule(lax.argmin_p, cost="comparison", scaled=True)
def _argmin(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    x = as_number(ev, x)
    return _argmax(ev, Secret(-x.value, x.dtype), axes=axes, index_dtype=index_dtype)


def _folded(x: Secret, combine: Callable[[Any, Any], Any]) -> Secret:
    return dataclasses.replace(x, shares=comparison.fold(x.shares, combine))


def _boolean(ev: Evaluator, x: Secret) -> Secret:
    if x.dtype != BOOL:
        raise ev.unsupported(
            "the bits of integers are not combined along an axis. Combine them pairwise with "
            "&, | and ^"
        )
    return x


@rule(lax.reduce_and_p, cost="product")
def _reduce_and(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Any:
    moved = leading(_boolean(ev, x), axes)
    if not moved.shape[0]:
        return jnp.ones(moved.shape[1:], bool)
    return _folded(moved, lambda a, b: ev.smpc.and_bb(ev.ctx, a, b))


@rule(lax.reduce_or_p, cost="product")
def _reduce_or(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Any:
    moved = leading(_boolean(ev, x), axes)
    if not moved.shape[0]:
        return jnp.zeros(moved.shape[1:], bool)
    return _folded(moved, lambda a, b: ev.smpc.or_bb(ev.ctx, a, b))


@rule(lax.reduce_xor_p, cost="local")
def _reduce_xor(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    return _boolean(ev, x).map(lambda w: lax.reduce_xor(w, axes))


@rule(
    lax.reduce_prod_p,
    cost="product",
    error=A_PRODUCT,
    modular=Modular(ranges.reduced_products),
)
def _reduce_prod(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Any:
    moved = leading(x, axes)
    if not moved.shape[0]:
        return jnp.ones(moved.shape[1:], x.dtype)
    product = comparison.fold(
        moved.value, lambda a, b: mul(ev, Secret(a, x.dtype), Secret(b, x.dtype)).value
    )
    return Secret(product, x.dtype)


class Reduction:
    """An associative function of two lists of scalars, applied to arrays elementwise."""

    def __init__(self, ev: Evaluator, jaxpr: Any, consts: Sequence[Any] = ()):
        jaxpr, own = compat.open_jaxpr(jaxpr)
        self.ev, self.f = ev, lambda *xs: jax.core.eval_jaxpr(jaxpr, own or consts, *xs)

    def __call__(self, left: list[Any], right: list[Secret]) -> list[Secret]:
        f = self.f
        for _ in right[0].shape:
            f = jax.vmap(f)
        return [self.ev.settled(x) for x in self.ev.call(f, *left, *right)]

    def from_initial(self, initial: Sequence[Any], results: list[Secret]) -> list[Secret]:
        pairs = (aligned(i, x) for i, x in zip(initial, results, strict=True))
        return self([i for i, _ in pairs], results)


@rule(lax.reduce_p, cost="program", error=INNER)
def _reduce(
    ev: Evaluator, *operands: Any, jaxpr: Any, dimensions: tuple[int, ...], **_: Any
) -> list[Any]:
    count, f = len(operands) // 2, Reduction(ev, jaxpr)
    xs = [leading(ev.secret(x), dimensions) for x in operands[:count]]
    initial = operands[count:]
    if xs[0].shape[0] == 0:
        empty = [x.map(lambda w: jnp.zeros(w.shape[1:], w.dtype)) for x in xs]
        return [aligned(i, x)[0] for i, x in zip(initial, empty, strict=True)]
    return f.from_initial(initial, comparison.fold(xs, f))
