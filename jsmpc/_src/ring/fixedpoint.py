"""Fixed-point encoding of numbers into a ring, in base 2 and base 10."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import EncodingError
from jsmpc._src.ring.ring import Ring

Array = jax.Array

_DEFAULT_PRECISION = {(2, 64): 18, (2, 32): 10, (10, 64): 3, (10, 32): 3}


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """Numbers x as ring elements round(x · base^precision_fractional).

    Attributes:
      base: 2 or 10.
      precision_fractional: how many digits (base 10) or bits (base 2) lie behind the point.
        By default 18 bits in the 64-bit ring, 10 bits in the 32-bit ring, 3 digits in base 10:
        at precision 2 in base 10, 0.123 is the integer 12.

    Example:
      >>> import jsmpc
      >>> hundredths = jsmpc.FixedPoint(base=10, precision_fractional=2)
      >>> smpc = jsmpc.Additive(encoding=hundredths)
      >>> jsmpc.reveal(jsmpc.share(jsmpc.random_key(), 0.123, smpc))
      Array(0.12, dtype=float32)
    """

    base: int = 2
    precision_fractional: int | None = None

    def __post_init__(self) -> None:
        if self.base not in (2, 10):
            raise ValueError(f"a fixed-point encoding has base 2 or 10, not {self.base!r}")
        digits = self.precision_fractional
        if digits is not None and (not isinstance(digits, int) or digits < 0):
            raise ValueError(f"precision_fractional must be an integer >= 0, not {digits!r}")

    def resolve(self, ring: Ring) -> FixedPoint:
        """This encoding with its default precision for the ring filled in.

        Raises:
          ValueError: if products of this precision leave no room in the ring.
        """
        digits = self.precision_fractional
        if digits is None:
            digits = _DEFAULT_PRECISION[self.base, ring.bits]
        if self.base ** (2 * digits) >= ring.bound:
            raise ValueError(
                f"precision_fractional={digits} in base {self.base} is too fine for a ring of "
                f"{ring.bits} bits: the product of two ones would overflow"
            )
        return dataclasses.replace(self, precision_fractional=digits)

    def with_digits(self, digits: int | None) -> FixedPoint:
        """This encoding with another number of digits behind the point, if one is given."""
        return self if digits is None else dataclasses.replace(self, precision_fractional=digits)

    @property
    def scale(self) -> int:
        """The ring element that stands for 1."""
        if self.precision_fractional is None:
            raise ValueError("the encoding is not resolved for a ring yet")
        return self.base**self.precision_fractional

    def limit(self, ring: Ring) -> float:
        """The magnitude below which numbers may be encoded."""
        return ring.bound / self.scale

    def encode(self, x: Any, ring: Ring) -> Any:
        """The nearest ring elements of numbers of any shape, NumPy for NumPy; no range check."""
        np_or_jnp = np if isinstance(x, np.ndarray | np.generic) else jnp
        scaled = np_or_jnp.round(x.astype(np.float64) * float(self.scale))
        return scaled.astype(np.int64).astype(ring.dtype)

    def decode(self, words: Array, ring: Ring, dtype: Any) -> Array:
        """The numbers that ring elements stand for, rounded to `dtype`."""
        signed = jax.lax.bitcast_convert_type(words, ring.signed)
        return (signed.astype(jnp.float64) / float(self.scale)).astype(dtype)

    def lost(self, x: Any) -> Any:
        """Where numbers of an array, NumPy or not, are rounded to zero though they are none."""
        return (x != 0) & (abs(x.astype(np.float64)) < self.least)

    def loses(self, x: Any) -> Any:
        """Whether all of an array, NumPy or not, is rounded to zero though some of it is none."""
        largest = abs(x.astype(np.float64)).max(initial=0)
        return (largest > 0) & (largest < self.least)

    def keeps_few(self, x: Any, units: int) -> Any:
        """Whether all of an array, NumPy or not, is below so many units in the last place, but not
        lost, and some of it is rounded."""
        np_or_jnp = np if isinstance(x, np.ndarray | np.generic) else jnp
        scaled = abs(x.astype(np.float64)) * float(self.scale)
        largest = scaled.max(initial=0)
        rounded = (np_or_jnp.round(scaled) != scaled).any()
        return (largest >= 0.5) & (largest < units) & rounded

    @property
    def least(self) -> float:
        """The magnitude from which on no number is rounded to zero."""
        return 0.5 / self.scale

    def fits(self, x: Array, ring: Ring) -> Array:
        """Whether all numbers or integers of an array can be encoded: bool[]."""
        misfits = self.misfits(x, ring)
        return jnp.ones((), bool) if misfits is None else ~misfits.any()

    def misfits(self, x: Array, ring: Ring) -> Array | None:
        """Where an array holds NaN, infinity or leaves the range; None if its dtype never does.

        What `check` finds in concrete numbers, for those known only when the program runs.
        """
        if x.dtype == bool:
            return None
        if jnp.issubdtype(x.dtype, jnp.integer):
            if jnp.iinfo(x.dtype).max < ring.bound:
                return None
            below = x <= -ring.bound if jnp.issubdtype(x.dtype, jnp.signedinteger) else False
            return (x >= ring.bound) | below
        return ~(abs(x.astype(jnp.float64)) < self.limit(ring))

    def error(self, x: Any, ring: Ring, what: str) -> EncodingError | None:
        """The error that `check` raises for concrete numbers."""
        try:
            self.check(x, ring, what)
        except EncodingError as error:
            return error
        return None

    def check(self, x: Any, ring: Ring, what: str) -> None:
        """Raise EncodingError if concrete numbers hold NaN, infinity or leave the range."""
        values = np.asarray(x)
        if values.size == 0 or values.dtype == bool:
            return
        if np.issubdtype(values.dtype, np.integer):
            check_integers(values, ring, what)
            return
        values = values.astype(np.float64)
        for bad, name in ((np.isnan(values), "NaN"), (np.isinf(values), "infinity")):
            if bad.any():
                raise EncodingError(
                    f"{what} holds {name} at index {_first(bad)} ({int(bad.sum())} in all), which "
                    "no fixed-point number stands for. Clean it first, e.g. with jnp.nan_to_num"
                )
        large = np.abs(values) >= self.limit(ring)
        if large.any():
            raise EncodingError(
                f"{what} holds a value at index {_first(large)} whose magnitude is not below the "
                f"encoding's limit of {self.limit(ring):g} (ring of {ring.bits} bits, base "
                f"{self.base}, precision {self.precision_fractional}). Scale it down, lower "
                "precision_fractional, or use the 64-bit ring"
            )


def check_integers(values: np.ndarray, ring: Ring, what: str) -> None:
    """Raise EncodingError if concrete integers leave the ring's range of 2^(bits-2)."""
    large = (values >= ring.bound) | (values <= -ring.bound)
    if large.any():
        raise EncodingError(
            f"{what} holds an integer at index {_first(large)} whose magnitude is not below "
            f"2^{ring.bits - 2}, the limit of the ring of {ring.bits} bits. Use smaller "
            "values or the 64-bit ring"
        )


def _first(bad: np.ndarray) -> tuple[int, ...]:
    """The index of the first element that is true."""
    return tuple(int(i) for i in np.argwhere(bad)[0])
