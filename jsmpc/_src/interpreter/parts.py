"""Exponentials e = exp(x - max x), and parts of a whole, e / Σe, found by the equations of softmax.

An exponential is at most 1: it takes no comparison with the largest number. So is each part, and
the whole is between 1 and the number of parts: it takes little to find the power of two next to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.extend.core import primitives as P  # noqa: N812
from jax.interpreters import batching, mlir


def _quotient(x: Any, whole: Any, *, count: int) -> Any:
    return lax.div(x, whole)


def _primitive(name: str, f: Callable[..., Any]) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(f)
    primitive.def_abstract_eval(lambda x, *_, **__: jax.core.ShapedArray(x.shape, x.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(f, multiple_results=False))
    batching.defbroadcasting(primitive)
    return primitive


part_p = _primitive("part_of_whole", _quotient)  # of as many parts as `count`
exp_below_p = _primitive("exp_below", lambda x: lax.exp(x))  # of x <= 0

# What keeps numbers and their order.
_SAME = (lax.broadcast_in_dim_p, lax.reshape_p, lax.squeeze_p, P.stop_gradient_p, P.copy_p)


def found(jaxpr: Any) -> Any:
    """The jaxpr with equations of their own for exponentials of what is not above its largest, and
    for the quotients of these by their sum."""
    maker = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    eqns = [_stated(eqn, maker) for eqn in jaxpr.eqns]
    return jaxpr if eqns == jaxpr.eqns else jaxpr.replace(eqns=eqns)


def _stated(eqn: Any, maker: Any) -> Any:
    if eqn.primitive is lax.exp_p and _axes_of_largest(eqn, maker) is not None:
        return eqn.replace(primitive=exp_below_p, params={})
    if eqn.primitive is lax.div_p and (count := _parts(eqn, maker)) is not None:
        return eqn.replace(primitive=part_p, params={"count": count})
    return eqn


def _axes_of_largest(power: Any, maker: Any) -> tuple[int, ...] | None:
    """The axes of the maximum, where an equation is exp(x - max x)."""
    difference = _made(power.invars[0], lax.sub_p, maker)
    if not difference:
        return None
    x, largest = difference.invars
    return _reduced(largest, lax.reduce_max_p, x, maker)


def _parts(eqn: Any, maker: Any) -> int | None:
    """How many are summed where an equation is exp(x - max x) / Σ exp(x - max x), along the same
    axes."""
    power = _made(eqn.invars[0], lax.exp_p, maker)
    extreme = power and _axes_of_largest(power, maker)
    if not extreme:
        return None
    total = _reduced(eqn.invars[1], lax.reduce_sum_p, eqn.invars[0], maker)
    if total != extreme:
        return None
    return math.prod(eqn.invars[0].aval.shape[a] for a in total)


def _made(v: Any, primitive: Primitive, maker: Any) -> Any:
    """The equation of a primitive that makes a variable; None if another does."""
    eqn = None if isinstance(v, Literal) else maker.get(v)
    return eqn if eqn is not None and eqn.primitive is primitive else None


def _reduced(v: Any, primitive: Primitive, x: Any, maker: Any) -> tuple[int, ...] | None:
    """The axes along which a variable is x reduced, standing beside it; None if it is not."""
    every = tuple(range(len(x.aval.shape)))
    spread = _made(v, lax.broadcast_in_dim_p, maker) if v.aval.shape == x.aval.shape else None
    if spread is not None and spread.params["broadcast_dimensions"] == every:
        v = spread.invars[0]  # which has axes of one element
    beside = v.aval.shape
    while (eqn := None if isinstance(v, Literal) else maker.get(v)) is not None:
        if eqn.primitive is primitive:
            axes = tuple(eqn.params["axes"])
            kept = tuple(1 if d in axes else n for d, n in enumerate(x.aval.shape))
            return axes if eqn.invars[0] is x and beside == kept else None
        if eqn.primitive in _SAME:
            v = eqn.invars[0]
        elif eqn.primitive is lax.max_p and _is_least(eqn.invars[0]):
            v = eqn.invars[1]
        else:
            break
    return None


def _is_least(v: Any) -> bool:
    return isinstance(v, Literal) and bool(np.isneginf(v.val))
