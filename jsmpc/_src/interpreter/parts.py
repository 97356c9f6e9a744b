"""Parts of a whole, e / Σe of exponentials e <= 1, found by the equations JAX writes for softmax.

Each part is at most 1 and the whole at least 1: one reciprocal of the whole, as fine as the ring
has room for, and a product for each part are as exact as a quotient for each part.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.extend.core import primitives as P  # noqa: N812
from jax.interpreters import batching, mlir

part_p = Primitive("part_of_whole")
part_p.def_impl(lax.div)
part_p.def_abstract_eval(lambda x, y: jax.core.ShapedArray(x.shape, x.dtype))
mlir.register_lowering(part_p, mlir.lower_fun(lax.div, multiple_results=False))
batching.defbroadcasting(part_p)

# What does not change numbers, along an axis that is kept.
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
    """Whether an equation is exp(x - max x) / Σ exp(x - max x)."""
    if eqn.primitive is not lax.div_p:
        return False
    exponential, whole = eqn.invars
    if isinstance(exponential, Literal) or isinstance(whole, Literal):
        return False
    total = _source(whole, maker)
    if total is None or total.primitive is not lax.reduce_sum_p:
        return False
    if total.invars[0] is not exponential:
        return False
    power = maker.get(exponential)
    if power is None or power.primitive is not lax.exp_p:
        return False
    difference = maker.get(power.invars[0])
    if difference is None or difference.primitive is not lax.sub_p:
        return False
    x, largest = difference.invars
    extreme = _source(largest, maker)
    return (
        extreme is not None
        and extreme.primitive is lax.reduce_max_p
        and extreme.invars[0] is x
        and extreme.params["axes"] == total.params["axes"]
    )


def _source(v: Any, maker: Any) -> Any:
    """The equation that makes the numbers that a variable shows."""
    eqn = None if isinstance(v, Literal) else maker.get(v)
    while eqn is not None:
        if eqn.primitive in _SAME:
            v = eqn.invars[0]
        elif eqn.primitive is lax.max_p and isinstance(eqn.invars[0], Literal):
            v = eqn.invars[1]
        else:
            return eqn
        eqn = None if isinstance(v, Literal) else maker.get(v)
    return None
