"""Public equations on operands that are known while the program is traced.

Literals reach a rule through conversions and broadcasts of the functions in between; folded, they
stay known, and the rule can tell a division by three from one by an array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.jaxprs import walk

_LARGEST = 1 << 16


def _broadcast(x: Any, *, shape: tuple[int, ...], broadcast_dimensions: Any, **_: Any) -> Any:
    spread = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, np.shape(x), strict=True):
        spread[axis] = size
    return np.broadcast_to(np.reshape(x, spread), shape)


def _elementwise(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands, **_: f(*operands)


_UFUNCS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "neg": np.negative,
    "sqrt": np.sqrt,
    "max": np.maximum,
    "min": np.minimum,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "not": np.invert,
    "select_n": lambda which, *cases: np.choose(np.asarray(which, int), cases),
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "convert_element_type": lambda x, *, new_dtype, **_: np.asarray(x).astype(new_dtype),
    "reshape": lambda x, *, new_sizes, **_: np.reshape(x, new_sizes),
    "reduce_and": lambda x, *, axes, **_: np.all(x, axes),
    "reduce_sum": lambda x, *, axes, **_: np.sum(x, axes, x.dtype),
    "reduce_or": lambda x, *, axes, **_: np.any(x, axes),
    **{name: _elementwise(f) for name, f in _UFUNCS.items()},
}


def fold(eqn: Any, operands: Sequence[Any]) -> list[Any] | None:
    """The results of a simple equation, or a call of such, of NumPy operands; or None."""
    if not all(isinstance(x, np.ndarray | np.generic) for x in operands):
        return None
    if eqn.primitive is P.jit_p:
        return _fold_all(eqn.params["jaxpr"], operands)
    f = _FUNCTIONS.get(eqn.primitive.name)
    if f is None or eqn.outvars[0].aval.size > _LARGEST:
        return None
    return [np.asarray(f(*operands, **eqn.params), eqn.outvars[0].aval.dtype)]


class _Unknown(Exception):
    """An equation that is not folded."""


def _fold_all(jaxpr: Any, operands: Sequence[Any]) -> list[Any] | None:
    def apply(eqn: Any, operands: list[Any]) -> list[Any]:
        if (results := fold(eqn, operands)) is None:
            raise _Unknown
        return results

    try:
        return walk.evaluate(jaxpr, operands, apply)
    except _Unknown:
        return None
