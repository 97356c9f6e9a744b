"""The structure of updates: a pytree of float arrays, and the vector that it is flattened to."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.quantization import UpdateError


@dataclasses.dataclass(frozen=True)
class Structure:
    """What every update looks like; its vector is that of `jax.flatten_util.ravel_pytree`.

    Attributes:
      tree: where the leaves stand.
      shapes: of the leaves; dtypes: their names.
    """

    tree: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, like: Any) -> Structure:
        """That of a pytree of arrays, or of `jax.ShapeDtypeStruct`s.

        Raises:
          FederatedError: for leaves that are no float arrays, or no elements at all.
        """
        leaves, tree = jax.tree.flatten(like)
        shapes, dtypes = zip(*map(_described, leaves), strict=True) if leaves else ((), ())
        found = cls(tree, shapes, dtypes)
        wrong = [d for d in dtypes if not jnp.issubdtype(d, jnp.floating)]
        if wrong or not found.size:
            what = f"holds {wrong[0]}" if wrong else "has no elements"
            raise FederatedError(f"the structure of updates {what}. Give floats alone")
        return found

    @property
    def size(self) -> int:
        """How many coordinates the vector has."""
        return sum(map(math.prod, self.shapes))

    def flatten(self, update: Any) -> np.ndarray:
        """An update as float64[size].

        Raises:
          UpdateError: for another structure, shape or dtype.
        """
        leaves, tree = jax.tree.flatten(update)
        if tree != self.tree or tuple(map(_described, leaves)) != tuple(
            zip(self.shapes, self.dtypes, strict=True)
        ):
            raise UpdateError(
                f"the update's shapes or dtypes are not those of the set-up: {self}. Give the "
                "same pytree as `like`",
                "wrong shape or dtype",
            )
        return np.concatenate([np.asarray(x, np.float64).reshape(-1) for x in leaves])

    def unflatten(self, vector: np.ndarray) -> Any:
        """The pytree of a vector."""
        ends = np.cumsum([math.prod(shape) for shape in self.shapes])[:-1]
        parts = zip(np.split(vector, ends), self.shapes, self.dtypes, strict=True)
        arrays = [part.reshape(shape).astype(jnp.dtype(dtype)) for part, shape, dtype in parts]
        return jax.tree.unflatten(self.tree, arrays)

    def __str__(self) -> str:
        leaves = zip(self.dtypes, self.shapes, strict=True)
        shown = [f"{dtype}[{','.join(map(str, shape))}]" for dtype, shape in leaves]
        return ", ".join([*shown[:8], *(["…"] if len(shown) > 8 else [])])


def _described(leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)
