"""Rules for comparison, selection, extremes and logic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc import compat
from jsmpc.functions import circuits, comparison, indexing
from jsmpc.secure import integers
from jsmpc.secure.arithmetic import aligned, as_number, is_known
from jsmpc.secure.interpreter import Evaluator, Secret, is_secret, rule

_BOOL = np.dtype(bool)


def _beyond(ev: Evaluator, x: Any) -> Any:
    """Where a public operand is NaN, infinite or beyond the encoding; None if nowhere for sure."""
    if is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    limit = ev.smpc.encoding.limit(ev.smpc.ring)
    if isinstance(x, jax.core.Tracer):
        return ~(abs(x) < limit)
    beyond = ~(abs(np.asarray(x)) < limit)
    return beyond if beyond.any() else None


def _compare(ev: Evaluator, f: Callable[..., Any], g: Any, x: Any, y: Any) -> Any:
    """f(x, y) of secrets, but g(x, y) of plain arrays where a public operand is beyond.

    There the result is the same for every secret, which is a number within the encoding's
    limits: 0 stands for it in g.
    """
    x, y = aligned(x, y)
    beyond = next((b for b in (_beyond(ev, v) for v in (x, y)) if b is not None), None)
    if beyond is None:
        return f(ev, *ev.secrets(x, y))
    known = g(*(jnp.zeros((), v.dtype) if is_secret(v) else v for v in (x, y)))
    where: Callable[..., Any] = jnp.where
    if not isinstance(beyond, jax.core.Tracer):
        if beyond.all():
            return known
        where = np.where
    x, y = (v if is_secret(v) else where(beyond, np.zeros((), v.dtype), v) for v in (x, y))
    bit = f(ev, *ev.secrets(x, y)).value
    keep, fixed = (~beyond).astype(np.uint8), (known & beyond).astype(np.uint8)
    return Secret(ev.smpc.xor_bp(ev.ctx, bit & keep, fixed), _BOOL)


def _less(ev: Evaluator, x: Any, y: Any) -> Any:
    return _compare(ev, _less_secret, jnp.less, x, y)


def _not_less(ev: Evaluator, x: Any, y: Any) -> Any:
    return _compare(ev, lambda *v: _not(ev, _less_secret(*v)), jnp.greater_equal, x, y)


def _less_secret(ev: Evaluator, x: Secret, y: Secret) -> Secret:
    if x.dtype == _BOOL:
        return Secret(ev.smpc.and_bb(ev.ctx, ev.smpc.not_b(ev.ctx, x.value), y.value), _BOOL)
    return Secret(comparison.less(ev.smpc, ev.ctx, x.value, y.value), _BOOL)


def _not(ev: Evaluator, x: Secret) -> Secret:
    return Secret(ev.smpc.not_b(ev.ctx, x.value), _BOOL)


@rule(lax.lt_p, *compat.primitives("lt_to"), cost="comparison")
def _lt(ev: Evaluator, x: Any, y: Any) -> Any:
    return _less(ev, x, y)


@rule(lax.gt_p, cost="comparison")
def _gt(ev: Evaluator, x: Any, y: Any) -> Any:
    return _less(ev, y, x)


@rule(lax.ge_p, cost="comparison")
def _ge(ev: Evaluator, x: Any, y: Any) -> Any:
    return _not_less(ev, x, y)


@rule(lax.le_p, *compat.primitives("le_to"), cost="comparison")
def _le(ev: Evaluator, x: Any, y: Any) -> Any:
    return _not_less(ev, y, x)


@rule(lax.ne_p, cost="comparison")
def _ne(ev: Evaluator, x: Any, y: Any) -> Any:
    if x is y:
        return np.zeros(x.shape, bool)
    return _compare(ev, lambda *v: _not(ev, _equal_secret(*v)), jnp.not_equal, x, y)


@rule(lax.eq_p, *compat.primitives("eq_to"), cost="comparison")
def _eq(ev: Evaluator, x: Any, y: Any) -> Any:
    """x == x holds without a comparison: a secret is never NaN."""
    if x is y:
        return np.ones(x.shape, bool)
    return _compare(ev, _equal_secret, jnp.equal, x, y)


def _equal_secret(ev: Evaluator, x: Secret, y: Secret) -> Secret:
    if x.dtype == _BOOL:
        return _not(ev, Secret(x.value ^ y.value, _BOOL))
    return Secret(comparison.equal(ev.smpc, ev.ctx, x.value, y.value), _BOOL)


@rule(lax.is_finite_p, cost="local")
def _is_finite(ev: Evaluator, x: Secret) -> Any:
    return np.ones(x.shape, bool)


@rule(lax.not_p, cost="local")
def _logical_not(ev: Evaluator, x: Secret) -> Secret:
    return integers.complement(ev, x) if integers.is_integer(x) else _not(ev, x)


def _logic(ev: Evaluator, x: Any, y: Any, public: Callable[[Any, Any], Any], secret: Any) -> Secret:
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    if is_secret(y):
        return Secret(secret(ev.ctx, x.value, y.value), _BOOL)
    return Secret(public(x.value, ev.words(y, _BOOL)), _BOOL)


@rule(lax.and_p, cost="product")
def _and(ev: Evaluator, x: Any, y: Any) -> Secret:
    if integers.is_integer(x):
        return integers.bitwise_and(ev, x, y)
    return _logic(ev, x, y, lambda a, b: a & b, ev.smpc.and_bb)


@rule(lax.or_p, cost="product")
def _or(ev: Evaluator, x: Any, y: Any) -> Secret:
    def with_public(a: Any, b: Any) -> Any:
        return ev.smpc.xor_bp(ev.ctx, a & (b ^ np.uint8(1)), b)

    if integers.is_integer(x):
        return integers.bitwise_or(ev, x, y)
    return _logic(ev, x, y, with_public, ev.smpc.or_bb)


@rule(lax.xor_p, cost="product")
def _xor(ev: Evaluator, x: Any, y: Any) -> Secret:
    if integers.is_integer(x):
        return integers.bitwise_xor(ev, x, y)
    return _logic(ev, x, y, lambda a, b: ev.smpc.xor_bp(ev.ctx, a, b), lambda ctx, a, b: a ^ b)


def saturated(ev: Evaluator, x: Any) -> Any:
    """A public operand with a quarter of the encoding's limit for what stands for infinity.

    That is ±inf, and numbers from half of the dtype's largest on if the encoding does not hold
    them: what attention masks and `jnp.nan_to_num` put in a place. The differences of two such
    values, and of one and a moderate number, are still compared rightly.
    """
    if is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    limit = ev.smpc.encoding.limit(ev.smpc.ring)
    extreme = min(float(jnp.finfo(d).max) for d in (x.dtype, np.float32)) / 2
    if extreme < limit:
        extreme = math.inf
    np_or_jnp = jnp if isinstance(x, jax.core.Tracer) else np
    x = np_or_jnp.asarray(x)
    unbounded = abs(x) >= np.asarray(extreme, x.dtype)
    return np_or_jnp.where(unbounded, np_or_jnp.sign(x) * np.asarray(limit / 4, x.dtype), x)


def select(ev: Evaluator, predicate: Any, x: Any, y: Any) -> Any:
    """x where the predicate holds, else y; each may be secret or public."""
    if not is_secret(predicate):
        if not is_secret(x) and not is_secret(y):
            return lax.select_n(predicate, y, x)
        x, y = ev.secrets(saturated(ev, x), saturated(ev, y))
        value = x.value.map(lambda a, b: lax.select_n(predicate, b, a), y.value)
        return Secret(value, x.dtype)
    dtype = x.dtype if is_secret(x) else jnp.result_type(x)
    like = Secret(predicate.value, np.dtype(dtype))
    x, y = (v if is_secret(v) else ev.secret(saturated(ev, v), like) for v in (x, y))
    bit = predicate.value
    if bit.shape != x.shape:
        bit = bit.map(lambda a: jnp.broadcast_to(a, x.shape))
    if x.dtype == _BOOL:
        return Secret(y.value ^ ev.smpc.and_bb(ev.ctx, bit, x.value ^ y.value), _BOOL)
    return Secret(comparison.select(ev.smpc, ev.ctx, bit, x.value, y.value), x.dtype)


@rule(lax.select_n_p, cost="product")
def _select_n(ev: Evaluator, predicate: Any, *cases: Any) -> Any:
    """Public cases may hold ±inf: see `saturated`. One never chosen may hold anything."""
    if not is_secret(predicate):
        if is_known(predicate) and np.size(predicate):
            chosen = np.asarray(predicate).flat[0]
            if (np.asarray(predicate) == chosen).all():
                return cases[int(chosen)]
        first, *others = ev.secrets(*(saturated(ev, c) for c in cases))
        value = first.value.map(lambda *w: lax.select_n(predicate, *w), *(o.value for o in others))
        return Secret(value, first.dtype)
    if len(cases) == 1:
        return cases[0]
    return choose(ev, predicate, cases)


def choose(ev: Evaluator, index: Secret, cases: Sequence[Any]) -> Any:
    """The case of a secret number, which is in range; of all cases' shape or a scalar.

    Of two cases the lower bit selects. Of more, the one-hot vector of the number does: the sum of
    its products with all of them.
    """
    if len(cases) == 2:
        bit = index.value if index.dtype == _BOOL else indexing.low_bit(index.value)
        return select(ev, Secret(bit, _BOOL), cases[1], cases[0])
    smpc, ctx = ev.smpc, ev.ctx
    dtype = np.dtype(cases[0].dtype)
    secrets = [ev.secret(saturated(ev, c), Secret(index.value, dtype)) for c in cases]
    first, *others = (c.value for c in secrets)
    stacked = first.map(lambda *w: jnp.stack(w), *others)
    hot = indexing.decode(smpc, ctx, index.value, len(cases))
    shape = (len(cases), *[1] * (len(stacked.shape) - 1 - index.ndim), *index.shape)
    hot = hot.map(lambda h: jnp.moveaxis(h, -1, 0).reshape(shape))
    if dtype == _BOOL:
        chosen = smpc.and_bb(ctx, hot, stacked)
        return Secret(chosen.map(lambda c: lax.reduce_xor(c, (0,))), dtype)
    chosen = smpc.mul_aa(ctx, smpc.b2a(ctx, hot), stacked)
    return Secret(chosen.map(lambda c: c.sum(0, dtype=c.dtype)), dtype)


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
    if x.dtype == _BOOL:
        return _tree(moved, lambda a, b: ev.smpc.or_bb(ev.ctx, a, b))
    return Secret(comparison.largest(ev.smpc, ev.ctx, moved.value), x.dtype)


@rule(lax.reduce_min_p, cost="comparison")
def _reduce_min(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    moved = _nonempty(ev, leading(x, axes))
    if x.dtype == _BOOL:
        return _tree(moved, lambda a, b: ev.smpc.and_bb(ev.ctx, a, b))
    return Secret(-comparison.largest(ev.smpc, ev.ctx, -moved.value), x.dtype)


@rule(lax.argmax_p, cost="comparison")
def _argmax(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    moved = _nonempty(ev, leading(as_number(ev, x), axes))
    _, index = comparison.argument_of_largest(ev.smpc, ev.ctx, moved.value)
    return Secret(index, np.dtype(index_dtype))


@rule(lax.argmin_p, cost="comparison")
def _argmin(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], index_dtype: Any) -> Secret:
    x = as_number(ev, x)
    return _argmax(ev, Secret(-x.value, x.dtype), axes=axes, index_dtype=index_dtype)


def _tree(x: Secret, combine: Callable[[Any, Any], Any]) -> Secret:
    return Secret(comparison.fold(x.value, combine), x.dtype)


def _boolean(ev: Evaluator, x: Secret) -> Secret:
    if x.dtype != _BOOL:
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
    return _tree(moved, lambda a, b: ev.smpc.and_bb(ev.ctx, a, b))


@rule(lax.reduce_or_p, cost="product")
def _reduce_or(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Any:
    moved = leading(_boolean(ev, x), axes)
    if not moved.shape[0]:
        return jnp.zeros(moved.shape[1:], bool)
    return _tree(moved, lambda a, b: ev.smpc.or_bb(ev.ctx, a, b))


@rule(lax.reduce_xor_p, cost="local")
def _reduce_xor(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    return _boolean(ev, x).map(lambda w: lax.reduce_xor(w, axes))


@rule(lax.reduce_prod_p, cost="product", error="1 ulp a product")
def _reduce_prod(ev: Evaluator, x: Secret, *, axes: tuple[int, ...], **_: Any) -> Secret:
    divisor = ev.divisor(x.dtype)
    return _tree(leading(x, axes), lambda a, b: ev.smpc.mul_aa(ev.ctx, a, b, divisor))
