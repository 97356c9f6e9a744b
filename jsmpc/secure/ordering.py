"""Rules for comparison, selection, extremes and logic."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc.functions import circuits, comparison
from jsmpc.secure.arithmetic import aligned
from jsmpc.secure.interpreter import Evaluator, Secret, is_secret, rule

_BOOL = np.dtype(bool)


def _less(ev: Evaluator, x: Any, y: Any) -> Secret:
    x, y = ev.secrets(*aligned(x, y))
    if x.dtype == _BOOL:
        return Secret(ev.smpc.and_bb(ev.ctx, ev.smpc.not_b(ev.ctx, x.value), y.value), _BOOL)
    return Secret(comparison.less(ev.smpc, ev.ctx, x.value, y.value), _BOOL)


def _not(ev: Evaluator, x: Secret) -> Secret:
    return Secret(ev.smpc.not_b(ev.ctx, x.value), _BOOL)


@rule(lax.lt_p, cost="comparison")
def _lt(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _less(ev, x, y)


@rule(lax.gt_p, cost="comparison")
def _gt(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _less(ev, y, x)


@rule(lax.ge_p, cost="comparison")
def _ge(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _not(ev, _less(ev, x, y))


@rule(lax.le_p, cost="comparison")
def _le(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _not(ev, _less(ev, y, x))


@rule(lax.ne_p, cost="comparison")
def _ne(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _not(ev, _eq(ev, x, y))


@rule(lax.eq_p, cost="comparison")
def _eq(ev: Evaluator, x: Any, y: Any) -> Secret:
    x, y = ev.secrets(*aligned(x, y))
    if x.dtype == _BOOL:
        return _not(ev, Secret(x.value ^ y.value, _BOOL))
    return Secret(comparison.equal(ev.smpc, ev.ctx, x.value, y.value), _BOOL)


@rule(lax.is_finite_p, cost="local")
def _is_finite(ev: Evaluator, x: Secret) -> Any:
    return jnp.ones(x.shape, bool)


def _boolean(ev: Evaluator, x: Secret) -> None:
    if x.dtype != _BOOL:
        raise ev.unsupported("bitwise operations on secret integers are not supported")


@rule(lax.not_p, cost="local")
def _logical_not(ev: Evaluator, x: Secret) -> Secret:
    _boolean(ev, x)
    return _not(ev, x)


def _logic(ev: Evaluator, x: Any, y: Any, public: Callable[[Any, Any], Any], secret: Any) -> Secret:
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    _boolean(ev, x)
    if is_secret(y):
        return Secret(secret(ev.ctx, x.value, y.value), _BOOL)
    return Secret(public(x.value, ev.words(y, _BOOL)), _BOOL)


@rule(lax.and_p, cost="product")
def _and(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _logic(ev, x, y, lambda a, b: a & b, ev.smpc.and_bb)


@rule(lax.or_p, cost="product")
def _or(ev: Evaluator, x: Any, y: Any) -> Secret:
    def with_public(a: Any, b: Any) -> Any:
        return ev.smpc.xor_bp(ev.ctx, a & (b ^ np.uint8(1)), b)

    return _logic(ev, x, y, with_public, ev.smpc.or_bb)


@rule(lax.xor_p, cost="local")
def _xor(ev: Evaluator, x: Any, y: Any) -> Secret:
    return _logic(ev, x, y, lambda a, b: ev.smpc.xor_bp(ev.ctx, a, b), lambda ctx, a, b: a ^ b)


def select(ev: Evaluator, predicate: Any, x: Any, y: Any) -> Any:
    """x where the predicate holds, else y; each may be secret or public."""
    if not is_secret(predicate):
        if not is_secret(x) and not is_secret(y):
            return lax.select_n(predicate, y, x)
        x, y = ev.secrets(x, y)
        value = x.value.map(lambda a, b: lax.select_n(predicate, b, a), y.value)
        return Secret(value, x.dtype)
    dtype = x.dtype if is_secret(x) else jnp.result_type(x)
    x, y = (v if is_secret(v) else ev.secret(v, Secret(predicate.value, dtype)) for v in (x, y))
    bit = predicate.value
    if bit.shape != x.shape:
        bit = bit.map(lambda a: jnp.broadcast_to(a, x.shape))
    if x.dtype == _BOOL:
        return Secret(y.value ^ ev.smpc.and_bb(ev.ctx, bit, x.value ^ y.value), _BOOL)
    return Secret(comparison.select(ev.smpc, ev.ctx, bit, x.value, y.value), x.dtype)


@rule(lax.select_n_p, cost="product")
def _select_n(ev: Evaluator, predicate: Any, *cases: Any) -> Any:
    if not is_secret(predicate):
        first, *others = ev.secrets(*cases)
        value = first.value.map(lambda *w: lax.select_n(predicate, *w), *(o.value for o in others))
        return Secret(value, first.dtype)
    if predicate.dtype != _BOOL:
        raise ev.unsupported("a secret choice among more than two cases is not supported")
    return select(ev, predicate, cases[1], cases[0])


def _unbounded(x: Any, sign: int) -> bool:
    """Whether a public operand is minus (plus) infinity throughout: neutral in max (min)."""
    return isinstance(x, np.ndarray | np.generic) and bool(np.all(np.asarray(x) == sign * math.inf))


@rule(lax.max_p, cost="comparison")
def _max(ev: Evaluator, x: Any, y: Any) -> Secret:
    for public, other in ((x, y), (y, x)):
        if _unbounded(public, -1):
            return other
    x, y = ev.secrets(*aligned(x, y))
    if x.dtype == _BOOL:
        return Secret(ev.smpc.or_bb(ev.ctx, x.value, y.value), _BOOL)
    return Secret(comparison.maximum(ev.smpc, ev.ctx, x.value, y.value), x.dtype)


@rule(lax.min_p, cost="comparison")
def _min(ev: Evaluator, x: Any, y: Any) -> Secret:
    for public, other in ((x, y), (y, x)):
        if _unbounded(public, 1):
            return other
    x, y = ev.secrets(*aligned(x, y))
    if x.dtype == _BOOL:
        return Secret(ev.smpc.and_bb(ev.ctx, x.value, y.value), _BOOL)
    return Secret(comparison.minimum(ev.smpc, ev.ctx, x.value, y.value), x.dtype)


@rule(lax.clamp_p, cost="comparison")
def _clamp(ev: Evaluator, low: Any, x: Any, high: Any) -> Any:
    low, x, high = aligned(low, x, high)
    return _min(ev, _max(ev, x, low), high)


@rule(lax.abs_p, cost="comparison")
def _abs(ev: Evaluator, x: Secret) -> Secret:
    return Secret(comparison.absolute(ev.smpc, ev.ctx, x.value), x.dtype)


@rule(lax.sign_p, cost="comparison")
def _sign(ev: Evaluator, x: Secret) -> Secret:
    smpc, ctx = ev.smpc, ev.ctx
    negative = x.value.map(lambda a: jnp.stack([a, -a]))
    bits = smpc.b2a(ctx, circuits.msb(smpc, ctx, negative))
    value = bits.map(lambda b: b[1] - b[0])
    factor = ev.divisor(x.dtype) or 1
    return Secret(value * smpc.ring.constant(factor), x.dtype)


def leading(x: Secret, axes: tuple[int, ...]) -> Secret:
    """The axes to reduce over, flattened into one leading axis."""
    kept = [d for d in range(x.ndim) if d not in axes]
    shape = [-1, *(x.shape[d] for d in kept)]
    return x.map(lambda w: w.transpose(*axes, *kept).reshape(shape))


def _nonempty(ev: Evaluator, x: Secret) -> Secret:
    if x.shape[0] == 0:
        raise ev.unsupported("an extreme of no elements does not exist")
    return x


@rule(lax.reduce_max_p, cost="comparison")
def _reduce_max(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    moved = _nonempty(ev, leading(x, axes))
    return Secret(comparison.largest(ev.smpc, ev.ctx, moved.value), x.dtype)


@rule(lax.reduce_min_p, cost="comparison")
def _reduce_min(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    moved = _nonempty(ev, leading(x, axes))
    return Secret(-comparison.largest(ev.smpc, ev.ctx, -moved.value), x.dtype)


@rule(lax.argmax_p, cost="comparison")
def _argmax(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    moved = _nonempty(ev, leading(x, axes))
    _, index = comparison.argument_of_largest(ev.smpc, ev.ctx, moved.value)
    return Secret(index, np.dtype(index_dtype))


@rule(lax.argmin_p, cost="comparison")
def _argmin(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    return _argmax(ev, Secret(-x.value, x.dtype), axes=axes, index_dtype=index_dtype)


def _tree(x: Secret, combine: Callable[[Any, Any], Any]) -> Secret:
    """Combines along the leading axis, halving it in each round."""
    value = x.value
    while value.shape[0] > 1:
        half = value.shape[0] // 2
        combined = combine(
            value.map(lambda a, h=half: a[:h]), value.map(lambda a, h=half: a[h : 2 * h])
        )
        rest = value.map(lambda a, h=half: a[2 * h :])
        value = combined.map(lambda a, b: jnp.concatenate([a, b]), rest)
    return Secret(value.map(lambda a: a[0]), x.dtype)


@rule(lax.reduce_and_p, cost="product")
def _reduce_and(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    _boolean(ev, x)
    return _tree(leading(x, axes), lambda a, b: ev.smpc.and_bb(ev.ctx, a, b))


@rule(lax.reduce_or_p, cost="product")
def _reduce_or(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    _boolean(ev, x)
    return _tree(leading(x, axes), lambda a, b: ev.smpc.or_bb(ev.ctx, a, b))


@rule(lax.reduce_prod_p, cost="product", error="1 ulp a product")
def _reduce_prod(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    divisor = ev.divisor(x.dtype)
    return _tree(leading(x, axes), lambda a, b: ev.smpc.mul_aa(ev.ctx, a, b, divisor))
