"""Rules for division."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import division
from jsmpc._src.functions.polynomial import fraction_bits
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import Bound
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.parts import part_p
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules import integers
from jsmpc._src.interpreter.rules.arithmetic import aligned, at_most, is_known, times_public
from jsmpc._src.interpreter.scales import digits_of, room
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.ring.division import Divisors


def reciprocal(ev: Evaluator, x: Secret, numerator: float = 1.0) -> Secret:
    """numerator / x for a public number."""
    if numerator == 0:
        return Secret(x.value - x.value, x.dtype)
    factor = abs(numerator) * ev.scale_of(x) * ev.wanted.scale
    value = division.reciprocal(ev.smpc, ev.ctx, x.value, factor)
    return ev.number(value if numerator > 0 else -value, x.dtype, ev.wanted)


@rule(
    lax.div_p,
    cost="function",
    error=Bound(ulps=1, relative=2**-22),
    modular=Modular(ranges.magnitude, slice(0)),
    scaled=True,
)
def _div(ev: Evaluator, x: Any, y: Any) -> Secret:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return integers.divide(ev, x, y)
    if not is_secret(y):
        return divided_by_public(ev, x, y)
    if is_known(x) and np.size(x) and (x == np.asarray(x).flat[0]).all():
        numerator = ev.checked(np.asarray(x), ev.wanted)
        return reciprocal(ev, y, float(numerator.flat[0]))
    x = ev.secret(x, y.dtype, ev.wanted)
    factor = ev.wanted.scale * ev.scale_of(y) / ev.scale_of(x)
    value = division.divide(ev.smpc, ev.ctx, x.value, y.value, factor)
    return ev.number(value, y.dtype, ev.wanted)


@rule(part_p, cost="function", error=Bound(ulps=1, relative=2**-22), scaled=True)
def _part(ev: Evaluator, x: Secret, whole: Secret, *, count: int) -> Secret:
    """x / whole for x <= 1 <= whole <= count: both times a power of two that makes the whole a
    mantissa."""
    base, ring = ev.smpc.encoding.base, ev.smpc.ring
    factor = 1 << fraction_bits(ring) + division.doublings(count)
    x = at_most(ev, x, room(base, ring) - math.ceil(math.log(2 * factor, base)))
    product = ev.scale_of(x) * factor
    wanted = ev.encoding_of(x) if product % ev.wanted.scale else ev.wanted
    unit, divisor = ev.scale_of(whole), product // wanted.scale
    value = division.part(ev.smpc, ev.ctx, x.value, whole.value, unit, count, divisor)
    return ev.number(value, x.dtype, wanted, ev.between(0, 1, wanted))


def divided_by_public(ev: Evaluator, x: Secret, y: Any) -> Secret:
    """x / y for a public y: by known whole numbers a truncation, else a product with 1 / y."""
    x, y = aligned(x, y)
    if not is_known(y):
        return times_public(ev, x, 1.0 / jnp.asarray(y, np.float64))
    values = np.asarray(y, np.float64)
    if (values == 0).any():
        raise ev.unsupported("division of a secret by a public zero")
    size = np.abs(values)
    if (values != np.round(values)).any() or (size > ev.smpc.ring.bound).any():
        return times_public(ev, x, 1.0 / values)
    spare = ev.spare(math.ceil(math.log(size.max(), ev.smpc.encoding.base)))
    digits = digits_of(ev.wanted) if spare is None else min(digits_of(ev.wanted), spare)
    if digits_of(ev.encoding_of(x)) < digits:
        x = ev.recoded(x, ev.coded(digits))
    value = x.value
    if (values < 0).any():
        value = value * np.sign(values).astype(np.int64).astype(ev.smpc.ring.dtype)
    value = ev.smpc.truncate(ev.ctx, value, Divisors.of(size.astype(np.int64)))
    reached = ranges.truncated(ranges.magnitude(None, x.range), int(size.min()), ev.smpc.ring)
    return ev.number(value, x.dtype, ev.encoding_of(x), reached)
