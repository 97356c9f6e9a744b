"""Functions that are found in a jaxpr by the equations JAX writes for them.

Some functions of `jax.nn` multiply a large number with a small one: computed equation by equation
their intermediate products leave the ring's range where the result does not. They are recognized
and become one equation with a primitive, and a rule, of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive
from jax.interpreters import mlir

from jsmpc._src.jaxprs import compat

_PATTERNS: list[tuple[Primitive, Callable[..., Any]]] = []


def pattern(name: str, function: Callable[..., Any]) -> Primitive:
    """The primitive for a function of one array, from now on recognized."""
    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(lambda x: jax.core.ShapedArray(x.shape, x.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    _PATTERNS.append((primitive, function))
    return primitive


def recognize(jaxpr: Any) -> Any:
    """The jaxpr with each occurrence of a pattern as one equation."""
    result, i = [], 0
    while i < len(jaxpr.eqns):
        length, eqn = _match(jaxpr, i)
        result.append(eqn)
        i += length
    return jaxpr if len(result) == len(jaxpr.eqns) else jaxpr.replace(eqns=result)


def _match(jaxpr: Any, i: int) -> tuple[int, Any]:
    """How many equations the one at position i stands for, and what they become."""
    first = jaxpr.eqns[i]
    variables = [v for v in first.invars if not isinstance(v, Literal)]
    if len(set(variables)) != 1 or not jnp.issubdtype(variables[0].aval.dtype, jnp.floating):
        return 1, first
    x = variables[0]
    for primitive, function in _PATTERNS:
        if first.primitive is not _equations(function, (), np.dtype(np.float32)).eqns[0].primitive:
            continue
        expected = _equations(function, x.aval.shape, x.aval.dtype)
        found = jaxpr.eqns[i : i + len(expected.eqns)]
        if _equal(expected, found, x) and _hidden(jaxpr, i, found):
            params = {"primitive": primitive, "params": {}, "effects": set()}
            return len(found), found[-1].replace(invars=[x], **params)
    return 1, first


@functools.lru_cache(maxsize=256)
def _equations(function: Callable[..., Any], shape: tuple[int, ...], dtype: Any) -> Any:
    example = jax.ShapeDtypeStruct(shape, dtype)
    jaxpr, _ = compat.open_jaxpr(jax.make_jaxpr(function)(example))
    while len(jaxpr.eqns) == 1 and "jaxpr" in jaxpr.eqns[0].params:
        jaxpr, _ = compat.open_jaxpr(jaxpr.eqns[0].params["jaxpr"])
    return jaxpr


def _equal(expected: Any, found: Sequence[Any], x: Any) -> bool:
    """Whether equations are the expected ones, on x."""
    if len(found) != len(expected.eqns):
        return False
    names = {expected.invars[0]: x}

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, Literal) or isinstance(b, Literal):
            return isinstance(a, Literal) and isinstance(b, Literal) and str(a) == str(b)
        return names.get(a) is b

    for a, b in zip(expected.eqns, found, strict=True):
        if a.primitive is not b.primitive or str(a.params) != str(b.params):
            return False
        if len(a.invars) != len(b.invars) or not all(map(same, a.invars, b.invars)):
            return False
        names.update(zip(a.outvars, b.outvars, strict=True))
    return True


def _hidden(jaxpr: Any, i: int, found: Sequence[Any]) -> bool:
    """Whether nothing else reads what lies between the equations."""
    inner = {v for eqn in found[:-1] for v in eqn.outvars}
    others = jaxpr.eqns[i + len(found) :]
    read = [*jaxpr.outvars, *(v for eqn in others for v in eqn.invars)]
    return not any(not isinstance(v, Literal) and v in inner for v in read)
