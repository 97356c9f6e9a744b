"""Rules for comparison, selection, extremes and logic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular, Range
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import aligned, constant
from jsmpc._src.interpreter.rules.logic import invert
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring.fixedpoint import FixedPoint


def _beyond(ev: Evaluator, x: Any, encoding: FixedPoint) -> Any:
    """Where a public operand is NaN, infinite or beyond an encoding; None if nowhere for sure."""
    if is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
        return None
    limit = encoding.limit(ev.smpc.ring)
    if tracing.is_traced(x):
        return ~(abs(x) < limit)
    beyond = ~(abs(np.asarray(x)) < limit)
    return beyond if beyond.any() else None


def _compare(ev: Evaluator, f: Callable[..., Any], g: Any, x: Any, y: Any) -> Any:
    """f(x, y, bits) of secrets, but g(x, y) of plain arrays where a public operand is beyond.

    |x - y| is below 2^(bits-1).
    There the result is the same for every secret, which is a number within the encoding's
    limits: 0 stands for it in g.
    """
    x, y = ev.of_one_encoding(*aligned(x, y))
    encoding = ev.encoding_of(x if is_secret(x) else y)
    bits = ranges.bits_of_difference(*(ev.range_of(v, encoding) for v in (x, y)))
    beyond = next((b for b in (_beyond(ev, v, encoding) for v in (x, y)) if b is not None), None)
    if beyond is None:
        return f(ev, *ev.secrets(x, y), bits)
    known = g(*(jnp.zeros((), v.dtype) if is_secret(v) else v for v in (x, y)))
    where: Callable[..., Any] = jnp.where
    if not tracing.is_traced(beyond):
        if beyond.all():
            return known
        where = np.where
    x, y = (v if is_secret(v) else where(beyond, np.zeros((), v.dtype), v) for v in (x, y))
    bit = f(ev, *ev.secrets(x, y), bits).bits
    keep, fixed = (~beyond).astype(np.uint8), (known & beyond).astype(np.uint8)
    return Secret(ev.smpc.xor_bp(ev.ctx, bit & keep, fixed), BOOL)


def _less(ev: Evaluator, x: Any, y: Any) -> Any:
    return _compare(ev, _less_secret, jnp.less, x, y)


def _not_less(ev: Evaluator, x: Any, y: Any) -> Any:
    return _compare(ev, lambda *v: invert(ev, _less_secret(*v)), jnp.greater_equal, x, y)


def _less_secret(ev: Evaluator, x: Secret, y: Secret, bits: int) -> Secret:
    if x.dtype == BOOL:
        return Secret(ev.smpc.and_bb(ev.ctx, ev.smpc.not_b(ev.ctx, x.bits), y.bits), BOOL)
    return Secret(ev.smpc.less(ev.ctx, x.value, y.value, bits), BOOL)


@rule(lax.lt_p, *compat.primitives("lt_to"), cost="comparison", scaled=True)
def _lt(ev: Evaluator, x: Any, y: Any) -> Any:
    return _less(ev, x, y)


@rule(lax.gt_p, cost="comparison", scaled=True)
def _gt(ev: Evaluator, x: Any, y: Any) -> Any:
    return _less(ev, y, x)


@rule(lax.ge_p, cost="comparison", scaled=True)
def _ge(ev: Evaluator, x: Any, y: Any) -> Any:
    return _not_less(ev, x, y)


@rule(lax.le_p, *compat.primitives("le_to"), cost="comparison", scaled=True)
def _le(ev: Evaluator, x: Any, y: Any) -> Any:
    return _not_less(ev, y, x)


@rule(lax.ne_p, cost="comparison", scaled=True)
def _ne(ev: Evaluator, x: Any, y: Any) -> Any:
    if x is y:
        return np.zeros(x.shape, bool)
    return _compare(ev, lambda *v: invert(ev, _equal_secret(*v)), jnp.not_equal, x, y)


@rule(lax.eq_p, *compat.primitives("eq_to"), cost="comparison", scaled=True)
def _eq(ev: Evaluator, x: Any, y: Any) -> Any:
    """x == x holds without a comparison: a secret is never NaN."""
    if x is y:
        return np.ones(x.shape, bool)
    return _compare(ev, _equal_secret, jnp.equal, x, y)


def _equal_secret(ev: Evaluator, x: Secret, y: Secret, bits: int) -> Secret:
    if x.dtype == BOOL:
        return invert(ev, Secret(x.bits ^ y.bits, BOOL))
    return Secret(ev.smpc.equal(ev.ctx, x.value, y.value, bits), BOOL)


@rule(lax.is_finite_p, cost="local", scaled=True)
def _is_finite(ev: Evaluator, x: Secret) -> Any:
    return np.ones(x.shape, bool)


def _unbounded(x: Any, sign: int) -> bool:
    """Whether a public operand is minus (plus) infinity throughout: neutral in max (min)."""
    return isinstance(x, np.ndarray | np.generic) and bool(np.all(np.asarray(x) == sign * math.inf))


@rule(lax.max_p, cost="comparison", scaled=True)
def maximum(ev: Evaluator, x: Any, y: Any) -> Any:
    if not (is_secret(x) or is_secret(y)):
        return jnp.maximum(x, y)
    for public, other in ((x, y), (y, x)):
        if _unbounded(public, -1):
            return other
    return _of_two(ev, (x, y), comparison.maximum, ranges.larger, ev.smpc.or_bb)


@rule(lax.min_p, cost="comparison", scaled=True)
def minimum(ev: Evaluator, x: Any, y: Any) -> Any:
    if not (is_secret(x) or is_secret(y)):
        return jnp.minimum(x, y)
    for public, other in ((x, y), (y, x)):
        if _unbounded(public, 1):
            return other
    return _of_two(ev, (x, y), comparison.minimum, ranges.smaller, ev.smpc.and_bb)


def _of_two(
    ev: Evaluator,
    operands: tuple[Any, Any],
    find: Callable[..., Shared],
    known: Callable[..., Range],
    of_bits: Callable[..., Any],
) -> Secret:
    """One of two operands; a public one, of which more is known, is the second."""
    x, y = aligned(*operands)
    if not is_secret(x):
        x, y = y, x
    first, second = ev.secrets(x, y)
    if first.dtype == BOOL:
        return Secret(of_bits(ev.ctx, first.bits, second.bits), BOOL)
    other = ev.range_of(second if is_secret(y) else y, ev.encoding_of(first))
    bits = ranges.bits_of_difference(first.range, other)
    value = find(ev.smpc, ev.ctx, first.value, second.value, bits)
    bounds = ranges.told(known(first.range, other, ev.smpc.ring), ev.smpc.ring)
    return dataclasses.replace(first, shares=value, bounds=bounds)


@rule(lax.clamp_p, cost="comparison", scaled=True)
def _clamp(ev: Evaluator, low: Any, x: Any, high: Any) -> Any:
    low, x, high = aligned(low, x, high)
    return minimum(ev, maximum(ev, x, low), high)


@rule(lax.abs_p, cost="comparison", modular=Modular(ranges.magnitude, slice(0)), scaled=True)
def _abs(ev: Evaluator, x: Secret) -> Secret:
    value = comparison.absolute(ev.smpc, ev.ctx, x.value)
    return ev.number(value, x.dtype, ev.encoding_of(x), ranges.absolute(x.range, ev.smpc.ring))


@rule(lax.sign_p, cost="comparison", scaled=True)
def _sign(ev: Evaluator, x: Secret) -> Secret:
    smpc, ctx = ev.smpc, ev.ctx
    negative = x.value.map(lambda a: jnp.stack([a, -a]))
    bits = smpc.b2a(ctx, smpc.msb(ctx, negative))
    value = bits.map(lambda b: b[1] - b[0])
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    return ev.number(value, x.dtype, ev.coded(0), (-1, 1)) if floating else Secret(value, x.dtype)


def to_unit(ev: Evaluator, x: Secret, end: float = 1.0) -> Shared:
    """x clamped to [-end, end]."""
    limit = constant(ev, x, end)
    low = comparison.maximum(ev.smpc, ev.ctx, x.value, -limit)
    return comparison.minimum(ev.smpc, ev.ctx, low, limit)
