"""Between which numbers the ring elements of secrets lie, as far as the program tells.

Of integers the range tells which may have left their dtype, and are to be wrapped. A sum or
product of them is one of ring elements, which do not wrap at the dtype's width. Modulo 2^width it
is right all the same, and so is whatever sums and products make of it. Only an operation that
needs the number itself, such as a comparison, a division or a conversion to floating point, has it
wrapped before, by a bit decomposition: where the range says that it may be outside of its dtype.
Signed integers of 32 and 64 bits, and all that are as wide as the ring, are taken not to overflow
in arithmetic; conversions to them do wrap.

Of floating-point numbers it tells which products and sums cannot leave the ring's range, whatever
the shares hold: these need no check. It is one of words, in the encoding that the number has, each
of which is congruent to a number in the range, modulo 2^k. Of shares from elsewhere nothing is
known. What an earlier check excludes is excluded: a program that fails one has no result.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.jaxprs import tracing
from jsmpc._src.ring.ring import Ring

Range = tuple[int, int]
"""The least and the largest number that there may be; 0 always counts as one."""

_FAR = 1 << 128
ANYTHING = (-_FAR, _FAR)


def is_integer(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.integer))


def of_dtype(dtype: Any) -> Range:
    """The range of a dtype: of floating-point numbers anything."""
    if dtype == np.dtype(bool):
        return 0, 1
    if not is_integer(dtype):
        return ANYTHING
    info = jnp.iinfo(dtype)
    return int(info.min), int(info.max)


def of(x: Any) -> Range:
    """That of an operand, secret or public; of public integers' values, where they are known."""
    if hasattr(x, "range"):
        return x.range
    if not (x.dtype == bool or is_integer(x.dtype)):
        return ANYTHING
    if tracing.is_traced(x) or not np.size(x):
        return of_dtype(x.dtype)
    return min(int(np.min(x)), 0), max(int(np.max(x)), 0)


def fits(x: Any) -> bool:
    """Whether an operand is within its dtype for sure, as all but integers are."""
    bounds = getattr(x, "bounds", None)
    if bounds is None or not is_integer(x.dtype):
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
    if _is_wide(dtype, bits) and fit:
        return reached if own[0] <= reached[0] and reached[1] <= own[1] else own
    return max(reached[0], -_FAR), min(reached[1], _FAR)


def _is_wide(dtype: Any, bits: int) -> bool:
    """Whether arithmetic is taken not to leave an integer dtype."""
    return bool(jnp.iinfo(dtype).bits >= (32 if of_dtype(dtype)[0] < 0 else bits))


def proven(dtype: Any, bits: int, known: Range) -> Range:
    """The range of an integer, where it is not just that its dtype is taken to hold it."""
    own = of_dtype(dtype)
    inside = own[0] < known[0] and known[1] < own[1]
    return known if inside or not _is_wide(dtype, bits) else ANYTHING


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


def bits_of_difference(x: Range, y: Range) -> int:
    """The least b with |x - y| < 2^(b-1)."""
    low, high = difference(None, x, y)
    return max(-low, high).bit_length() + 1


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


# Of words.


def told(x: Range, ring: Ring) -> Range | None:
    """A range; None for one of all words, which tells nothing."""
    return x if _size(x) < 1 << ring.bits else None


def within(x: Range, bound: int) -> bool:
    """Whether all of a range is below a bound in magnitude."""
    return -bound < x[0] and x[1] < bound


def limited(x: Range, bound: int) -> Range:
    return max(x[0], -bound), min(x[1], bound)


def truncated(x: Range, divisor: int, ring: Ring) -> Range:
    """Of quotients that are off by less than one: anything, where words may be too large."""
    if divisor == 1:
        return x
    fits = -ring.bound <= x[0] and x[1] < ring.bound
    return (x[0] // divisor, -(-x[1] // divisor)) if fits else ANYTHING


def shifted(x: Range, base: int, digits: int, ring: Ring) -> Range:
    """Of words with so many digits more, or fewer."""
    return times(x, base**digits) if digits >= 0 else truncated(x, base**-digits, ring)


def larger(x: Range, y: Range, ring: Ring) -> Range:
    """Of x where the sign bit of x - y is clear, else of y: where nothing is known of one of them,
    it is less than 2^(k-1) above the other, or just as much; and then 0 need not count."""
    if _is_signed(difference(None, x, y), ring):
        return min(max(x[0], y[0]), 0), max(x[1], y[1])
    half = 2 * ring.bound
    return (x[0], x[1] + half) if _size(x) < _size(y) else (y[0], y[1] + half - 1)


def smaller(x: Range, y: Range, ring: Ring) -> Range:
    """Of x where the sign bit of x - y is set, else of y; see `larger`."""
    if _is_signed(difference(None, x, y), ring):
        return min(x[0], y[0]), max(min(x[1], y[1]), 0)
    half = 2 * ring.bound
    return (x[0] - half + 1, x[1]) if _size(x) < _size(y) else (y[0] - half, y[1])


def absolute(x: Range, ring: Ring) -> Range:
    low, high = x if _is_signed(x, ring) else (-2 * ring.bound, 0)
    return 0, max(-low, high)


def _is_signed(x: Range, ring: Ring) -> bool:
    """Whether the sign of a word is that of the number in a range."""
    return -2 * ring.bound <= x[0] and x[1] < 2 * ring.bound


def _size(x: Range) -> int:
    return x[1] - x[0]


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
