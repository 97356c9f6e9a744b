"""Rules for sums, products and products with public factors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.functions.polynomial import public
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring import bilinear
from jsmpc._src.ring.bilinear import Bilinear


def is_known(x: Any) -> bool:
    """Whether an operand is a public value known while the program is traced."""
    return not is_secret(x) and not isinstance(x, jax.core.Tracer)


def _spread(x: Any, shape: tuple[int, ...]) -> Any:
    """An operand broadcast to a shape, secret or public."""
    if tuple(np.shape(x) if not is_secret(x) else x.shape) == shape:
        return x
    if is_secret(x):
        return x.map(lambda w: jnp.broadcast_to(w, shape))
    return np.broadcast_to(x, shape) if is_known(x) else jnp.broadcast_to(x, shape)


def aligned(*operands: Any) -> list[Any]:
    """Operands of one shape: scalars stand beside arrays in a jaxpr."""
    shapes = [x.shape if is_secret(x) else np.shape(x) for x in operands]
    shape = np.broadcast_shapes(*shapes)
    return [_spread(x, shape) for x in operands]


def plus(ev: Evaluator, x: Any, y: Any) -> Secret:
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    if is_secret(y):
        return Secret(x.value + y.value, x.dtype)
    return Secret(ev.smpc.add_ap(ev.ctx, x.value, ev.words(ev.saturated(y), x.dtype)), x.dtype)


@rule(lax.add_p, P.add_jaxvals_p, cost="local", modular=Modular(ranges.total))
def _add(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    return plus(ev, x, y)


@rule(lax.sub_p, cost="local", modular=Modular(ranges.difference))
def _sub(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    if is_secret(y):
        return plus(ev, x, Secret(-y.value, y.dtype))
    x, y = aligned(x, y)
    words = -ev.words(ev.saturated(y), x.dtype)
    return Secret(ev.smpc.add_ap(ev.ctx, x.value, words), x.dtype)


@rule(lax.neg_p, cost="local", modular=Modular(ranges.negative))
def neg(ev: Evaluator, x: Secret) -> Secret:
    return Secret(-x.value, x.dtype)


def public_factor(ev: Evaluator, y: Any, dtype: Any) -> tuple[Any, int | None]:
    """Ring elements and a divisor that together stand for a public factor.

    A known factor below one gets as many digits more as it has leading zeros: multiplying by a
    small learning rate is as precise as by one.
    """
    if not jnp.issubdtype(dtype, jnp.floating):
        return ev.words(y, dtype), None
    if not is_known(y):
        return ev.words(y, dtype), ev.scale
    value = np.asarray(y, np.float64)
    ev.smpc.encoding.check(value, ev.smpc.ring, f"{ev.eqn.primitive.name} at {ev.line}: a factor")
    if (value == np.round(value)).all():
        return jnp.asarray(value.astype(np.int64)).astype(ev.smpc.ring.dtype), None
    base, divisor = ev.smpc.encoding.base, ev.scale
    largest = np.abs(value).max()
    while largest * divisor * base <= ev.scale and divisor * base <= ev.smpc.ring.bound:
        divisor *= base
    words = np.round(value * divisor).astype(np.int64)
    return jnp.asarray(words).astype(ev.smpc.ring.dtype), divisor


def scaled(ev: Evaluator, x: Secret, words: Any, divisor: int | None) -> Secret:
    """A secret times public ring elements, divided by a public divisor."""
    value = x.value * words
    return Secret(value if divisor is None else ev.smpc.truncate(ev.ctx, value, divisor), x.dtype)


@rule(lax.mul_p, cost="product", error="1 ulp", modular=Modular(ranges.product))
def _mul(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    return mul(ev, *(as_number(ev, v, ev.dtype) for v in (x, y)))


def mul(ev: Evaluator, x: Any, y: Any) -> Secret:
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    if x is y:
        return square(ev, x)
    if is_secret(y):
        divisor = ev.divisor(x.dtype)
        return Secret(ev.smpc.mul_aa(ev.ctx, x.value, y.value, divisor), x.dtype)
    finite, infinite = ev.parts(y)
    result = scaled(ev, x, *public_factor(ev, finite, y.dtype))
    if infinite is None:
        return result
    whole = jnp.asarray(infinite).astype(np.int64).astype(ev.smpc.ring.dtype)
    return Secret(result.value + x.value * whole, x.dtype)


@rule(lax.square_p, cost="product", error="1 ulp", modular=Modular(ranges.squared))
def square(ev: Evaluator, x: Secret) -> Secret:
    return Secret(ev.smpc.square(ev.ctx, x.value, ev.divisor(x.dtype)), x.dtype)


@rule(*compat.primitives("one_minus_square"), cost="product", error="1 ulp")
def _one_minus_square(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    """(1 - x)·(1 + x), the derivative of tanh by its value."""
    one = np.ones((), x.dtype)
    return mul(ev, plus(ev, Secret(-x.value, x.dtype), one), plus(ev, x, one))


@rule(*compat.primitives("polynomial"), cost="product", error="1 ulp a product")
def _polynomial(ev: Evaluator, x: Any, *coefficients: Any, **_: Any) -> Any:
    """c_0 + x·(c_1 + x·(c_2 + …)), each operand secret or public."""
    *rest, result = coefficients
    for c in reversed(rest):
        products = any(map(is_secret, (result, x)))
        result = mul(ev, result, x) if products else result * x
        result = plus(ev, result, c) if products or is_secret(c) else result + c
    return aligned(result, x)[0]


def power(ev: Evaluator, x: Secret, y: int) -> Secret:
    """x^y for y >= 1, by squaring."""
    result: Secret | None = None
    while True:
        if y & 1:
            result = x if result is None else mul(ev, result, x)
        y >>= 1
        if not y:
            assert result is not None
            return result
        x = square(ev, x)


def as_number(ev: Evaluator, x: Any, dtype: Any = np.int32) -> Any:
    """Booleans as 0 and 1; if `dtype` is one of floating-point numbers, integers as those."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    if not is_secret(x):
        return x.astype(dtype) if x.dtype == bool or floating else x
    if x.dtype == bool:
        x = Secret(ev.smpc.b2a(ev.ctx, x.value), np.dtype(np.int32))
    if floating and jnp.issubdtype(x.dtype, jnp.integer):
        x = x.map(lambda w: w * ev.smpc.ring.constant(ev.scale), dtype)
    return x


def _bilinear(ev: Evaluator, f: Bilinear, x: Any, y: Any) -> Secret:
    dtype = ev.dtype
    if dtype == BOOL:
        raise ev.unsupported(
            "a product of booleans is not computed: convert them with .astype(int), or use "
            "jnp.any and jnp.all"
        )
    x, y = (as_number(ev, v, dtype) for v in (x, y))
    if is_secret(x) and is_secret(y):
        value = ev.smpc.product(ev.ctx, f, x.value, y.value, ev.divisor(x.dtype))
        return Secret(value, dtype)
    if is_secret(x):
        words, divisor = public_factor(ev, y, y.dtype)
        value = x.value.map(lambda w: f((w, words)))
    else:
        words, divisor = public_factor(ev, x, x.dtype)
        value = y.value.map(lambda w: f((words, w)))
    return Secret(value if divisor is None else ev.smpc.truncate(ev.ctx, value, divisor), dtype)


_SUMS = Modular(ranges.contraction)


@rule(lax.dot_general_p, cost="product", error="1 ulp", modular=_SUMS)
def _dot_general(ev: Evaluator, x: Any, y: Any, *, dimension_numbers: Any, **_: Any) -> Secret:
    return _bilinear(ev, bilinear.dot_general(dimension_numbers), x, y)


@rule(lax.conv_general_dilated_p, cost="product", error="1 ulp", modular=_SUMS)
def _convolution(
    ev: Evaluator,
    x: Any,
    y: Any,
    *,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: Any,
    feature_group_count: int,
    batch_group_count: int,
    **_: Any,
) -> Secret:
    f = Bilinear(
        "convolution",
        (
            tuple(window_strides),
            tuple(map(tuple, padding)),
            tuple(lhs_dilation),
            tuple(rhs_dilation),
            dimension_numbers,
            feature_group_count,
            batch_group_count,
        ),
    )
    return _bilinear(ev, f, x, y)


def constant(ev: Evaluator, x: Secret, value: float) -> Shared:
    """A number in x's encoding and shape."""
    return public(ev.smpc, ev.ctx, value * ev.scale, x.value)
