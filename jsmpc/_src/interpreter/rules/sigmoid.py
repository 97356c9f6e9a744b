"""Rules for sigmoids, the error function and the gates of `jax.nn`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from jax import lax

from jsmpc._src.functions import sigmoid
from jsmpc._src.functions.polynomial import fraction_bits
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.bounds import ONE_ULP, TWO_ULP, Bound
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.patterns import pattern
from jsmpc._src.interpreter.registry import unary
from jsmpc._src.interpreter.rules.arithmetic import at_most, constant
from jsmpc._src.interpreter.rules.comparison import to_unit
from jsmpc._src.interpreter.rules.exponential import LOG2_E
from jsmpc._src.interpreter.scales import room
from jsmpc._src.interpreter.secret import Secret


def _sigmoid(ev: Evaluator, x: Secret, rate: float, low: float, high: float) -> Secret:
    rate = rate * LOG2_E / ev.scale_of(x)
    value = sigmoid.logistic(ev.smpc, ev.ctx, x.value, rate, ev.wanted.scale, low, high)
    return ev.number(value, x.dtype, ev.wanted, ev.between(low, high, ev.wanted))


@unary(lax.logistic_p, error=ONE_ULP, scaled=True)
def _logistic(ev: Evaluator, x: Secret) -> Secret:
    return _sigmoid(ev, x, 1.0, 0.0, 1.0)


@unary(lax.tanh_p, error=ONE_ULP, scaled=True)
def _tanh(ev: Evaluator, x: Secret) -> Secret:
    return _sigmoid(ev, x, 2.0, -1.0, 1.0)


@unary(lax.erf_p, error=ONE_ULP)
def _erf(ev: Evaluator, x: Secret) -> Secret:
    value = sigmoid.error_function(ev.smpc, ev.ctx, x.value, ev.scale, ev.scale)
    compared = ranges.within(x.range, ev.smpc.ring.bound)  # rightly with both ends
    return Secret(value, x.dtype, ev.between(-1, 1) if compared else None)


@unary(lax.erfc_p, error=ONE_ULP)
def _erfc(ev: Evaluator, x: Secret) -> Secret:
    erf = _erf(ev, x)
    bounds = None if erf.bounds is None else ev.between(0, 2)
    return Secret(constant(ev, x, 1.0) - erf.value, x.dtype, bounds)


@unary(lax.erf_inv_p, error=Bound(ulps=4, relative=2**-14))
def _erf_inv(ev: Evaluator, x: Secret) -> Secret:
    value = to_unit(ev, x, 1 - 1 / ev.scale)
    return Secret(sigmoid.inverse_error_function(ev.smpc, ev.ctx, value, ev.scale), x.dtype)


_exact_gelu = functools.partial(jax.nn.gelu, approximate=False)


@unary(pattern("silu", jax.nn.silu), error=ONE_ULP, scaled=True)
def _silu(ev: Evaluator, x: Secret) -> Secret:
    x = _beside_a_gate(ev, x)
    value = sigmoid.logistic_gate(ev.smpc, ev.ctx, x.value, ev.scale_of(x))
    return ev.number(value, x.dtype, ev.encoding_of(x))


def _beside_a_gate(ev: Evaluator, x: Secret) -> Secret:
    """A number with so few digits that one of a gate's range has room for a factor below 1."""
    base, ring = ev.smpc.encoding.base, ev.smpc.ring
    factor = math.ceil(math.log(2 ** (fraction_bits(ring) + 3), base))
    return at_most(ev, ev.fine_enough(x), room(base, ring) - factor)


@unary(pattern("gelu_tanh", jax.nn.gelu), error=TWO_ULP, scaled=True)
def _gelu_tanh(ev: Evaluator, x: Secret) -> Secret:
    return _normal_gate(ev, x, sigmoid.gelu_tanh_gate)


@unary(pattern("gelu", _exact_gelu), error=TWO_ULP, scaled=True)
def _gelu(ev: Evaluator, x: Secret) -> Secret:
    return _normal_gate(ev, x, sigmoid.gelu_gate)


def _normal_gate(ev: Evaluator, x: Secret, gate: Callable[[np.ndarray], np.ndarray]) -> Secret:
    x = _beside_a_gate(ev, x)
    value = sigmoid.normal_gate(ev.smpc, ev.ctx, x.value, ev.scale_of(x), gate)
    return ev.number(value, x.dtype, ev.encoding_of(x))
