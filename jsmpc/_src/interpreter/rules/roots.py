"""Rules for roots and powers."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import comparison, exponential, roots, rounding
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import A_PRODUCT, ONE_ULP, Bound, Growth
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.guards import guarded_sqrt_p
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule, unary
from jsmpc._src.interpreter.rules.arithmetic import (
    aligned,
    as_number,
    at_most,
    is_known,
    power,
)
from jsmpc._src.interpreter.rules.division import reciprocal
from jsmpc._src.interpreter.scales import digits_of
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.protocols.base import Shared
from jsmpc._src.protocols.bits import Bits

_ROOT = Bound(ulps=1, relative=2**-22)
_POWER = Bound(
    ulps=1,
    relative=2**-21,
    growth=Growth("|y|·2^-25·|result|", lambda result, x, y: abs(y) * 2**-25 * abs(result)),
)


@rule(
    lax.integer_pow_p,
    cost="product",
    error=A_PRODUCT,
    modular=Modular(ranges.integer_power),
    scaled=True,
)
def _integer_pow(ev: Evaluator, x: Secret, *, y: int) -> Any:
    if y == 0:
        return jnp.ones(x.shape, x.dtype)
    if y > 0:
        return power(ev, x, y)
    if y == -1 and jnp.issubdtype(x.dtype, jnp.floating):
        return reciprocal(ev, x)
    ev, x = ev.unplanned(), ev.recoded(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ev.unsupported("a negative power of an integer: convert it with .astype(float) first")
    return power(ev, reciprocal(ev, x), -y)


@unary(lax.sqrt_p, error=_ROOT, scaled=True)
def _sqrt(ev: Evaluator, x: Secret) -> Secret:
    return _root(ev, x)


def _root(ev: Evaluator, x: Secret, positive: bool = False) -> Secret:
    factor = ev.wanted.scale**2 / ev.scale_of(x)
    value = roots.square_root(ev.smpc, ev.ctx, x.value, factor, positive=positive)
    return ev.number(value, x.dtype, ev.wanted)


@rule(guarded_sqrt_p, cost="function", error=_ROOT, scaled=True)
def _guarded_sqrt(ev: Evaluator, x: Secret, *, guard: float) -> Secret:
    """√x of a divisor √x + guard: below the guard's resolution, x <= 0 counts as one ulp.

    An x that has underflowed is anything below one ulp, and its root anything below √ulp: so much
    is kept of a guard that is smaller, and a quotient is off by less than 1/√ulp of its numerator.
    """
    return _root(ev, x, positive=guard < ev.scale_of(x) ** -0.5)


@unary(lax.rsqrt_p, error=_ROOT, scaled=True)
def _rsqrt(ev: Evaluator, x: Secret) -> Secret:
    factor = ev.wanted.scale * ev.scale_of(x) ** 0.5
    value = roots.inverse_square_root(ev.smpc, ev.ctx, x.value, factor)
    return ev.number(value, x.dtype, ev.wanted)


@unary(lax.cbrt_p, error=ONE_ULP, scaled=True)
def _cbrt(ev: Evaluator, x: Secret) -> Secret:
    x = at_most(ev, x, 3 * digits_of(ev.wanted))
    factor = ev.wanted.scale**3 / ev.scale_of(x)
    return ev.number(exponential.cube_root(ev.smpc, ev.ctx, x.value, factor), x.dtype, ev.wanted)


@rule(lax.pow_p, cost="function", error=_POWER, scaled=True)
def _pow(ev: Evaluator, x: Any, y: Any) -> Any:
    if is_known(y):
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
            unit, scale = ev.scale_of(x), ev.wanted.scale
            value = exponential.public_power(ev.smpc, ev.ctx, x.value, first, unit, scale)
            return ev.number(value, x.dtype, ev.wanted)
    dtype = np.dtype(jnp.result_type(x.dtype, jnp.float32))
    ev, x, y = ev.unplanned(), *map(ev.recoded, aligned(x, y))
    if is_known(x) and x.size and (x == x.flat[0]).all() and x.flat[0] > 0:
        return _power_of_public(ev, float(x.flat[0]), y, dtype)
    if not is_secret(y):
        return _to_public_powers(ev, x, y.astype(dtype))
    if not jnp.issubdtype(ev.dtype, jnp.floating):
        raise ev.unsupported("a secret integer exponent: convert it with .astype(float) first")
    base = ev.secret(x, dtype).value
    if is_known(x) and (x >= 0).all():
        exponent = ev.recoded(as_number(ev, y, dtype)).value
        return Secret(exponential.power_of(ev.smpc, ev.ctx, base, exponent, ev.scale), dtype)
    return _to_secret_powers(ev, base, y, dtype)


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
    whole = (y == jnp.round(y)).astype(np.uint8)
    odd = (y % 2 == 1).astype(np.uint8)
    exponent = ev.secret(y, y.dtype).value
    return Secret(_signed_power(ev, x.value, exponent, whole, odd), y.dtype)


def _to_secret_powers(ev: Evaluator, x: Shared, y: Secret, dtype: Any) -> Secret:
    """x^y for numbers, or integers, y; as `_to_public_powers`."""
    smpc, ctx = ev.smpc, ev.ctx
    exponent = ev.recoded(as_number(ev, y, dtype)).value
    whole: Any = np.ones(y.shape, np.uint8)
    floor = y.value
    if jnp.issubdtype(y.dtype, jnp.floating):
        floor = rounding.floor(smpc, ctx, exponent, ev.scale)
        whole = smpc.is_zero(ctx, exponent - floor * smpc.ring.constant(ev.scale))
    return Secret(_signed_power(ev, x, exponent, whole, smpc.lsb(ctx, floor)), dtype)


def _signed_power(ev: Evaluator, x: Shared, exponent: Shared, whole: Any, odd: Any) -> Shared:
    """x^exponent, given for which exponents there is one of negative x, and a negative one.

    Both are bits, public or shared.
    """
    smpc, ctx = ev.smpc, ev.ctx
    negative = smpc.msb(ctx, x)

    def both(bit: Any) -> Bits[Any]:
        shared = isinstance(bit, Bits)
        return smpc.and_bb(ctx, negative, bit) if shared else negative & bit

    base = comparison.select(smpc, ctx, both(whole), -x, x)
    value = exponential.power_of(smpc, ctx, base, exponent, ev.scale)
    return comparison.select(smpc, ctx, both(odd), -value, value)
