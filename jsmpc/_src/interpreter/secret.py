"""A secret while it is computed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.ranges import Range
from jsmpc._src.protocols.base import Shared
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.ring.fixedpoint import FixedPoint

if TYPE_CHECKING:
    from jsmpc._src.interpreter.misfits import Found

BOOL = np.dtype(bool)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Secret:
    """A secret array while it is computed on: a protocol's shares and the plain dtype.

    Floating-point numbers are in the protocol's encoding, integers are ring elements: arithmetic
    shares, `value`. Booleans are Boolean shares, `bits`.

    Attributes:
      shares: either of them.
      dtype: that of the plain array.
      bounds: between which numbers its ring elements lie; by default those of its dtype.
      encoding: of a number, if it is not the protocol's.
      misfits: which elements are of no use, if any: see `misfits.Found`.
    """

    shares: Shared | Bits[Any]
    dtype: np.dtype[Any]
    bounds: Range | None = None
    encoding: FixedPoint | None = None
    misfits: Found = ()

    @classmethod
    def of(cls, words: Shared, dtype: np.dtype[Any], encoding: FixedPoint | None = None) -> Secret:
        """From a protocol's machine words, under addition or, for booleans, under xor."""
        return cls(Bits(words, 1) if dtype == BOOL else words, dtype, encoding=encoding)

    @property
    def words(self) -> Shared:
        """The machine words, as `of` takes them."""
        return words_of(self.bits.low(1)) if self.dtype == BOOL else self.value

    @property
    def value(self) -> Shared:
        """The arithmetic shares of numbers.

        Raises:
          TypeError: of booleans.
        """
        if isinstance(self.shares, Bits):
            raise TypeError("booleans where numbers are needed: b2a, or `convert`, makes these")
        return self.shares

    @property
    def bits(self) -> Bits[Any]:
        """The Boolean shares of booleans.

        Raises:
          TypeError: of numbers.
        """
        if not isinstance(self.shares, Bits):
            raise TypeError(f"{self.dtype} where booleans are needed: lsb and is_zero make bits")
        return self.shares

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shares.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def range(self) -> Range:
        """Between which numbers its ring elements lie: see `ranges`."""
        return ranges.of_dtype(self.dtype) if self.bounds is None else self.bounds

    def map(self, f: Callable[..., Any], *others: Secret, dtype: Any = None) -> Secret:
        """The same, with a function that moves elements, of several secrets of a kind, applied to
        every share."""
        shares: Any = self.shares
        moved = shares.map(f, *(o.shares for o in others))
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        bounds = self.bounds
        if any(o.bounds != bounds for o in others):
            bounds = ranges.union(None, self.range, *(o.range for o in others))
        return dataclasses.replace(self, shares=moved, dtype=dtype, bounds=bounds)

    def tree_flatten(self) -> tuple[tuple[Shared | Bits[Any]], Any]:
        assert not self.misfits, "to be settled before a secret leaves the program it is in"
        shares = self.bits.alone if self.dtype == BOOL else self.shares
        return (shares,), (self.dtype, self.bounds, self.encoding)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Secret:
        return cls(children[0], *static)


def is_secret(x: Any) -> bool:
    return isinstance(x, Secret)
