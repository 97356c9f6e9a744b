"""Rules for trigonometric functions."""

from __future__ import annotations

from typing import Any

from jax import lax

from jsmpc._src.functions import division, roots, trigonometry
from jsmpc._src.functions.polynomial import fraction_bits
from jsmpc._src.interpreter.bounds import Bound, Growth
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.registry import rule, unary
from jsmpc._src.interpreter.rules import arithmetic
from jsmpc._src.interpreter.rules.arithmetic import constant
from jsmpc._src.interpreter.rules.comparison import to_unit
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.protocols.base import Shared


def _sine(ev: Evaluator, x: Secret, turns: float, scale: float) -> Shared:
    return trigonometry.sine(ev.smpc, ev.ctx, x.value, ev.scale, scale, turns)


_PERIODIC = Bound(ulps=2, growth=Growth("|x|·2^-45", lambda result, x: abs(x) * 2**-45))
_TANGENT = Bound(
    ulps=1,
    growth=Growth(
        "(2^-23 + |x|·2^-45)·(1 + tan²)",
        lambda result, x: (2**-23 + abs(x) * 2**-45) * (1 + result**2),
    ),
)
_ANGLE = Bound(ulps=3)


@unary(lax.sin_p, error=_PERIODIC)
def _sin(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_sine(ev, x, 0.0, ev.scale), x.dtype, ev.between(-1, 1))


@unary(lax.cos_p, error=_PERIODIC)
def _cos(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_sine(ev, x, 0.25, ev.scale), x.dtype, ev.between(-1, 1))


@unary(lax.tan_p, error=_TANGENT)
def _tan(ev: Evaluator, x: Secret) -> Secret:
    precise = 1 << fraction_bits(ev.smpc.ring)
    sine, cosine = (_sine(ev, x, turns, precise) for turns in (0.0, 0.25))
    return Secret(division.divide(ev.smpc, ev.ctx, sine, cosine, ev.scale), x.dtype)


@rule(lax.atan2_p, cost="function", error=_ANGLE)
def _atan2(ev: Evaluator, y: Any, x: Any) -> Secret:
    y, x = ev.secrets(*arithmetic.aligned(y, x))
    angle = trigonometry.arc_tangent(ev.smpc, ev.ctx, y.value, x.value, ev.scale)
    return Secret(angle, y.dtype)


@unary(lax.atan_p, error=_ANGLE)
def _atan(ev: Evaluator, x: Secret) -> Secret:
    one = constant(ev, x, 1.0)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, x.value, one, ev.scale), x.dtype)


def _on_circle(ev: Evaluator, x: Secret) -> tuple[Shared, Shared]:
    """x clamped to [-1, 1], and √(1 - x²): (1 - x)·(1 + x) is exact before its root is taken."""
    value, one = to_unit(ev, x), constant(ev, x, 1.0)
    product = ev.smpc.mul_aa(ev.ctx, one - value, one + value)
    return value, roots.square_root(ev.smpc, ev.ctx, product, 1.0)


@unary(lax.asin_p, error=_ANGLE)
def _asin(ev: Evaluator, x: Secret) -> Secret:
    value, other = _on_circle(ev, x)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, value, other, ev.scale), x.dtype)


@unary(lax.acos_p, error=_ANGLE)
def _acos(ev: Evaluator, x: Secret) -> Secret:
    value, other = _on_circle(ev, x)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, other, value, ev.scale), x.dtype)
