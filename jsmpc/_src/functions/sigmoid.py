"""Sigmoid functions of shared numbers: logistic, tanh, erf and its kin."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable
from typing import Generic

import numpy as np

from jsmpc._src.functions.division import binary, is_power_of_two, reciprocal_of_mantissa
from jsmpc._src.functions.exponential import decay, logarithm
from jsmpc._src.functions.polynomial import (
    evaluate,
    fit,
    fit_even,
    fit_odd,
    fraction_bits,
    public,
    rescale,
)
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import GILES, cites
from jsmpc._src.runtime.routines import traced_once

_ERF_END = 4.0  # 1 - erf(4) < 2^-25
_LOGARITHM_END = 22.0  # -log(1 - x²) for x = 1 - 2^-30
GATE_END = math.sqrt(32)  # x·(1 - Φ(x)) < 2^-24 there
_LOG2_E = math.log2(math.e)


@dataclasses.dataclass(frozen=True)
class _Logistic(Generic[V]):
    """1 / (1 + e^-x) with F fractional bits; [x < 0]; whether |x| is small enough to matter."""

    value: V
    negative: Bits[V]
    near: Bits[V]


def _logistic(smpc: Protocol[V], ctx: Context, x: V, rate: float) -> _Logistic[V]:
    one = 1 << fraction_bits(smpc.ring)
    negative = smpc.msb(ctx, x)
    magnitude = x - (smpc.mul_ba(ctx, negative, x) << 1)
    unit = public(smpc, ctx, one, x)
    t, near = decay(smpc, ctx, magnitude, rate, one)
    r = reciprocal_of_mantissa(smpc, ctx, unit + t)
    value = r + smpc.mul_ba(ctx, negative, unit - (r << 1))
    return _Logistic(value, negative, near)


@traced_once
def logistic(
    smpc: Protocol[V], ctx: Context, x: V, rate: float, scale: float, low: float, high: float
) -> V:
    """[scale·y] with y = low + (high - low) / (1 + 2^(-rate·x)), for public rate > 0.

    1. [s] = [x < 0], [|x|]; t = 2^(-rate·|x|), and 1 + t is a mantissa.
    2. r = 1 / (1 + t) is the sigmoid of |x|, 1 - r that of -|x|.

    Off by less than one unit in the last place.

    Cost: 30 rounds, 227 bytes a party and element.
    """
    one = 1 << fraction_bits(smpc.ring)
    y = _logistic(smpc, ctx, x, rate).value
    span = rescale(smpc, ctx, y, (high - low) * scale / one, 2 * one)
    return span + public(smpc, ctx, low * scale, x)


@traced_once
def logistic_gate(smpc: Protocol[V], ctx: Context, x: V, unit: float) -> V:
    """[x / (1 + e^(-x/unit))], which is x or 0 where |x| is large.

    Off by less than one unit in the last place and 2^-19.

    Cost: 32 rounds, 255 bytes a party and element.
    """
    sigmoid = _logistic(smpc, ctx, x, _LOG2_E / unit)
    product = smpc.mul_aa(ctx, x, sigmoid.value, 1 << fraction_bits(smpc.ring))
    near = sigmoid.near
    large = smpc.not_b(ctx, smpc.or_bb(ctx, near, sigmoid.negative))
    return smpc.sum_ba(ctx, (near, product), (large, x))


@traced_once
def normal_gate(
    smpc: Protocol[V],
    ctx: Context,
    x: V,
    unit: float,
    gate: Callable[[np.ndarray], np.ndarray],
) -> V:
    """[x·Φ(x / unit)] for a gate t -> u·(Φ(u) - 1/2) with u = √32·t, where Φ becomes 0 and 1.

    1. [x > √32] and [x < -√32], where the result is x and 0.
    2. Elsewhere x/2 + h(w) with a polynomial h of w = 2(x / √32)² - 1, as the gate is even: of
       degree 15 for 18 fractional bits.

    Off by less than two units in the last place.

    Cost: 14 rounds, 138 bytes a party and element.
    """
    end = GATE_END * unit
    above, below = _beyond(smpc, ctx, x, end)
    one = 1 << fraction_bits(smpc.ring)
    phi, f = binary(unit / one**2, 0.25)  # of 18 fractional bits divided by 2^32
    h = [c * phi for c in fit_even(gate, 1 / (4 * unit))]
    y = evaluate(smpc, ctx, h, _chebyshev(smpc, ctx, x, end), 1 << -f, x << -f - 1)
    inside = smpc.not_b(ctx, above ^ below)
    return smpc.sum_ba(ctx, (inside, y), (above, x))


def gelu_gate(t: np.ndarray) -> np.ndarray:
    """Of the normal distribution."""
    u = GATE_END * t
    return u * np.vectorize(math.erf)(u / math.sqrt(2)) / 2


def gelu_tanh_gate(t: np.ndarray) -> np.ndarray:
    """Of its approximation by tanh (D. Hendrycks, K. Gimpel, arXiv:1606.08415, section 2)."""
    u = GATE_END * t
    return u * np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)) / 2


def _beyond(smpc: Protocol[V], ctx: Context, x: V, end: float) -> tuple[Bits[V], Bits[V]]:
    """[x >= end], [x < -end]."""
    less, below = smpc.msbs(ctx, x, (round(-end), round(end)))
    return smpc.not_b(ctx, less), below


def _chebyshev(smpc: Protocol[V], ctx: Context, x: V, end: float) -> V:
    """[2(x / end)² - 1] with F fractional bits: of x itself where its square has room, and is to
    be divided by a power of two."""
    one = 1 << fraction_bits(smpc.ring)
    unit = public(smpc, ctx, one, x)
    divisor = round(end**2) / (2 * one)
    if end**2 <= smpc.ring.bound and divisor > 1 and is_power_of_two(divisor):
        return smpc.square(ctx, x, round(divisor)) - unit
    return smpc.square(ctx, rescale(smpc, ctx, x, one / end, end), one // 2) - unit


@traced_once
def error_function(smpc: Protocol[V], ctx: Context, x: V, unit: float, scale: float) -> V:
    """[scale·erf(x / unit)].

    1. [x > 4] and [x < -4], where the result is 1 and -1.
    2. Elsewhere t·g(2t² - 1) with t = x / 4 and a polynomial g of degree 15.

    Off by less than two units in the last place.

    Cost: 14 rounds, 166 bytes a party and element.
    """
    one, end = 1 << fraction_bits(smpc.ring), _ERF_END * unit
    above, below = _beyond(smpc, ctx, x, end)
    t = rescale(smpc, ctx, x, one / end, end)
    phi, f = binary(scale / one**2, 0.5)
    coefficients = [c * phi for c in fit_odd(_erf_to_end, 15)]
    g = evaluate(smpc, ctx, coefficients, _chebyshev(smpc, ctx, x, end))
    inside = smpc.mul_ba(ctx, smpc.not_b(ctx, above ^ below), t)
    outside = smpc.b2a(ctx, above) - smpc.b2a(ctx, below)
    return smpc.mul_aa(ctx, inside, g, 1 << -f) + outside * smpc.ring.constant(round(scale))


def _erf_to_end(t: np.ndarray) -> np.ndarray:
    return np.vectorize(math.erf)(_ERF_END * t)


@cites(GILES)
def inverse_error_function(smpc: Protocol[V], ctx: Context, x: V, scale: float) -> V:
    """[scale·erf⁻¹(x / scale)] for |x| < scale.

    x·p(w) with w = -log(1 - x²) and a polynomial p of degree 18 (M. Giles, Approximating the
    erfinv function, GPU Computing Gems 2011); (1 - x)·(1 + x) is exact before the logarithm.
    Off by 2^-16 and the rounding of x near the ends.

    Cost: 44 rounds, 485 bytes a party and element.
    """
    f = fraction_bits(smpc.ring)
    one, end = 1 << f, public(smpc, ctx, scale, x)
    w = logarithm(smpc, ctx, smpc.mul_aa(ctx, end - x, end + x), scale**2, -one / _LOG2_E)
    u = rescale(smpc, ctx, w, 2 / _LOGARITHM_END, 32 * one) - public(smpc, ctx, one, x)
    p = evaluate(smpc, ctx, fit(_erf_inv_by_logarithm, 18), u)
    return smpc.mul_aa(ctx, p, x, one)


def _erf_inv_by_logarithm(u: np.ndarray) -> np.ndarray:
    w = np.maximum((u + 1) * _LOGARITHM_END / 2, 1e-9)
    x = np.sqrt(-np.expm1(-w))
    tail = np.exp(-w) / (1 + x) / 2
    normal = np.vectorize(statistics.NormalDist().inv_cdf)
    return -normal(tail) / np.sqrt(2) / x


def odd_polynomial(smpc: Protocol[V], ctx: Context, coefficients: tuple[float, ...], t: V) -> V:
    """[t·Σ c_k·T_k(2t² - 1)] for t in [-1, 1]; operand and result have F fractional bits."""
    one = 1 << fraction_bits(smpc.ring)
    w = smpc.square(ctx, t, one // 2) - public(smpc, ctx, one, t)
    return smpc.mul_aa(ctx, t, evaluate(smpc, ctx, coefficients, w), one)
