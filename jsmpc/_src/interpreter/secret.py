"""A secret while it is computed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group

Array = jax.Array


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Secret:
    """A secret array while it is computed on: a protocol's shares and the plain dtype.

    Floating-point numbers are in the protocol's encoding, integers are ring elements, booleans
    are Boolean shares of bytes.
    """

    value: Shared
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def group(self) -> Group:
        return BOOLEAN if self.dtype == bool else ARITHMETIC

    def map(self, f: Callable[[Array], Array], dtype: Any = None) -> Secret:
        """The same, with a linear function applied to every share."""
        return Secret(self.value.map(f), self.dtype if dtype is None else np.dtype(dtype))

    def tree_flatten(self) -> tuple[tuple[Shared], np.dtype[Any]]:
        return (self.value,), self.dtype

    @classmethod
    def tree_unflatten(cls, dtype: np.dtype[Any], children: Any) -> Secret:
        return cls(children[0], dtype)


def is_secret(x: Any) -> bool:
    return isinstance(x, Secret)


BOOL = np.dtype(bool)
