"""Polynomials of shared fixed-point numbers, in the Chebyshev basis."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.polynomial import chebyshev

from jsmpc._src.network.rounds import ROUND
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.ring.ring import Ring
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.references import CHEN, PATERSON_STOCKMEYER, cites

_BABY_STEPS = 4


def fraction_bits(ring: Ring) -> int:
    """F: the fractional bits of numbers below 2^5 inside of a function, 26 (10 in 32 bits).

    The product of two of them and of a constant of 8 more bits stays within the ring's bound.
    """
    return ring.bits // 2 - 6


@functools.cache
def fit(f: Callable[[np.ndarray], np.ndarray], degree: int) -> tuple[float, ...]:
    """Chebyshev coefficients of the interpolant of a function on [-1, 1]."""
    return tuple(chebyshev.chebinterpolate(f, degree))


@functools.cache
def fit_even(f: Callable[[np.ndarray], np.ndarray], error: float) -> tuple[float, ...]:
    """Chebyshev coefficients of g(2t² - 1) = f(t) for an even function f on [-1, 1].

    Of the lowest degree among 7, 11, 15, … at which they are off by less than an error.
    """
    points = np.linspace(-1, 1, 999)

    def g(w: np.ndarray) -> np.ndarray:
        return f(np.sqrt(np.maximum((w + 1) / 2, 0)))

    for degree in range(2 * _BABY_STEPS - 1, 64, _BABY_STEPS):
        found = fit(g, degree)
        if np.abs(chebyshev.chebval(points, found) - g(points)).max() < error:
            break
    return found


@functools.cache
def fit_odd(f: Callable[[np.ndarray], np.ndarray], degree: int) -> tuple[float, ...]:
    """Chebyshev coefficients of g(2t² - 1) = f(t) / t for an odd function f on [-1, 1]."""

    def quotient(u: np.ndarray) -> np.ndarray:
        t = np.sqrt(np.maximum((u + 1) / 2, 1e-12))
        return f(t) / t

    return fit(quotient, degree)


def public(smpc: Protocol[V], ctx: Context, value: float, like: V) -> V:
    """Shares of a public number, rounded to a ring element, in the shape of others."""
    word = smpc.ring.constant(round(value))
    return smpc.constant(ctx, jnp.broadcast_to(word, like.shape))


def rescale(
    smpc: Protocol[V], ctx: Context, x: V, factor: float, largest: float, addend: float = 0.0
) -> V:
    """[x·factor + addend] for a public factor and addend, and |x| <= largest.

    1. [x·c + d] for the integers nearest to factor·2^j and addend·2^j, with the largest j that
       leaves room; of small x with j <= k/2, as a division by less takes fewer bytes.
    2. Truncate by 2^j. Off by less than one unit and |x|·2^-j / 2.

    Cost: that of `truncate`; none for an integer factor.
    """
    if factor == round(factor):
        product = x * smpc.ring.constant(round(factor))
        return product + public(smpc, ctx, addend, x) if addend else product
    divisor, half = 2, 1 << smpc.ring.bits // 2
    most = half if 8 * largest < half else smpc.ring.bound
    while divisor < most and (largest * abs(factor) + abs(addend)) * 2 * divisor <= smpc.ring.bound:
        divisor *= 2
    while (whole := factor * divisor) == round(whole) and round(whole) % 2 == 0:
        divisor //= 2
    product = x * smpc.ring.constant(round(factor * divisor))
    if addend:
        product = product + public(smpc, ctx, addend * divisor, x)
    return smpc.truncate(ctx, product, divisor)


def _are_many(shape: Sequence[int]) -> bool:
    """Whether what one product takes is worth more than two rounds."""
    return math.prod(shape) * 12 > 2 * ROUND


@cites(PATERSON_STOCKMEYER, CHEN)
def evaluate(
    smpc: Protocol[V],
    ctx: Context,
    coefficients: Sequence[float],
    w: V,
    divisor: int | None = None,
    addend: V | None = None,
) -> V:
    """[Σ c_k·T_k(w)] for w in [-1, 1]; operand and result have F fractional bits.

    With a divisor and an addend: the sum with 2F fractional bits, and the addend, divided.

    1. T_2, T_3 and, from degree 7, T_4, T_8, … by T_{2n} = 2·T_n² - 1 and
       T_3 = 2·T_2·T_1 - T_1.
    2. p = q·T_m + r with the largest such m, and so on down to degree 3, of many numbers with
       m = 4 always, which takes more rounds and fewer products; a sum of products is
       truncated once (M. Paterson, L. Stockmeyer, SIAM J. Comput. 1973, in this basis: H. Chen,
       I. Chillotti, Y. Song, EUROCRYPT 2019, section 4).

    Coefficients are below 2^4 in magnitude. The error is about a unit 2^-F for every product.
    Cost: 2 rounds for each doubling of the degree and 2 more; degree 6 takes 4 products, 7 takes 5.
    """
    f = fraction_bits(smpc.ring)
    one = 1 << f
    unit = public(smpc, ctx, one, w)

    def double(x: V) -> V:
        return smpc.square(ctx, x, one // 2) - unit

    powers = {1: w}
    if len(coefficients) > 2:
        powers[2] = double(w)
    if len(coefficients) > 3:
        powers[3] = smpc.mul_aa(ctx, powers[2], w, one // 2) - w
    m = _BABY_STEPS if len(coefficients) >= 2 * _BABY_STEPS else len(coefficients)
    while m < len(coefficients) and (m == _BABY_STEPS or not _are_many(w.shape)):
        powers[m] = double(powers[m // 2])
        m *= 2

    def reduce(c: Any, divisor: int | None, added: V | None = None) -> V:
        """Σ c_k·T_k and what is added, with 2F fractional bits before it is divided."""
        if len(c) <= _BABY_STEPS:
            total = public(smpc, ctx, c[0] * one * one, w)
            for k, value in enumerate(c[1:], 1):
                total = total + powers[k] * smpc.ring.constant(round(value * one))
            total = total if added is None else total + added
            return total if divisor is None else smpc.truncate(ctx, total, divisor)
        m = max(k for k in powers if k < len(c))
        quotient, rest = chebyshev.chebdiv(c, [0] * m + [1])
        return smpc.mul_aa(
            ctx, reduce(quotient, one), powers[m], divisor, reduce(rest, None, added)
        )

    return reduce(coefficients, divisor or one, addend)
