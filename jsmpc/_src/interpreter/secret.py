"""A secret while it is computed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.ranges import Range
from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group

Array = jax.Array


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Secret:
    """A secret array while it is computed on: a protocol's shares and the plain dtype.

    Floating-point numbers are in the protocol's encoding, integers are ring elements, booleans
    are Boolean shares of bytes.

    Attributes:
      value: the shares.
      dtype: that of the plain array.
      bounds: of an integer, between which numbers it lies; by default those of its dtype.
      encoding: of a number, if it is not the protocol's.
    """

    value: Shared
    dtype: np.dtype[Any]
    bounds: Range | None = None
    encoding: FixedPoint | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def range(self) -> Range:
        """Between which numbers an integer or a boolean lies."""
        return ranges.of_dtype(self.dtype) if self.bounds is None else self.bounds

    @property
    def group(self) -> Group:
        return BOOLEAN if self.dtype == bool else ARITHMETIC

    def map(self, f: Callable[[Array], Array], dtype: Any = None) -> Secret:
        """The same, with a function that moves elements applied to every share."""
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        return dataclasses.replace(self, value=self.value.map(f), dtype=dtype)

    def tree_flatten(self) -> tuple[tuple[Shared], Any]:
        return (self.value,), (self.dtype, self.bounds, self.encoding)

    @classmethod
    def tree_unflatten(cls, static: Any, children: Any) -> Secret:
        return cls(children[0], *static)


def is_secret(x: Any) -> bool:
    return isinstance(x, Secret)


BOOL = np.dtype(bool)
