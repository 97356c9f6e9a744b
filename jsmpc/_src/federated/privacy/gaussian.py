"""The discrete Gaussian: integers x of probability proportional to exp(−x²/2σ²), from ChaCha20.

A narrow one is drawn from a table, a wide one is a sum of narrow ones by powers of an integer.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.errors import FederatedError
from jsmpc._src.jaxprs import compat
from jsmpc._src.runtime import prf

_BUCKETS = 1 << 10
_WIDEST = 38.0  # of a table: its 512 values a side leave out a mass below 2^-128
_LARGEST = 2.0**48


def discrete_gaussian(key: Any, shape: tuple[int, ...], deviation: float) -> jax.Array:
    """Integers from the discrete Gaussian of a standard deviation.

    Args:
      key: from `jsmpc.random_key()`, for one use. A `jax.random.key` is for tests: whoever knows
        it knows the noise.
      shape: of the result.
      deviation: σ, up to 2^48. It is not the standard deviation below 1 or so, see the source.

    Returns:
      int64 of the shape, for code in 64-bit mode.

    Raises:
      FederatedError: unless σ is positive and at most 2^48.

    1. σ² = s²·(1 + z² + z⁴ + …), of as few terms as leave s at most 38 and at least 2·√(1 + z²).
    2. x_0, x_1, … are drawn from a table for s: a word of 128 bits each, of which 10 choose a
       bucket and the others one of its two values.
    3. The result is x_0 + z·x_1 + z²·x_2 + …

    Guarantee: the statistical distance of each number from the discrete Gaussian is below 2^-100:
    2^-117 for each word of a table, whose probabilities are multiples of 2^-128, and 2^-111 for
    each sum, as the sum over a shifted lattice of a Gaussian of deviation s/√(1 + z²) ≥ 2 is that
    over the lattice but for a factor 1 ± 2^-112. Time and memory depend on σ, not on what is drawn.

    Source: Canonne, Kamath and Steinke, The discrete Gaussian for differential privacy, NeurIPS
    2020 (the distribution); Walker, ACM TOMS 1977 (the table); Micciancio and Walter, Gaussian
    sampling over the integers, CRYPTO 2017 (the sums).
    """
    plan = planned(float(deviation))
    with compat.protocol_mode():
        return _drawn(plan.levels, tuple(shape), prf.as_key(key), plan.factor, plan.table)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a discrete Gaussian is drawn: how many narrow ones, the factor from each to the next, and
    their table: thresholds in two words, and each bucket's other value."""

    levels: int
    factor: int
    table: tuple[np.ndarray, np.ndarray, np.ndarray]


@functools.lru_cache(maxsize=64)
def planned(deviation: float) -> Plan:
    """The plan for a standard deviation; FederatedError."""
    if not 0 < deviation <= _LARGEST:
        raise FederatedError(f"a discrete Gaussian has 0 < σ <= 2^48, not {deviation:g}")
    if deviation <= _WIDEST:
        return Plan(1, 1, _table(deviation))
    choices = ((levels, factor) for levels in itertools.count(2) for factor in range(1, 19))
    for levels, factor in choices:
        narrow = deviation / math.sqrt(sum(factor ** (2 * i) for i in range(levels)))
        if 2 * math.sqrt(1 + factor**2) <= narrow <= _WIDEST:
            return Plan(levels, factor, _table(narrow))
    raise AssertionError


def _table(deviation: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The alias table of a discrete Gaussian, of buckets of 2^118: a word that is below a bucket's
    threshold stands for its own value, bucket − 512, and any other for its alias."""
    full = (1 << 128) // _BUCKETS
    rest = _weights(deviation)
    threshold, alias = [full] * _BUCKETS, list(range(_BUCKETS))
    small = [i for i, weight in enumerate(rest) if weight < full]
    large = [i for i, weight in enumerate(rest) if weight > full]
    while small:
        low, high = small.pop(), large[-1]
        threshold[low], alias[low] = rest[low], high
        rest[high] -= full - rest[low]
        if rest[high] <= full:
            large.pop()
            if rest[high] < full:
                small.append(high)
    upper = np.array([t >> 64 for t in threshold], np.uint64)
    lower = np.array([t & (1 << 64) - 1 for t in threshold], np.uint64)
    return upper, lower, np.array(alias, np.int32)


def _weights(deviation: float) -> list[int]:
    """The probabilities of −512 to 511 as multiples of 2^-128, rounded down but for that of 0."""
    with decimal.localcontext(prec=60):
        scale = -1 / (2 * decimal.Decimal(deviation) ** 2)
        masses = [(scale * x * x).exp() for x in range(_BUCKETS // 2)]
        unit = (masses[0] + 2 * sum(masses[1:])) / (1 << 128)
        side = [int(mass / unit) for mass in masses[1:]]
    return [0, *side[::-1], (1 << 128) - 2 * sum(side), *side]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _drawn(levels: int, shape: tuple[int, ...], key: Any, factor: Any, table: Any) -> jax.Array:
    with compat.protocol_mode():
        narrow = (
            _looked_up(kernels.draw(key, i, (2, *shape), np.uint64), table)
            for i in reversed(range(levels))
        )
        return functools.reduce(lambda wide, x: wide * factor + x, narrow)


def _looked_up(words: jax.Array, table: Any) -> jax.Array:
    """The values that words of 128 bits stand for."""
    upper, lower, alias = map(jnp.asarray, table)
    bucket = (words[0] >> np.uint64(54)).astype(jnp.int32)
    high, bound = words[0] & np.uint64((1 << 54) - 1), upper[bucket]
    own = (high < bound) | ((high == bound) & (words[1] < lower[bucket]))
    return (jnp.where(own, bucket, alias[bucket]) - _BUCKETS // 2).astype(jnp.int64)
