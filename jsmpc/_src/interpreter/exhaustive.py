"""Selections by conditions of which one always holds, found by how the conditions are made.

Some functions of JAX select NaN where neither a condition on a number nor its opposite holds: so it
is for NaN, and a secret is never NaN. Such a selection becomes an equation that knows the second
condition, so that its rule needs no value for a case that does not exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching, mlir


def _select(second: Any, index: Any, *cases: Any) -> Any:
    return lax.select_n(index, *cases)


# Of the second of two conditions, the number of the one that holds (0 where none does), and for
# none, the first and the second the value that is selected.
exhaustive_p = Primitive("exhaustive_select")
exhaustive_p.def_impl(_select)
exhaustive_p.def_abstract_eval(lambda second, index, none, *_: none)
mlir.register_lowering(exhaustive_p, mlir.lower_fun(_select, multiple_results=False))
batching.defvectorized(exhaustive_p)

_OPPOSITE = {lax.lt_p: lax.ge_p, lax.ge_p: lax.lt_p, lax.gt_p: lax.le_p, lax.le_p: lax.gt_p}
_JOINED = {lax.or_p: lax.and_p, lax.and_p: lax.or_p}


def exhaustive(jaxpr: Any) -> Any:
    """The jaxpr with each selection by two opposite conditions on one number as such."""
    maker = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    eqns = [_known(eqn, maker) or eqn for eqn in jaxpr.eqns]
    return jaxpr if eqns == jaxpr.eqns else jaxpr.replace(eqns=eqns)


def _known(eqn: Any, maker: Any) -> Any:
    """A selection as one that knows the second condition, or None."""
    if eqn.primitive is not lax.select_n_p or len(eqn.invars) != 4:
        return None
    number = _made(eqn.invars[0], maker)
    if number is None or number.primitive is not lax.argmax_p:
        return None
    stacked = _made(number.invars[0], maker)
    if stacked is None or stacked.primitive.name != "stack" or len(stacked.invars) != 3:
        return None
    if tuple(number.params["axes"]) != (stacked.params["axis"],):
        return None
    none, first, second = stacked.invars
    if not _never(none, maker) or not _opposite(first, second, maker):
        return None
    if len(set(_numbers(first, maker))) != 1:
        return None
    if any(v.aval.shape != second.aval.shape for v in eqn.invars):
        return None
    return eqn.replace(primitive=exhaustive_p, params={}, invars=[second, *eqn.invars])


def _made(v: Any, maker: Any) -> Any:
    """The equation that makes a variable, behind conversions from bool to bool."""
    eqn = None if isinstance(v, Literal) else maker.get(v)
    while eqn is not None and eqn.primitive is lax.convert_element_type_p:
        (source,) = eqn.invars
        if not source.aval.dtype == np.dtype(eqn.params["new_dtype"]) == np.dtype(bool):
            return eqn
        eqn = None if isinstance(source, Literal) else maker.get(source)
    return eqn


def _never(v: Any, maker: Any) -> bool:
    """Whether a condition is the constant False."""
    while (eqn := _made(v, maker)) is not None and eqn.primitive is lax.broadcast_in_dim_p:
        v = eqn.invars[0]
    return isinstance(v, Literal) and not np.any(v.val)


def _opposite(first: Any, second: Any, maker: Any) -> bool:
    """Whether of two conditions on numbers that are not NaN exactly one holds."""
    a, b = _made(first, maker), _made(second, maker)
    if a is None or b is None:
        return False
    if a.primitive in _JOINED and b.primitive is _JOINED[a.primitive]:
        return all(_opposite(x, y, maker) for x, y in zip(a.invars, b.invars, strict=True))
    if a.primitive not in _OPPOSITE or b.primitive is not _OPPOSITE[a.primitive]:
        return False
    return all(map(_same, a.invars, b.invars))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Literal) and isinstance(b, Literal):
        return bool(a.val == b.val)
    return a is b


def _numbers(condition: Any, maker: Any) -> list[Any]:
    """The numbers that a condition of comparisons depends on, constants left out."""
    eqn = _made(condition, maker)
    if eqn.primitive in _JOINED:
        return [v for x in eqn.invars for v in _numbers(x, maker)]
    return [v for v in eqn.invars if not isinstance(v, Literal)]
