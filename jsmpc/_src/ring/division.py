"""Division of ring elements by public integers, in the clear and under a mask."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.ring import blocks, words

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Divisors:
    """Public divisors known while the program is traced, one an element."""

    shape: tuple[int, ...]
    content: bytes

    @classmethod
    def of(cls, values: np.ndarray) -> int | Divisors:
        """Positive integers as divisors; as one if they are equal."""
        values = np.asarray(values, np.int64)
        if values.size and (values == values.flat[0]).all():
            return int(values.flat[0])
        return cls(values.shape, values.tobytes())

    @property
    def values(self) -> np.ndarray:
        return np.frombuffer(self.content, np.int64).reshape(self.shape)


Divisor = int | Divisors


def integers(divisor: Divisor) -> int | np.ndarray:
    """A divisor for arithmetic: a Python integer, or an array of int64."""
    return divisor if isinstance(divisor, int) else divisor.values


def quotients(r: Array, divisor: Divisor) -> tuple[Array, Array]:
    """What a masked division by a public divisor needs of the mask r.

    Returns:
      q0 = -floor(r/d), and q1 = ceil((2^k - r)/d) - q0 where the top bit of r is set, else 0.
      For x in [0, 2^(k-1)) and c = x + r mod 2^k, floor(c/d) + q0 + [top bit of c clear]·q1
      differs from x/d by less than 1.
    """
    one = np.ones((), r.dtype)
    width = r.dtype.itemsize * 8
    floor = divide(r, divisor)
    zero = jnp.zeros_like(r)
    least = words.subtract(words.subtract(zero, r), one)
    ceiling = words.add(divide(least, divisor), one)
    top = words.right(r, width - 1)
    return words.subtract(zero, floor), words.multiply(words.add(ceiling, floor), top)


def public_quotient(c: Array, divisor: Divisor, offset: int) -> Array:
    """floor((c + t) / d) - (offset + t) / d, where t >= 0 makes offset + t a multiple of d.

    The public part of a masked division of x + offset, opened as c. c + t itself might wrap, so
    the carry of t is taken from the remainder of c.
    """
    d = integers(divisor)
    whole, rest = divmod(offset, d)
    quotient = divide(c, divisor)
    if np.any(rest):
        shortfall = c - quotient * np.asarray(d, c.dtype) - np.asarray(rest, c.dtype)
        top = np.asarray(8 * c.dtype.itemsize - 1, c.dtype)
        quotient = quotient + ((shortfall >> top) ^ np.ones((), c.dtype))
        whole += 1
    return quotient - np.asarray(whole, c.dtype)


def signed_floor(x: Array, divisor: Divisor) -> Array:
    """floor(x / d) of a word with a sign."""
    sign = words.subtract(jnp.zeros_like(x), words.right(x, 8 * x.dtype.itemsize - 1))
    return words.xor(divide(words.xor(x, sign), divisor), sign)


def signed_ceiling(x: Array, divisor: Divisor, offset: int) -> Array:
    """ceil((x - offset) / d) of a word with a sign, though the difference might wrap."""
    d = integers(divisor)
    whole, rest = (np.asarray(n, x.dtype) for n in divmod(offset, d))
    quotient = signed_floor(x, divisor)
    above = rest - (x - quotient * np.asarray(d, x.dtype))
    return quotient + words.right(above, 8 * x.dtype.itemsize - 1) - whole


def wrap_type(divisor: Divisor, bits: int) -> tuple[np.dtype[Any], int]:
    """The type in which `wrap` fits, and where its lowest bit belongs in a word of `bits`.

    2^k / d is a multiple of 2^(k - f) for d = 2^f, so that f bits are all.
    """
    if isinstance(divisor, int) and divisor & (divisor - 1) == 0:
        places = divisor.bit_length() - 1
        return blocks.word_type(max(places, 1)), bits - places
    return np.dtype(f"uint{bits}"), 0


def wrap(x: Array, divisor: Divisor) -> Array:
    """What the quotient lacks where x was taken with a sign, and was not to be; see `wrap_type`."""
    dtype, shift = wrap_type(divisor, 8 * x.dtype.itemsize)
    if shift:
        return words.cast(words.right(x, 8 * x.dtype.itemsize - 1), dtype)
    return words.subtract(divide(x, divisor), signed_floor(x, divisor))


def divide(x: Array, divisor: Divisor) -> Array:
    """floor(x / divisor) of unsigned words by public positive integers."""
    d = integers(divisor)
    if np.all(d & (d - 1) == 0):
        return x >> np.asarray(np.log2(d), x.dtype)
    return x // np.asarray(d, x.dtype)
