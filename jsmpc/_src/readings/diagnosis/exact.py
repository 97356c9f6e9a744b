"""Values of a program beside what they would be without error."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.interpreter.secret import is_secret
from jsmpc._src.jaxprs import compat

INFINITY = float(jnp.finfo(jnp.float32).max) / 2  # beyond every encoding


@dataclasses.dataclass
class Value:
    """A value of the program: on the secure side a secret or public array, and without error.

    `known` is what a secure run knows when it is traced: constants, but no public argument. The
    `owner` is the rank of the party that alone knows it. The `misfits`, by the equation where they
    began, are elements of which it is open whether they count: see `interpreter.misfits`.
    """

    fixed: Any
    exact: Any = None
    known: bool = False
    owner: int | None = None
    misfits: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def secret(self) -> bool:
        return is_secret(self.fixed)

    @property
    def truth(self) -> Any:
        """The value without any error of the encoding, floats in 64 bits."""
        return wide(self.fixed) if self.exact is None else self.exact

    def row(self, i: int) -> Value:
        """What iteration i of a loop takes."""
        fixed = self.fixed.map(lambda w: np.asarray(w)[i]) if self.secret else host(self.fixed)[i]
        return Value(fixed, None if self.exact is None else self.exact[i])


def as_value(x: Any) -> Value:
    return x if isinstance(x, Value) else Value(x, known=True)


def is_float(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def is_plain(dtype: Any) -> bool:
    """Whether it is a dtype of NumPy, not one of keys."""
    return not jnp.issubdtype(dtype, jax.dtypes.extended)


def encodable(dtype: Any) -> bool:
    return is_float(dtype) or jnp.issubdtype(dtype, jnp.integer) or dtype == np.dtype(bool)


def host(x: Any) -> Any:
    return np.asarray(x) if is_plain(x.dtype) else x


def wider(dtype: Any) -> Any:
    """The 64-bit kind of a dtype of (complex) numbers with a fraction; others as they are."""
    if is_float(dtype):
        return np.dtype(np.float64)
    return np.dtype(np.complex128) if jnp.issubdtype(dtype, jnp.complexfloating) else dtype


def wide(x: Any) -> Any:
    return np.asarray(x, wider(x.dtype)) if jnp.issubdtype(x.dtype, jnp.inexact) else x


def bounded(x: Any) -> Any:
    """Where numbers are neither NaN nor infinite, nor what masks put for infinity."""
    return np.abs(x) < INFINITY


def difference(a: Any, b: Any) -> float:
    """The largest difference, where b is bounded."""
    if not encodable(b.dtype) or not np.size(b):
        return 0.0
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.abs(np.subtract(a, b, where=bounded(b), out=np.zeros(b.shape))).max())


def largest(x: Any) -> float:
    """The largest bounded magnitude."""
    if not encodable(x.dtype):
        return 0.0
    x = np.abs(np.asarray(x, np.float64))
    return float(x.max(initial=0.0, where=bounded(x)))


def exactly(eqn: Any, operands: list[Any]) -> list[Any]:
    """The results of an equation in 64-bit floating point where JAX has it."""
    params = {k: wider(p) if isinstance(p, np.dtype) else p for k, p in eqn.params.items()}
    wider_eqn = eqn.replace(params=params)
    shapes = [v.aval.shape for v in eqn.outvars]
    try:
        out = compat.bind(wider_eqn, operands)
        if [x.shape for x in out] == shapes:
            return [wide(host(x)) for x in out]
    except Exception:  # whatever JAX raises for a primitive that is not as polymorphic
        pass
    narrow = [
        np.asarray(x, v.aval.dtype) if jnp.issubdtype(v.aval.dtype, jnp.inexact) else x
        for x, v in zip(operands, eqn.invars, strict=True)
    ]
    return [wide(host(x)) for x in compat.bind(eqn, narrow)]
