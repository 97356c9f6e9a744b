"""Rules for division, roots, exponentials, sigmoids and trigonometric functions.

Rules with a bound of 1 ulp are also off by a relative error of 2^-21 where results are large (in
the ring of 64 bits). Outside of a function's domain the argument is moved to its nearest end, and
results beyond the range are the largest number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc import compat
from jsmpc.functions import (
    circuits,
    comparison,
    division,
    exponential,
    roots,
    sigmoid,
    trigonometry,
)
from jsmpc.functions.polynomial import fraction_bits, public
from jsmpc.protocols.base import Shared
from jsmpc.secure import arithmetic, integers
from jsmpc.secure.interpreter import Evaluator, Secret, is_secret, rule
from jsmpc.secure.patterns import pattern

_LOG2_E = math.log2(math.e)
_ONE_ULP = "2^-21 or 1 ulp"
_TWO_ULP = "2^-21 or 2 ulp"


def _constant(ev: Evaluator, x: Secret, value: float) -> Shared:
    """A number in x's encoding and shape."""
    return public(ev.smpc, ev.ctx, value * ev.scale, x.value)


def _unary(
    primitive: Any, error: str = _ONE_ULP
) -> Callable[[Callable[[Evaluator, Secret], Secret]], Callable[[Evaluator, Secret], Secret]]:
    """Registers a rule for a primitive of one operand, whose parameters do not matter."""

    def register(f: Callable[[Evaluator, Secret], Secret]) -> Callable[[Evaluator, Secret], Secret]:
        @rule(primitive, cost="function", error=error)
        def apply(ev: Evaluator, x: Secret, **_: Any) -> Secret:
            return f(ev, x)

        return f

    return register


# Division.


def reciprocal(ev: Evaluator, x: Secret, numerator: float = 1.0) -> Secret:
    """numerator / x for a public number."""
    if numerator == 0:
        return Secret(x.value - x.value, x.dtype)
    value = division.reciprocal(ev.smpc, ev.ctx, x.value, abs(numerator) * ev.scale**2)
    return Secret(value if numerator > 0 else -value, x.dtype)


@rule(lax.div_p, cost="function", error="2^-22 or 1 ulp; integers exact")
def _div(ev: Evaluator, x: Any, y: Any) -> Secret:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return integers.divide(ev, x, y)
    if not is_secret(y):
        return arithmetic.divided_by_public(ev, x, y)
    if arithmetic.is_known(x) and np.size(x) and (x == np.asarray(x).flat[0]).all():
        ev.check_constant(np.asarray(x))
        return reciprocal(ev, y, float(np.asarray(x).flat[0]))
    x, y = ev.secrets(*arithmetic.aligned(x, y))
    return Secret(division.divide(ev.smpc, ev.ctx, x.value, y.value, ev.scale), y.dtype)


# Roots and powers.


@rule(lax.integer_pow_p, cost="product", error="1 ulp a product")
def _integer_pow(ev: Evaluator, x: Secret, *, y: int) -> Any:
    if y == 0:
        return jnp.ones(x.shape, x.dtype)
    if y > 0:
        return arithmetic.power(ev, x, y)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ev.unsupported("a negative power of an integer: convert it with .astype(float) first")
    return arithmetic.power(ev, reciprocal(ev, x), -y)


@_unary(lax.sqrt_p)
def _sqrt(ev: Evaluator, x: Secret) -> Secret:
    return Secret(roots.square_root(ev.smpc, ev.ctx, x.value, ev.scale), x.dtype)


@_unary(lax.rsqrt_p)
def _rsqrt(ev: Evaluator, x: Secret) -> Secret:
    return Secret(roots.inverse_square_root(ev.smpc, ev.ctx, x.value, ev.scale**1.5), x.dtype)


@_unary(lax.cbrt_p)
def _cbrt(ev: Evaluator, x: Secret) -> Secret:
    return Secret(exponential.cube_root(ev.smpc, ev.ctx, x.value, ev.scale), x.dtype)


@rule(lax.pow_p, cost="function", error="|y|·2^-25 or 1 ulp")
def _pow(ev: Evaluator, x: Any, y: Any) -> Any:
    if arithmetic.is_known(y):
        exponents = np.asarray(y, np.float64)
        first = float(exponents.flat[0]) if exponents.size else 1.0
        if (exponents == first).all():
            if first == round(first) and abs(first) <= 64:
                return _integer_pow(ev, x, y=int(first))
            if abs(first) == 0.5:
                return (_sqrt if first > 0 else _rsqrt)(ev, x)
            largest = exponential.largest_exponent(ev.smpc.ring)
            if abs(first) > largest:
                raise ev.unsupported(f"exponents of secrets may not exceed {largest}")
            value = exponential.public_power(ev.smpc, ev.ctx, x.value, first, ev.scale)
            return Secret(value, x.dtype)
    dtype = np.dtype(jnp.result_type(x.dtype, jnp.float32))
    x, y = arithmetic.aligned(x, y)
    if arithmetic.is_known(x) and x.size and (x == x.flat[0]).all() and x.flat[0] > 0:
        return _power_of_public(ev, float(x.flat[0]), y, dtype)
    if not is_secret(y):
        return _to_public_powers(ev, x, y.astype(dtype))
    like = x if isinstance(x, Secret) else y
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise ev.unsupported("a secret integer exponent: convert it with .astype(float) first")
    base, exponent = (ev.secret(v, like) for v in (x, y))
    value = exponential.power_of(ev.smpc, ev.ctx, base.value, exponent.value, ev.scale)
    return Secret(value, dtype)


def _power_of_public(ev: Evaluator, base: float, y: Secret, dtype: Any) -> Any:
    """base^y for a public base > 0 and a number or an integer y, as 2^(y·log2(base))."""
    rate = math.log2(base) / (ev.divisor(y.dtype) or 1)
    if rate == 0:
        return jnp.ones(y.shape, dtype)
    exponent = y.value if rate > 0 else -y.value
    value = exponential.exponential(ev.smpc, ev.ctx, exponent, abs(rate), ev.scale)
    return Secret(value, dtype)


def _to_public_powers(ev: Evaluator, x: Secret, y: Any) -> Secret:
    """x^y for public y. Of negative numbers there are whole powers, others are those of 0."""
    smpc, ctx = ev.smpc, ev.ctx
    whole = (y == jnp.round(y)).astype(np.uint8)
    odd = (y % 2 == 1).astype(np.uint8)
    negative = circuits.msb(smpc, ctx, x.value)
    base = comparison.select(smpc, ctx, negative & whole, -x.value, x.value)
    exponent = ev.secret(y, Secret(base, y.dtype)).value
    value = exponential.power_of(smpc, ctx, base, exponent, ev.scale)
    return Secret(comparison.select(smpc, ctx, negative & odd, -value, value), y.dtype)


# Exponentials and logarithms.


def _exponential(ev: Evaluator, x: Shared, rate: float, scale: float = 1.0) -> Shared:
    """scale·2^(rate·x) of numbers."""
    return exponential.exponential(ev.smpc, ev.ctx, x, rate / ev.scale, scale * ev.scale)


def _logarithm(ev: Evaluator, x: Shared) -> Shared:
    return exponential.logarithm(ev.smpc, ev.ctx, x, ev.scale, ev.scale / _LOG2_E)


@_unary(lax.exp_p)
def _exp(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_exponential(ev, x.value, _LOG2_E), x.dtype)


@_unary(lax.exp2_p)
def _exp2(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_exponential(ev, x.value, 1.0), x.dtype)


@_unary(lax.expm1_p)
def _expm1(ev: Evaluator, x: Secret) -> Secret:
    return arithmetic._plus(ev, _exp(ev, x), np.float32(-1.0))


@_unary(lax.log_p)
def _log(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_logarithm(ev, x.value), x.dtype)


@_unary(lax.log1p_p)
def _log1p(ev: Evaluator, x: Secret) -> Secret:
    return _log(ev, arithmetic._plus(ev, x, np.float32(1.0)))


@rule(*compat.primitives("log2"), cost="function", error=_ONE_ULP)
def _log2(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    value = exponential.logarithm(ev.smpc, ev.ctx, x.value, ev.scale, ev.scale)
    return Secret(value, x.dtype)


# Sigmoids.


def _sigmoid(ev: Evaluator, x: Secret, rate: float, low: float, high: float) -> Secret:
    rate = rate * _LOG2_E / ev.scale
    value = sigmoid.logistic(ev.smpc, ev.ctx, x.value, rate, ev.scale, low, high)
    return Secret(value, x.dtype)


@_unary(lax.logistic_p)
def _logistic(ev: Evaluator, x: Secret) -> Secret:
    return _sigmoid(ev, x, 1.0, 0.0, 1.0)


@_unary(lax.tanh_p)
def _tanh(ev: Evaluator, x: Secret) -> Secret:
    return _sigmoid(ev, x, 2.0, -1.0, 1.0)


@_unary(lax.erf_p)
def _erf(ev: Evaluator, x: Secret) -> Secret:
    return Secret(sigmoid.error_function(ev.smpc, ev.ctx, x.value, ev.scale, ev.scale), x.dtype)


@_unary(lax.erfc_p)
def _erfc(ev: Evaluator, x: Secret) -> Secret:
    erf = _erf(ev, x)
    return Secret(_constant(ev, x, 1.0) - erf.value, x.dtype)


@_unary(lax.erf_inv_p, error="2^-14 or 4 ulp")
def _erf_inv(ev: Evaluator, x: Secret) -> Secret:
    value = _to_unit(ev, x, 1 - 1 / ev.scale)
    return Secret(sigmoid.inverse_error_function(ev.smpc, ev.ctx, value, ev.scale), x.dtype)


# Hyperbolic functions.


def _two_exponentials(ev: Evaluator, x: Secret) -> tuple[Shared, Shared]:
    """e^x / 2 and e^-x / 2."""
    both = x.value.map(lambda w: jnp.stack([w, -w]))
    halves = _exponential(ev, both, _LOG2_E, 0.5)
    return halves.map(lambda w: w[0]), halves.map(lambda w: w[1])


@_unary(lax.sinh_p, error=_TWO_ULP)
def _sinh(ev: Evaluator, x: Secret) -> Secret:
    up, down = _two_exponentials(ev, x)
    return Secret(up - down, x.dtype)


@_unary(lax.cosh_p, error=_TWO_ULP)
def _cosh(ev: Evaluator, x: Secret) -> Secret:
    up, down = _two_exponentials(ev, x)
    return Secret(up + down, x.dtype)


@_unary(lax.asinh_p, error=_TWO_ULP)
def _asinh(ev: Evaluator, x: Secret) -> Secret:
    """±(log(l) + log(s + √(1 + (s / l)²))) with s and l the smaller and larger of |x| and 1."""
    smpc, ctx = ev.smpc, ev.ctx
    one = _constant(ev, x, 1.0)
    magnitude = comparison.absolute(smpc, ctx, x.value)
    larger = comparison.maximum(smpc, ctx, magnitude, one)
    smaller = magnitude + one - larger
    ratio = division.divide(smpc, ctx, smaller, larger, ev.scale)
    root = roots.square_root(smpc, ctx, one + smpc.square(ctx, ratio, ev.scale), ev.scale)
    y = _logarithm(ev, larger) + _logarithm(ev, smaller + root)
    return Secret(comparison.copy_sign(smpc, ctx, y, x.value), x.dtype)


@_unary(lax.acosh_p, error=_TWO_ULP)
def _acosh(ev: Evaluator, x: Secret) -> Secret:
    """log(x + 1) + 2·log(1 + r) - log(2) with r² = (x - 1) / (x + 1), for x >= 1."""
    smpc, ctx = ev.smpc, ev.ctx
    one = _constant(ev, x, 1.0)
    value = comparison.maximum(smpc, ctx, x.value, one)
    precise = 1 << fraction_bits(smpc.ring)
    square = division.divide(smpc, ctx, value - one, value + one, precise**2 / 4)
    r = roots.square_root(smpc, ctx, square, 4.0) + public(smpc, ctx, precise, value)
    double = exponential.logarithm(smpc, ctx, r, precise, 2 * ev.scale / _LOG2_E)
    half = _constant(ev, x, math.log(2))
    return Secret(_logarithm(ev, value + one) + double - half, x.dtype)


@_unary(lax.atanh_p, error=_TWO_ULP)
def _atanh(ev: Evaluator, x: Secret) -> Secret:
    """(log(1 + x) - log(1 - x)) / 2 for |x| <= 1; the ends count as one ulp away."""
    value, one = _to_unit(ev, x), _constant(ev, x, 1.0)
    both = (one + value).map(lambda a, b: jnp.stack([a, b]), one - value)
    scale = ev.scale / _LOG2_E / 2
    logs = exponential.logarithm(ev.smpc, ev.ctx, both, ev.scale, scale)
    return Secret(logs.map(lambda w: w[0] - w[1]), x.dtype)


# Trigonometric functions.


def _sine(ev: Evaluator, x: Secret, turns: float, scale: float) -> Shared:
    return trigonometry.sine(ev.smpc, ev.ctx, x.value, ev.scale, scale, turns)


_PERIODIC = "2 ulp and |x|·2^-45"


@_unary(lax.sin_p, error=_PERIODIC)
def _sin(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_sine(ev, x, 0.0, ev.scale), x.dtype)


@_unary(lax.cos_p, error=_PERIODIC)
def _cos(ev: Evaluator, x: Secret) -> Secret:
    return Secret(_sine(ev, x, 0.25, ev.scale), x.dtype)


@_unary(lax.tan_p, error="(2^-23 + |x|·2^-45)·(1 + tan²) or 1 ulp")
def _tan(ev: Evaluator, x: Secret) -> Secret:
    precise = 1 << fraction_bits(ev.smpc.ring)
    sine, cosine = (_sine(ev, x, turns, precise) for turns in (0.0, 0.25))
    return Secret(division.divide(ev.smpc, ev.ctx, sine, cosine, ev.scale), x.dtype)


@rule(lax.atan2_p, cost="function", error="3 ulp")
def _atan2(ev: Evaluator, y: Any, x: Any) -> Secret:
    y, x = ev.secrets(*arithmetic.aligned(y, x))
    angle = trigonometry.arc_tangent(ev.smpc, ev.ctx, y.value, x.value, ev.scale)
    return Secret(angle, y.dtype)


@_unary(lax.atan_p, error="3 ulp")
def _atan(ev: Evaluator, x: Secret) -> Secret:
    one = _constant(ev, x, 1.0)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, x.value, one, ev.scale), x.dtype)


def _to_unit(ev: Evaluator, x: Secret, end: float = 1.0) -> Shared:
    """x clamped to [-end, end]."""
    limit = _constant(ev, x, end)
    low = comparison.maximum(ev.smpc, ev.ctx, x.value, -limit)
    return comparison.minimum(ev.smpc, ev.ctx, low, limit)


def _on_circle(ev: Evaluator, x: Secret) -> tuple[Shared, Shared]:
    """x clamped to [-1, 1], and √(1 - x²): (1 - x)·(1 + x) is exact before its root is taken."""
    value, one = _to_unit(ev, x), _constant(ev, x, 1.0)
    product = ev.smpc.mul_aa(ev.ctx, one - value, one + value)
    return value, roots.square_root(ev.smpc, ev.ctx, product, 1.0)


@_unary(lax.asin_p, error="3 ulp")
def _asin(ev: Evaluator, x: Secret) -> Secret:
    value, other = _on_circle(ev, x)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, value, other, ev.scale), x.dtype)


@_unary(lax.acos_p, error="3 ulp")
def _acos(ev: Evaluator, x: Secret) -> Secret:
    value, other = _on_circle(ev, x)
    return Secret(trigonometry.arc_tangent(ev.smpc, ev.ctx, other, value, ev.scale), x.dtype)


# Functions of `jax.nn` whose parts would overflow for large operands.

_exact_gelu = functools.partial(jax.nn.gelu, approximate=False)


@_unary(pattern("silu", jax.nn.silu))
def _silu(ev: Evaluator, x: Secret) -> Secret:
    return Secret(sigmoid.logistic_gate(ev.smpc, ev.ctx, x.value, ev.scale), x.dtype)


@_unary(pattern("gelu_tanh", jax.nn.gelu), error=_TWO_ULP)
def _gelu_tanh(ev: Evaluator, x: Secret) -> Secret:
    return _normal_gate(ev, x, sigmoid.gelu_tanh_gate)


@_unary(pattern("gelu", _exact_gelu), error=_TWO_ULP)
def _gelu(ev: Evaluator, x: Secret) -> Secret:
    return _normal_gate(ev, x, sigmoid.gelu_gate)


def _normal_gate(ev: Evaluator, x: Secret, gate: Callable[[np.ndarray], np.ndarray]) -> Secret:
    return Secret(sigmoid.normal_gate(ev.smpc, ev.ctx, x.value, ev.scale, gate), x.dtype)
