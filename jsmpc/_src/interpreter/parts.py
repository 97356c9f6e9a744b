"""Parts of a whole, e / Σe of exponentials e <= 1, found by the equations JAX writes for softmax.

Each part is at most 1, and the whole between 1 and the number of parts: it takes little to find the
power of two next to it.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.extend.core import primitives as P  # noqa: N812
from jax.interpreters import batching, mlir


def _quotient(x: Any, whole: Any, *, count: int) -> Any:
    return lax.div(x, whole)


part_p = Primitive("part_of_whole")  # of as many parts as `count`
part_p.def_impl(_quotient)
part_p.def_abstract_eval(lambda x, *_, **__: jax.core.ShapedArray(x.shape, x.dtype))
mlir.register_lowering(part_p, mlir.lower_fun(_quotient, multiple_results=False))
batching.defbroadcasting(part_p)

# What keeps numbers and their order.
_SAME = (lax.broadcast_in_dim_p, lax.reshape_p, lax.squeeze_p, P.stop_gradient_p, P.copy_p)


def found(jaxpr: Any) -> Any:
    """The jaxpr with each quotient of exponentials by their sum as an equation of its own."""
    maker = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    eqns = [
        eqn if (count := _parts(eqn, maker)) is None else _part(eqn, count) for eqn in jaxpr.eqns
    ]
    return jaxpr if eqns == jaxpr.eqns else jaxpr.replace(eqns=eqns)


def _part(eqn: Any, count: int) -> Any:
    return eqn.replace(primitive=part_p, params={"count": count})


def _parts(eqn: Any, maker: Any) -> int | None:
    """How many are summed where an equation is exp(x - max x) / Σ exp(x - max x), along the same
    axes."""
    if eqn.primitive is not lax.div_p:
        return None
    power = _made(eqn.invars[0], lax.exp_p, maker)
    difference = power and _made(power.invars[0], lax.sub_p, maker)
    if not difference:
        return None
    total = _reduced(eqn.invars[1], lax.reduce_sum_p, eqn.invars[0], maker)
    extreme = _reduced(difference.invars[1], lax.reduce_max_p, difference.invars[0], maker)
    if total is None or total != extreme:
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
