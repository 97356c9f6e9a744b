"""Parts of a whole, e / Σe of exponentials e <= 1, found by the equations JAX writes for softmax.

Each part is at most 1 and the whole at least 1: one reciprocal of the whole, as fine as the ring
has room for, and a product for each part are as exact as a quotient for each part.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.extend.core import primitives as P  # noqa: N812
from jax.interpreters import batching, mlir

part_p = Primitive("part_of_whole")
part_p.def_impl(lax.div)
part_p.def_abstract_eval(lambda x, y: jax.core.ShapedArray(x.shape, x.dtype))
mlir.register_lowering(part_p, mlir.lower_fun(lax.div, multiple_results=False))
batching.defbroadcasting(part_p)

# What keeps numbers and their order.
_SAME = (lax.broadcast_in_dim_p, lax.reshape_p, lax.squeeze_p, P.stop_gradient_p, P.copy_p)


def found(jaxpr: Any) -> Any:
    """The jaxpr with each quotient of exponentials by their sum as an equation of its own."""
    maker = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    eqns = [
        eqn.replace(primitive=part_p, params={}) if _is_part(eqn, maker) else eqn
        for eqn in jaxpr.eqns
    ]
    return jaxpr if eqns == jaxpr.eqns else jaxpr.replace(eqns=eqns)


def _is_part(eqn: Any, maker: Any) -> bool:
    """Whether an equation is exp(x - max x) / Σ exp(x - max x), along the same axes."""
    if eqn.primitive is not lax.div_p:
        return False
    power = _made(eqn.invars[0], lax.exp_p, maker)
    difference = power and _made(power.invars[0], lax.sub_p, maker)
    if not difference:
        return False
    total = _reduced(eqn.invars[1], lax.reduce_sum_p, eqn.invars[0], maker)
    extreme = _reduced(difference.invars[1], lax.reduce_max_p, difference.invars[0], maker)
    return total is not None and total == extreme


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
