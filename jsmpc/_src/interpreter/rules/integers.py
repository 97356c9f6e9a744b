"""Rules for integers: division, shifts and bits.

A secret integer is not wrapped to its dtype's width when a sum or product leaves it, as long as
the ring holds it; revealing wraps it, and so do all operations on bits, right shifts and `~` of
unsigned integers among them. Comparison, division and conversion take it as it is.

As JAX on CPU, x // 0 is -1 (the largest value if unsigned), x rem 0 is x, and a shift by a negative
amount, or by at least the width, shifts everything out.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import circuits, comparison, integers, rounding
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import aligned, is_known, plus
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.protocols.base import Shared
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import blocks


def is_integer(x: Any) -> bool:
    return ranges.is_integer(x.dtype)


def _signed(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.signedinteger))


def _width(ev: Evaluator, x: Any) -> int:
    """The width of the dtype of a value whose bits are needed."""
    width = 8 * np.dtype(x.dtype).itemsize
    if width > ev.smpc.bits:
        raise ev.unsupported(
            f"the bits of {x.dtype} do not fit a ring of {ev.smpc.bits} bits. Use a narrower "
            "integer type or the 64-bit ring"
        )
    return width


def _word(ev: Evaluator, x: Any, width: int) -> Bits[Any]:
    """The lowest bits as a word, of a secret or a public operand."""
    if is_secret(x):
        return integers.word(ev.smpc, ev.ctx, x.value, width)
    return Bits(ev.smpc.constant(ev.ctx, jnp.asarray(x).astype(f"uint{width}")))


def _number(ev: Evaluator, word: Bits[Any], like: Any, signed: bool) -> Secret:
    value = circuits.b2a_words(ev.smpc, ev.ctx, word, signed)
    return Secret(value, np.dtype(like.dtype))


# Logic, bit by bit.


def complement(ev: Evaluator, x: Secret) -> Secret:
    """~x. Local."""
    top = -1 if _signed(x) else (1 << 8 * x.dtype.itemsize) - 1
    words = jnp.broadcast_to(ev.smpc.ring.constant(top), x.shape)
    return Secret(ev.smpc.add_ap(ev.ctx, -x.value, words), x.dtype)


def bitwise_and(ev: Evaluator, x: Any, y: Any) -> Secret:
    """x & y. Of a known mask only the bits up to its highest are computed."""
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    width = _width(ev, x)
    if is_secret(y):
        both = ev.smpc.and_bb(ev.ctx, _word(ev, x, width), _word(ev, y, width))
        return _number(ev, both, x, _signed(x))
    used, signed = width, _signed(x)
    if is_known(y) and np.size(y) and np.min(y) >= 0:
        used, signed = max(int(np.max(y)).bit_length(), 1), False
    word = integers.word(ev.smpc, ev.ctx, x.value, 8 * blocks.word_type(used).itemsize)
    return _number(ev, (word & jnp.asarray(y).astype(f"uint{word.width}")).low(used), x, signed)


def bitwise_or(ev: Evaluator, x: Any, y: Any) -> Secret:
    """x | y = x + y - (x & y)."""
    both = bitwise_and(ev, x, y)
    return Secret(plus(ev, x, y).value - both.value, both.dtype)


def bitwise_xor(ev: Evaluator, x: Any, y: Any) -> Secret:
    """x ^ y = x + y - 2·(x & y)."""
    both = bitwise_and(ev, x, y)
    return Secret(plus(ev, x, y).value - both.value - both.value, both.dtype)


@rule(lax.population_count_p, cost="function", modular=Modular())
def _population_count(ev: Evaluator, x: Secret) -> Secret:
    word = _word(ev, x, _width(ev, x))
    return Secret(integers.count_ones(ev.smpc, ev.ctx, word), x.dtype)


@rule(lax.clz_p, cost="function", modular=Modular())
def _clz(ev: Evaluator, x: Secret) -> Secret:
    width = _width(ev, x)
    word = circuits.below_first(ev.smpc, ev.ctx, _word(ev, x, width))
    set_bits = integers.count_ones(ev.smpc, ev.ctx, word)
    words = jnp.broadcast_to(ev.smpc.ring.constant(width), x.shape)
    return Secret(ev.smpc.add_ap(ev.ctx, -set_bits, words), x.dtype)


# Shifts.


_MOVED = Modular(operands=slice(1))


@rule(lax.shift_left_p, cost="function", modular=Modular(ranges.anything, slice(1)))
def _shift_left(ev: Evaluator, x: Any, amount: Any) -> Secret:
    """By a public amount a multiplication by a power of two, local."""
    x, amount = aligned(x, amount)
    if is_secret(amount):
        return _shift_secretly(ev, x, amount, "left")
    width, dtype = 8 * x.dtype.itemsize, ev.smpc.ring.dtype
    amount = jnp.asarray(amount)
    inside = (amount >= 0) & (amount < min(width, ev.smpc.bits))
    factor = jnp.where(inside, jnp.ones((), dtype) << jnp.where(inside, amount, 0).astype(dtype), 0)
    return Secret(x.value * factor.astype(dtype), x.dtype)


@rule(lax.shift_right_logical_p, cost="function", modular=_MOVED)
def _shift_right_logical(ev: Evaluator, x: Any, amount: Any) -> Secret:
    return _shift_right(ev, x, amount, "logical")


@rule(lax.shift_right_arithmetic_p, cost="function", modular=_MOVED)
def _shift_right_arithmetic(ev: Evaluator, x: Any, amount: Any) -> Secret:
    return _shift_right(ev, x, amount, "arithmetic")


def _shift_right(ev: Evaluator, x: Any, amount: Any, kind: str) -> Secret:
    """By a public amount local on the word's shares; its upper bits, if known, are not computed."""
    x, amount = aligned(x, amount)
    if is_secret(amount):
        return _shift_secretly(ev, x, amount, kind)
    width, fills = _width(ev, x), kind == "arithmetic"
    least = 0
    if is_known(amount) and np.size(amount) and (_signed(x) or not fills):
        amount = np.where(np.asarray(amount) < 0, width, amount)
        least = min(int(amount.min()), width - 1)
    amount = jnp.asarray(amount)
    outside = (amount < 0) | (amount >= width)
    amount = jnp.where(outside, width - 1, amount)

    word = integers.shifted(_word(ev, x, width), amount, kind)
    if not fills:
        word = word.map(lambda w: jnp.where(outside, jnp.zeros_like(w), w))
    return _number(ev, word.low(width - least), x, _signed(x) and (fills or not least))


def _shift_secretly(ev: Evaluator, x: Any, amount: Secret, kind: str) -> Secret:
    width = _width(ev, x)
    word = integers.shift(ev.smpc, ev.ctx, _word(ev, x, width), amount.value, kind)
    return _number(ev, word, x, _signed(x))


# Division.


def _uniform(y: Any) -> int:
    """The one value of a public divisor that is known, or 0."""
    if not is_known(y) or not np.size(y):
        return 0
    value = int(np.asarray(y).flat[0])
    return value if (np.asarray(y) == value).all() else 0


def divide(ev: Evaluator, x: Any, y: Any) -> Secret:
    """x / y rounded toward zero, exact. By a known number a truncation, else a long division."""
    x, y = aligned(x, y)
    known = _uniform(y)
    if known:
        return _quotient(ev, x, known)
    quotient, _, no_divisor = _long_division(ev, x, y)
    ones = ev.smpc.ring.constant(-1 if _signed(x) else (1 << 8 * np.dtype(x.dtype).itemsize) - 1)
    ones = ev.smpc.constant(ev.ctx, jnp.broadcast_to(ones, x.shape))
    value = comparison.select(ev.smpc, ev.ctx, no_divisor, ones, quotient)
    return Secret(value, np.dtype(x.dtype))


def remainder(ev: Evaluator, x: Any, y: Any) -> Secret:
    """x - y·(x / y), with the sign of x, exact. As `divide`."""
    x, y = aligned(x, y)
    known = _uniform(y)
    if known:
        quotient = _quotient(ev, x, known)
        return Secret(x.value - quotient.value * ev.smpc.ring.constant(known), x.dtype)
    return Secret(_long_division(ev, x, y)[1], np.dtype(x.dtype))


def _quotient(ev: Evaluator, x: Secret, divisor: int) -> Secret:
    if abs(divisor) >= ev.smpc.ring.bound:
        return Secret(x.value.map(jnp.zeros_like), x.dtype)
    value = rounding.toward_zero(ev.smpc, ev.ctx, x.value, abs(divisor))
    return Secret(value if divisor > 0 else -value, x.dtype)


def _long_division(ev: Evaluator, x: Any, y: Any) -> tuple[Shared, Shared, Bits[Any]]:
    x, y = ev.secrets(x, y)
    width = min(8 * x.dtype.itemsize, ev.smpc.bits - 2)
    return integers.truncated(ev.smpc, ev.ctx, x.value, y.value, width)
