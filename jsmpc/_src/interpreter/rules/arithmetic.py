"""Rules for sums, products and products with public factors."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.functions.polynomial import public
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import A_PRODUCT, ROUNDED
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular, Range
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.scales import Kept, digits_of, room
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring import bilinear
from jsmpc._src.ring.bilinear import MULTIPLY, Bilinear
from jsmpc._src.ring.division import Divisors

Array = jax.Array


def is_known(x: Any) -> bool:
    """Whether an operand is a public value known while the program is traced."""
    return not is_secret(x) and not tracing.is_traced(x)


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
    x, y = ev.of_one_encoding(*aligned(x, y))
    if not is_secret(x):
        x, y = y, x
    encoding = ev.encoding_of(x)
    if is_secret(y):
        total = ranges.total(None, x.range, y.range)
        return ev.number(x.value + y.value, x.dtype, encoding, total)
    return _plus_public(ev, x, ev.saturated(y, encoding))


def _plus_public(ev: Evaluator, x: Secret, y: Any, sign: int = 1) -> Secret:
    """x + y, or x - y, in x's encoding."""
    encoding = ev.encoding_of(x)
    words = ev.words(y, x.dtype, encoding)
    between = ev.range_of(y, encoding)
    total = (ranges.total if sign > 0 else ranges.difference)(None, x.range, between)
    value = ev.smpc.add_ap(ev.ctx, x.value, words if sign > 0 else -words)
    return ev.number(value, x.dtype, encoding, total)


@rule(lax.add_p, P.add_jaxvals_p, cost="local", modular=Modular(ranges.total), scaled=True)
def _add(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    return plus(ev, x, y)


@rule(lax.sub_p, cost="local", modular=Modular(ranges.difference), scaled=True)
def _sub(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    if is_secret(y):
        return plus(ev, x, neg(ev, y))
    x, y = ev.of_one_encoding(*aligned(x, y))
    return _plus_public(ev, x, ev.saturated(y, ev.encoding_of(x)), -1)


@rule(lax.neg_p, cost="local", modular=Modular(ranges.negative), scaled=True)
def neg(ev: Evaluator, x: Secret) -> Secret:
    return ev.number(-x.value, x.dtype, ev.encoding_of(x), ranges.negative(None, x.range))


def times_public(
    ev: Evaluator, x: Secret, y: Any, f: Bilinear = MULTIPLY, first: bool = True
) -> Secret:
    """f(x, y) for a public y, or f(y, x) if x is not first; elementwise, of operands of one shape.

    Off by 1 ulp, and for an inexact y by its rounding: see `_known_factor`, `_running_factor`.
    """

    def pair(x: Any, y: Any) -> tuple[Any, Any]:
        return (x, y) if first else (y, x)

    def check(words: Any, between: Range) -> Range:
        of_a_pair = ranges.product(None, x.range, between)
        return ev.check_product(f, *pair(x.value, words), of_a_pair)

    def times(value: Shared, words: Array) -> Shared:
        return value.map(lambda w, v: f(pair(w, v)), words)

    if not jnp.issubdtype(x.dtype, jnp.floating):
        return Secret(times(x.value, ev.words(y, y.dtype)), x.dtype)
    if not is_known(y):
        digits = digits_of(ev.smpc.encoding)
        if digits_of(ev.encoding_of(x)) < min(digits, digits_of(ev.wanted)):
            x = ev.recoded(x)
        x = with_room(ev, x, digits)
        ones, rest = _ones_and_rest(ev, y, f == MULTIPLY)
        if ev.checks_overflow:
            check(ev.smpc.encode(rest), ranges.ANYTHING)
            if ones is not None:
                check(ones, ranges.ANYTHING)
        value = _running_factor(ev, x.value, rest, times, f == MULTIPLY)
        value = value if ones is None else value + times(x.value, ones)
        return ev.number(value, x.dtype, ev.encoding_of(x))
    known = np.asarray(y, np.float64)
    whole, divisors = _known_factor(ev, known, f == MULTIPLY, _digits_of_factor(ev, x, known))
    between = int(whole.min(initial=0)), int(whole.max(initial=0))
    words = jnp.asarray(whole).astype(ev.smpc.ring.dtype)
    if divisors is None:
        x = with_room(ev, x)
        reached = check(words, between)
        return ev.number(times(x.value, words), x.dtype, ev.encoding_of(x), reached)
    base = ev.smpc.encoding.base
    x = with_room(ev, x, round(math.log(divisors.max(), base)))
    reached = check(words, between)
    wanted = ev.wanted if ev.kept or digits_of(ev.encoding_of(x)) == 0 else ev.encoding_of(x)
    more = digits_of(wanted) - digits_of(ev.encoding_of(x))  # digits that need no division
    fewest, most = (round(math.log(d, base)) for d in (divisors.min(), divisors.max()))
    more = max(min(more, fewest), most - room(base, ev.smpc.ring))
    divisors = divisors // base**more if more > 0 else divisors * base**-more
    value = times(x.value, words)
    if (divisors > 1).any():
        value = ev.smpc.truncate(ev.ctx, value, Divisors.of(divisors))
    reached = ranges.truncated(reached, int(divisors.min()), ev.smpc.ring)
    return ev.number(value, x.dtype, ev.coded(digits_of(ev.encoding_of(x)) + more), reached)


def with_room(ev: Evaluator, x: Any, digits: int = 0) -> Any:
    """A number with so few digits behind the point that its sum, or its product with a factor of
    so many digits, has room, as far as a plan tells how large this is."""
    spare = ev.spare(digits)
    return x if spare is None else at_most(ev, x, spare)


def at_most(ev: Evaluator, x: Any, digits: int) -> Any:
    """A number with at most so many digits behind the point; others as they are."""
    number = is_secret(x) and jnp.issubdtype(x.dtype, jnp.floating)
    fine = number and digits_of(ev.encoding_of(x)) > digits
    return ev.recoded(x, ev.coded(digits)) if fine else x


def _digits_of_factor(ev: Evaluator, x: Secret, y: np.ndarray) -> int:
    """The digits behind the point of a known factor: those of the protocol's encoding, or fewer,
    if the product has no room for x with so many; 2^-19 of the least factor is rounded at most."""
    usual, spare = digits_of(ev.smpc.encoding), ev.spare(digits_of(ev.encoding_of(x)))
    size = np.abs(y[y != 0])
    if spare is None or spare >= usual or not size.size:
        return usual
    needed = math.ceil(math.log(2**19 / size.min(), ev.smpc.encoding.base))
    return min(max(spare, needed, 0), usual)


def _known_factor(
    ev: Evaluator, y: np.ndarray, elementwise: bool, digits: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Whole numbers and divisors that together stand for a public factor; None for none.

    It has `digits` behind the point; one below one gets as many more as it has leading zeros:
    multiplying by a small learning rate is as precise as by one. Where the factors of an
    elementwise product differ so much that the digits of the largest would round others by more
    than 2^-17 of themselves, each gets its own.
    """
    ring, base = ev.smpc.ring, ev.smpc.encoding.base
    y = ev.fitting(y, what="factor")
    if (y == np.round(y)).all():
        return y.astype(np.int64), None
    size, divisors = np.abs(y), np.full(y.shape, ev.coded(digits).scale, np.int64)
    size = np.where(size == 0, size.max(), size)
    while (grows := (size * divisors * base <= ev.scale) & (divisors <= ring.bound // base)).any():
        divisors = np.where(grows, divisors * base, divisors)
    least = int(divisors.min())
    rounding = np.abs(np.round(y * least) - y * least)
    if not elementwise or (rounding <= size * least * 2.0**-17).all():
        divisors = np.full(y.shape, least)
    return np.round(y * divisors).astype(np.int64), divisors


def _ones_and_rest(ev: Evaluator, y: Any, elementwise: bool) -> tuple[Array | None, Array]:
    """A public y that is known when the program runs, as the words of whole numbers, whose products
    need no truncation and have all the room of the ring, and what is less than one.

    Of a general product, whose operands are weights, none is taken to be so large.
    """
    rest = ev.fitting(jnp.asarray(y, np.float64))
    if not elementwise:
        return None, rest
    whole = jnp.round(rest)
    return whole.astype(np.int64).astype(ev.smpc.ring.dtype), rest - whole


def _running_factor(
    ev: Evaluator, x: Shared, y: Array, times: Callable[[Shared, Array], Shared], elementwise: bool
) -> Shared:
    """[x·y] for a public y that is known when the program runs, so that its scale cannot be.

    1. y = (y_0 + y_1 / s + y_2 / s²) / s with the encoding's scale s and |y_1|, |y_2| <= s/2.
    2. Truncate x by s, and by s².
    3. [x·y_0 + (x/s)·y_1 + (x/s²)·y_2], truncated by s.

    A general product has two such terms, as its operands are weights rather than rates.
    Off by 2 ulp, or by |x|/s² (general: half an ulp a summand more, and |x|/s), for every x and y
    whose product is in range. Cost: a truncation of x for each term but the first.
    """
    smpc, s = ev.smpc, ev.scale
    rest = y * s
    total: Shared | None = None
    for i in range(3 if elementwise else 2):
        part = smpc.truncate(ev.ctx, x, s**i) if i else x
        digit = jnp.round(rest)
        rest = (rest - digit) * s
        term = times(part, digit.astype(np.int64).astype(smpc.ring.dtype))
        total = term if total is None else total + term
    assert total is not None
    return smpc.truncate(ev.ctx, total, s)


@rule(lax.mul_p, cost="product", error=ROUNDED, modular=Modular(ranges.product), scaled=True)
def _mul(ev: Evaluator, x: Any, y: Any, **_: Any) -> Any:
    return mul(ev, *(as_number(ev, v, ev.dtype) for v in (x, y)))


def mul(ev: Evaluator, x: Any, y: Any) -> Any:
    """x·y; where a factor is known to be zero, the result is public."""
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    if is_known(y) and not np.any(y):
        return np.zeros(np.shape(y), x.dtype)
    if x is y:
        return square(ev, x)
    if is_secret(y):
        return product(ev, MULTIPLY, x, y)
    finite, infinite = ev.parts(y, ev.wanted)
    result = times_public(ev, x, finite)
    if infinite is None:
        return result
    whole = jnp.asarray(infinite).astype(np.int64).astype(ev.smpc.ring.dtype)
    return plus(ev, result, Secret(x.value * whole, x.dtype, encoding=x.encoding))


def product(ev: Evaluator, f: Bilinear, x: Secret, y: Secret) -> Secret:
    """f(x, y) of secrets of one dtype, truncated at most once.

    Of numbers without digits behind the point, as bits and one-hot vectors are, not at all.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return Secret(ev.smpc.product(ev.ctx, f, x.value, y.value), x.dtype)
    x, y = _with_room_for_each_other(ev, x, y)
    reached = ev.check_product(f, x.value, y.value, ranges.product(None, x.range, y.range))
    digits = [digits_of(ev.encoding_of(v)) for v in (x, y)]
    whole = ev.kept is None and min(digits) == 0
    excess = 0 if whole else max(sum(digits) - digits_of(ev.wanted), 0)
    divisor = ev.smpc.encoding.base**excess if excess else None
    if x is y and f == MULTIPLY:
        value = ev.smpc.square(ev.ctx, x.value, divisor)
    else:
        value = ev.smpc.product(ev.ctx, f, x.value, y.value, divisor)
    reached = ranges.truncated(reached, divisor or 1, ev.smpc.ring)
    return ev.number(value, x.dtype, ev.coded(sum(digits) - excess), reached)


def _with_room_for_each_other(ev: Evaluator, x: Secret, y: Secret) -> tuple[Secret, Secret]:
    """Two factors; where their product has no room, the finer has fewer digits."""
    dx, dy = (digits_of(ev.encoding_of(v)) for v in (x, y))
    spare = ev.spare()
    if spare is None:
        return x, y
    spare = min(spare, digits_of(ev.wanted) + room(ev.smpc.encoding.base, ev.smpc.ring) - 2)
    if dx + dy <= spare:
        return x, y
    if x is y:
        half = ev.recoded(x, ev.coded(spare // 2))
        return half, half
    if dx < dy:
        return _with_room_for_each_other(ev, y, x)[::-1]
    y = ev.recoded(y, ev.coded(min(dy, spare // 2)))
    return ev.recoded(x, ev.coded(spare - digits_of(ev.encoding_of(y)))), y


@rule(lax.square_p, cost="product", error=ROUNDED, modular=Modular(ranges.squared), scaled=True)
def square(ev: Evaluator, x: Secret) -> Secret:
    return product(ev, MULTIPLY, x, x)


@rule(*compat.primitives("one_minus_square"), cost="product", error=ROUNDED)
def _one_minus_square(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    """(1 - x)·(1 + x), the derivative of tanh by its value."""
    one = np.ones((), x.dtype)
    return mul(ev, plus(ev, neg(ev, x), one), plus(ev, x, one))


@rule(*compat.primitives("polynomial"), cost="product", error=A_PRODUCT)
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
    rest, exponent, made = y, 1, 0  # of x as it is squared, and of the result so far
    result: Secret | None = None
    while True:
        if rest & 1:
            made += exponent
            result = x if result is None else mul(_of_power(ev, made, y), result, x)
        rest >>= 1
        if not rest:
            assert result is not None
            return result
        exponent *= 2
        x = square(_of_power(ev, exponent, y), x)


def _of_power(ev: Evaluator, k: int, y: int) -> Evaluator:
    """The evaluator of x^k on the way to x^y, which is as large as follows from the plan for this:
    with so many digits that a product of two such has room."""
    if ev.kept is None or k == y:
        return ev
    top = math.ceil(ev.kept.top * k / y)
    half = room(ev.smpc.encoding.base, ev.smpc.ring) // 2
    return dataclasses.replace(ev, plan={ev.path: (Kept(max(half - top, 0), top),)})


def as_number(ev: Evaluator, x: Any, dtype: Any = np.int32) -> Any:
    """Booleans as 0 and 1; if `dtype` is one of floating-point numbers, integers as those."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    if not is_secret(x):
        return x.astype(dtype) if x.dtype == bool or floating else x
    if x.dtype == bool:
        x = Secret(ev.smpc.b2a(ev.ctx, x.bits), np.dtype(np.int32), x.range)
    if floating and jnp.issubdtype(x.dtype, jnp.integer):
        x = from_integer(ev, x, dtype)
    return x


def from_integer(ev: Evaluator, x: Secret, dtype: Any) -> Secret:
    """An integer as a number without digits behind the point."""
    bounds = ranges.proven(x.dtype, ev.smpc.bits, x.range)
    return ev.number(x.value, dtype, ev.coded(0), bounds)


def _bilinear(ev: Evaluator, f: Bilinear, x: Any, y: Any) -> Secret:
    dtype = ev.dtype
    if dtype == BOOL:
        raise ev.unsupported(
            "a product of booleans is not computed: convert them with .astype(int), or use "
            "jnp.any and jnp.all"
        )
    x, y = (as_number(ev, v, dtype) for v in (x, y))
    if is_secret(x) and is_secret(y):
        result = product(ev, f, x, y)
    else:
        secret, public = (x, y) if is_secret(x) else (y, x)
        result = times_public(ev, secret, public, f, first=is_secret(x))
    return dataclasses.replace(result, dtype=dtype)


_SUMS = Modular(ranges.contraction)


@rule(lax.dot_general_p, cost="product", error=ROUNDED, modular=_SUMS, scaled=True)
def _dot_general(ev: Evaluator, x: Any, y: Any, *, dimension_numbers: Any, **_: Any) -> Secret:
    return _bilinear(ev, bilinear.dot_general(dimension_numbers), x, y)


@rule(lax.conv_general_dilated_p, cost="product", error=ROUNDED, modular=_SUMS, scaled=True)
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
