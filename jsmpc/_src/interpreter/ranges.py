"""Where secret integers lie: which of them may have left their dtype, and are to be wrapped.

A sum or product of secret integers is one of ring elements, which do not wrap at the dtype's
width. Modulo 2^width it is right all the same, and so is whatever sums and products make of it.
Only an operation that needs the number itself, such as a comparison, a division or a conversion
to floating point, has it wrapped before, by a bit decomposition: where the range that is kept
with every integer says that it may be outside of its dtype.

Signed integers of 32 and 64 bits, and all that are as wide as the ring, are taken not to
overflow in arithmetic; conversions to them do wrap.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.jaxprs import tracing

Range = tuple[int, int]
"""The least and the largest number that there may be; 0 always counts as one."""

_FAR = 1 << 128
ANYTHING = (-_FAR, _FAR)


def is_integer(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer))


def of_dtype(dtype: Any) -> Range:
    """The range of an integer or Boolean dtype."""
    if dtype == np.dtype(bool):
        return 0, 1
    info = jnp.iinfo(dtype)
    return int(info.min), int(info.max)


def of(x: Any) -> Range:
    """That of an operand, secret or public; of a public one's values, where they are known."""
    if not (x.dtype == bool or is_integer(x.dtype)):
        return 0, 0
    if hasattr(x, "range"):
        return x.range
    if tracing.is_traced(x) or not np.size(x):
        return of_dtype(x.dtype)
    return min(int(np.min(x)), 0), max(int(np.max(x)), 0)


def fits(x: Any) -> bool:
    """Whether an operand is within its dtype for sure."""
    bounds = getattr(x, "bounds", None)
    if bounds is None:
        return True
    low, high = of_dtype(x.dtype)
    return bool(low <= bounds[0] and bounds[1] <= high)


def after_arithmetic(dtype: Any, bits: int, fit: bool, reached: Range) -> Range:
    """The range of a result of which arithmetic says that it reaches so far.

    Args:
      dtype: of the result.
      bits: the ring's.
      fit: whether all operands are within their dtypes.
      reached: the range by the operands' ranges.
    """
    own = of_dtype(dtype)
    wide = jnp.iinfo(dtype).bits >= (32 if own[0] < 0 else bits)
    if wide and fit:
        return max(reached[0], own[0]), min(reached[1], own[1])
    return max(reached[0], -_FAR), min(reached[1], _FAR)


# The ranges of results, by those of the operands.


def union(_: Any, *operands: Range) -> Range:
    return min(low for low, _ in operands), max(high for _, high in operands)


def chosen(eqn: Any, _: Range, *cases: Range) -> Range:
    return union(eqn, *cases)


def first(_: Any, x: Range, *__: Range) -> Range:
    return x


def anything(*_: Any) -> Range:
    return ANYTHING


def total(_: Any, *operands: Range) -> Range:
    return sum(low for low, _ in operands), sum(high for _, high in operands)


def negative(_: Any, x: Range) -> Range:
    return -x[1], -x[0]


def difference(_: Any, x: Range, y: Range) -> Range:
    return x[0] - y[1], x[1] - y[0]


def product(_: Any, x: Range, y: Range) -> Range:
    ends = [a * b for a in x for b in y]
    return min(ends), max(ends)


def squared(eqn: Any, x: Range) -> Range:
    return product(eqn, x, x)


def times(x: Range, count: int) -> Range:
    return x[0] * count, x[1] * count


def magnitude(_: Any, x: Range, *__: Range) -> Range:
    """Of x or its opposite."""
    return min(x[0], -x[1]), max(-x[0], x[1])


def power(x: Range, exponent: int) -> Range:
    largest = max(-x[0], x[1])
    if exponent * largest.bit_length() > _FAR.bit_length():
        return ANYTHING
    return (-(largest**exponent) if x[0] else 0), largest**exponent


def reduced(eqn: Any, x: Range) -> Range:
    """Of sums over axes."""
    return times(x, -(-eqn.invars[0].aval.size // max(eqn.outvars[0].aval.size, 1)))


def reduced_products(eqn: Any, x: Range) -> Range:
    return power(x, -(-eqn.invars[0].aval.size // max(eqn.outvars[0].aval.size, 1)))


def cumulative(eqn: Any, x: Range) -> Range:
    return times(x, eqn.invars[0].aval.shape[eqn.params["axis"]])


def cumulative_products(eqn: Any, x: Range) -> Range:
    return power(x, eqn.invars[0].aval.shape[eqn.params["axis"]])


def windows(eqn: Any, x: Range) -> Range:
    return times(x, math.prod(eqn.params["window_dimensions"]))


def contraction(eqn: Any, x: Range, y: Range) -> Range:
    """Of sums of products: of at most as many as the smaller operand has elements."""
    return times(product(eqn, x, y), min(v.aval.size for v in eqn.invars))


def integer_power(eqn: Any, x: Range) -> Range:
    return power(x, max(eqn.params["y"], 1))


def bitwise(eqn: Any, *operands: Range) -> Range:
    """Of sums and differences with a conjunction: as those of numbers, if these are ones."""
    own = of_dtype(eqn.outvars[0].aval.dtype)
    return own if all(own[0] <= low and high <= own[1] for low, high in operands) else ANYTHING


def read(eqn: Any, x: Range, _: Range) -> Range:
    """Of what is read at positions: it may be filled."""
    return union(eqn, x, of_dtype(eqn.outvars[0].aval.dtype))


def written(eqn: Any, x: Range, update: Range, *_: Range) -> Range:
    return union(eqn, x, update)


def written_at(eqn: Any, x: Range, _: Range, update: Range) -> Range:
    return union(eqn, x, update)


def added_at(eqn: Any, x: Range, _: Range, updates: Range) -> Range:
    """Of sums at positions, all of which may coincide."""
    either = union(eqn, updates, negative(eqn, updates))
    return total(eqn, x, times(either, eqn.invars[2].aval.size))


@dataclasses.dataclass(frozen=True)
class Modular:
    """That a rule takes integers modulo 2^width: they need not be wrapped for it.

    Attributes:
      result: from the equation and the operands' ranges to that of the result; by default the
        rule tells it with each of its results.
      operands: which of the operands it takes so.
    """

    result: Callable[..., Range] | None = None
    operands: slice = dataclasses.field(default_factory=lambda: slice(None))
