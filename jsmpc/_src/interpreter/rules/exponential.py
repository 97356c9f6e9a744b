"""Rules for exponentials, logarithms and hyperbolic functions."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison, division, exponential, roots
from jsmpc._src.functions.polynomial import fraction_bits, public
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import ONE_ULP, TWO_ULP
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.parts import exp_below_p
from jsmpc._src.interpreter.registry import rule, unary
from jsmpc._src.interpreter.rules.arithmetic import constant, plus
from jsmpc._src.interpreter.rules.comparison import to_unit
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Shared

LOG2_E = math.log2(math.e)


def _exponential(ev: Evaluator, x: Shared, rate: float, scale: float = 1.0) -> Shared:
    """scale·2^(rate·x) of numbers."""
    return exponential.exponential(ev.smpc, ev.ctx, x, rate / ev.scale, scale * ev.scale)


def _power_of_two(ev: Evaluator, x: Secret, rate: float) -> Secret:
    rate, scale = rate / ev.scale_of(x), ev.wanted.scale
    value = exponential.exponential(ev.smpc, ev.ctx, x.value, rate, scale)
    bounds = None
    if ranges.within(x.range, ev.smpc.ring.bound) and (top := rate * x.range[1]) < ev.smpc.bits:
        bounds = ev.between(0, 2.0**top, ev.wanted)
    return ev.number(value, x.dtype, ev.wanted, bounds)


def _logarithm(ev: Evaluator, x: Shared) -> Shared:
    return exponential.logarithm(ev.smpc, ev.ctx, x, ev.scale, ev.scale / LOG2_E)


@unary(lax.exp_p, error=ONE_ULP, scaled=True)
def _exp(ev: Evaluator, x: Secret) -> Secret:
    return _power_of_two(ev, x, LOG2_E)


@unary(exp_below_p, error=ONE_ULP, scaled=True)
def _exp_below(ev: Evaluator, x: Secret) -> Secret:
    """e^x for x <= 0, and for x above by what is rounded where there is room for it."""
    if 2 * ev.wanted.scale > 1 << fraction_bits(ev.smpc.ring):
        return _exp(ev, x)
    rate = LOG2_E / ev.scale_of(x)
    value, _ = exponential.decay(ev.smpc, ev.ctx, -x.value, rate, ev.wanted.scale)
    return ev.number(value, x.dtype, ev.wanted, ev.between(0, 1, ev.wanted))


@unary(lax.exp2_p, error=ONE_ULP, scaled=True)
def _exp2(ev: Evaluator, x: Secret) -> Secret:
    return _power_of_two(ev, x, 1.0)


@unary(lax.expm1_p, error=ONE_ULP)
def _expm1(ev: Evaluator, x: Secret) -> Secret:
    return plus(ev, _exp(ev, x), np.float32(-1.0))


@unary(lax.log_p, error=ONE_ULP, scaled=True)
def _log(ev: Evaluator, x: Secret) -> Secret:
    unit, scale = ev.scale_of(x), ev.wanted.scale / LOG2_E
    value = exponential.logarithm(ev.smpc, ev.ctx, x.value, unit, scale)
    return ev.number(value, x.dtype, ev.wanted, ev.between(-ev.smpc.bits, ev.smpc.bits, ev.wanted))


@unary(lax.log1p_p, error=ONE_ULP)
def _log1p(ev: Evaluator, x: Secret) -> Secret:
    return _log(ev, plus(ev, x, np.float32(1.0)))


@rule(*compat.primitives("log2"), cost="function", error=ONE_ULP)
def _log2(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    value = exponential.logarithm(ev.smpc, ev.ctx, x.value, ev.scale, ev.scale)
    return Secret(value, x.dtype)


def _two_exponentials(ev: Evaluator, x: Secret) -> tuple[Shared, Shared]:
    """e^x / 2 and e^-x / 2."""
    both = x.value.map(lambda w: jnp.stack([w, -w]))
    halves = _exponential(ev, both, LOG2_E, 0.5)
    return halves.map(lambda w: w[0]), halves.map(lambda w: w[1])


@unary(lax.sinh_p, error=TWO_ULP)
def _sinh(ev: Evaluator, x: Secret) -> Secret:
    up, down = _two_exponentials(ev, x)
    return Secret(up - down, x.dtype)


@unary(lax.cosh_p, error=TWO_ULP)
def _cosh(ev: Evaluator, x: Secret) -> Secret:
    up, down = _two_exponentials(ev, x)
    return Secret(up + down, x.dtype)


@unary(lax.asinh_p, error=TWO_ULP)
def _asinh(ev: Evaluator, x: Secret) -> Secret:
    """±(log(l) + log(s + √(1 + (s / l)²))) with s and l the smaller and larger of |x| and 1."""
    smpc, ctx = ev.smpc, ev.ctx
    one = constant(ev, x, 1.0)
    magnitude = comparison.absolute(smpc, ctx, x.value)
    larger = comparison.maximum(smpc, ctx, magnitude, one)
    smaller = magnitude + one - larger
    ratio = division.divide(smpc, ctx, smaller, larger, ev.scale)
    root = roots.square_root(smpc, ctx, one + smpc.square(ctx, ratio, ev.scale), ev.scale)
    y = _logarithm(ev, larger) + _logarithm(ev, smaller + root)
    return Secret(comparison.copy_sign(smpc, ctx, y, x.value), x.dtype)


@unary(lax.acosh_p, error=TWO_ULP)
def _acosh(ev: Evaluator, x: Secret) -> Secret:
    """log(x + 1) + 2·log(1 + r) - log(2) with r² = (x - 1) / (x + 1), for x >= 1."""
    smpc, ctx = ev.smpc, ev.ctx
    one = constant(ev, x, 1.0)
    value = comparison.maximum(smpc, ctx, x.value, one)
    precise = 1 << fraction_bits(smpc.ring)
    square = division.divide(smpc, ctx, value - one, value + one, precise**2 / 4)
    r = roots.square_root(smpc, ctx, square, 4.0) + public(smpc, ctx, precise, value)
    double = exponential.logarithm(smpc, ctx, r, precise, 2 * ev.scale / LOG2_E)
    half = constant(ev, x, math.log(2))
    return Secret(_logarithm(ev, value + one) + double - half, x.dtype)


@unary(lax.atanh_p, error=TWO_ULP)
def _atanh(ev: Evaluator, x: Secret) -> Secret:
    """(log(1 + x) - log(1 - x)) / 2 for |x| <= 1; the ends count as one ulp away."""
    value, one = to_unit(ev, x), constant(ev, x, 1.0)
    both = (one + value).map(lambda a, b: jnp.stack([a, b]), one - value)
    scale = ev.scale / LOG2_E / 2
    logs = exponential.logarithm(ev.smpc, ev.ctx, both, ev.scale, scale)
    return Secret(logs.map(lambda w: w[0] - w[1]), x.dtype)
