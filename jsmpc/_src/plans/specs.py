"""Shapes and dtypes of a plan's arguments, some of them free, as people write them."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jsmpc._src.errors import PlanError

_WRITTEN = re.compile(r"([a-z][a-z0-9_]*)\[([^\[\]]*)\]")


def read(tree: Any) -> Any:
    """A tree of arrays, shapes and written shapes as one of `jax.ShapeDtypeStruct`.

    Args:
      tree: its leaves are anything with a shape and a dtype, numbers, or strings such as
        `float32[batch,784]`, in which names are free dimensions, the same name the same everywhere.

    Raises:
      PlanError: for a string that is no shape.

    Example:
      >>> read({"x": "float32[b, 3]", "n": 2})["x"].shape
      (b, 3)
    """
    scope = export.SymbolicScope()
    return jax.tree.map(lambda leaf: _read(leaf, scope), tree)


def _read(leaf: Any, scope: export.SymbolicScope) -> Any:
    if isinstance(leaf, str):
        return _parsed(leaf, scope)
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if not hasattr(leaf, "dtype"):
        leaf = jnp.asarray(leaf)
    weak = getattr(leaf, "weak_type", False)
    return jax.ShapeDtypeStruct(leaf.shape, taken(leaf).dtype, weak_type=weak)


def is_wide(dtype: Any) -> bool:
    """Whether arrays of a dtype exist in JAX's 64-bit mode alone."""
    return np.dtype(dtype).name in ("int64", "uint64", "float64", "complex128")


def taken(x: Any) -> Any:
    """An array as JAX takes it: in 32-bit mode, those of NumPy have at most 32 bits."""
    if isinstance(x, np.ndarray | np.generic) and is_wide(x.dtype):
        return x.astype(jax.dtypes.canonicalize_dtype(x.dtype))
    return x


def _parsed(text: str, scope: export.SymbolicScope) -> Any:
    found = _WRITTEN.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError("it has no brackets")
        return jax.ShapeDtypeStruct(
            export.symbolic_shape(found[2], scope=scope), jnp.dtype(found[1])
        )
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"plan: {text!r} is no shape ({error}). Write for example 'float32[batch,784]'"
        ) from None


def written(x: Any) -> str:
    """A shape and dtype as text, as `read` takes it."""
    return f"{np.dtype(x.dtype).name}[{','.join(map(str, x.shape))}]"


def fits(x: Any, spec: Any, bound: dict[str, int]) -> bool:
    """Whether an array is what a spec wants; `bound` is what free dimensions are so far.

    A free dimension is at least 1: so they are traced.
    """
    if np.dtype(x.dtype) != np.dtype(spec.dtype) or len(x.shape) != len(spec.shape):
        return False
    for size, wanted in zip(x.shape, spec.shape, strict=True):
        if isinstance(wanted, int):
            if size != wanted:
                return False
        elif size < 1 or (
            str(wanted).isidentifier() and bound.setdefault(str(wanted), size) != size
        ):
            return False
    return True
