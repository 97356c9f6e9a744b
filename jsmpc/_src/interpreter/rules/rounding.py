"""Rules for rounding, and for the remainder of a division."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax

from jsmpc._src.functions import integers as division
from jsmpc._src.functions import rounding
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules import integers
from jsmpc._src.interpreter.rules.arithmetic import aligned, is_known
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.protocols.base import Shared


def _scaled(ev: Evaluator, whole: Shared, x: Secret) -> Secret:
    """Whole numbers in the encoding."""
    return Secret(whole * ev.smpc.ring.constant(ev.scale), x.dtype)


@rule(lax.floor_p, cost="comparison")
def _floor(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    return _scaled(ev, rounding.floor(ev.smpc, ev.ctx, x.value, ev.scale), x)


@rule(lax.ceil_p, cost="comparison")
def _ceil(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    return _scaled(ev, -rounding.floor(ev.smpc, ev.ctx, -x.value, ev.scale), x)


@rule(lax.round_p, cost="comparison")
def _round(ev: Evaluator, x: Secret, *, rounding_method: Any, **_: Any) -> Secret:
    even = rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN
    return _scaled(ev, rounding.nearest(ev.smpc, ev.ctx, x.value, ev.scale, even), x)


@rule(lax.rem_p, cost="long division")
def _rem(ev: Evaluator, x: Any, y: Any, **_: Any) -> Secret:
    """x - y·trunc(x/y) of what the encoding holds, exact.

    By a known number a truncation. Otherwise a long division of the encoded values, and x where
    the divisor is 0, for which JAX has NaN.
    """
    if integers.is_integer(x):
        return integers.remainder(ev, x, y)
    x, y = aligned(x, y)
    if not is_secret(y) and is_known(y) and np.size(y):
        divisor = np.asarray(y).flat[0]
        if (np.asarray(y) == divisor).all():
            ev.words(divisor, x.dtype)  # checks the range
            units = abs(round(float(divisor) * ev.scale))
            if not units:
                raise ev.unsupported("the remainder of a secret divided by a public zero")
            quotient = rounding.toward_zero(ev.smpc, ev.ctx, x.value, units)
            return Secret(x.value - quotient * ev.smpc.ring.constant(units), x.dtype)
    x, y = ev.secrets(x, y)
    width = ev.smpc.bits - 2
    return Secret(division.truncated(ev.smpc, ev.ctx, x.value, y.value, width)[1], x.dtype)
