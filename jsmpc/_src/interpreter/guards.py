"""Roots that divide, found by the small number that guards them against zero.

Optimizers divide by √v + ε. An encoding that rounds both v and ε to zero leaves nothing of the
guard, and a quotient by one unit in the last place passes for a step. Such a root becomes an
equation that knows its guard, so that its rule can keep what v is resolved to.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
from jax import lax
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching, mlir

guarded_sqrt_p = Primitive("guarded_sqrt")
guarded_sqrt_p.def_impl(lambda x, *, guard: lax.sqrt(x))
guarded_sqrt_p.def_abstract_eval(lambda x, *, guard: jax.core.ShapedArray(x.shape, x.dtype))
mlir.register_lowering(
    guarded_sqrt_p,
    mlir.lower_fun(lambda x, *, guard: lax.sqrt(x), multiple_results=False),
)
batching.defvectorized(guarded_sqrt_p)


def guarded(jaxpr: Any) -> Any:
    """The jaxpr with each √v of a divisor √v + ε or max(√v, ε) as a guarded root."""
    variables = [v for eqn in jaxpr.eqns for v in eqn.invars if not isinstance(v, Literal)]
    reads = Counter([*variables, *(v for v in jaxpr.outvars if not isinstance(v, Literal))])
    maker = {v: eqn for eqn in jaxpr.eqns for v in eqn.outvars}
    guards: dict[int, float] = {}
    for eqn in jaxpr.eqns:
        if eqn.primitive is not lax.div_p:
            continue
        sum_ = _made(eqn.invars[1], (lax.add_p, lax.max_p), maker, reads)
        if sum_ is None:
            continue
        for v, guard in (sum_.invars, sum_.invars[::-1]):
            root = _made(v, (lax.sqrt_p,), maker, reads)
            if root is not None and isinstance(guard, Literal) and guard.val > 0:
                guards[id(root)] = float(guard.val)
    if not guards:
        return jaxpr
    return jaxpr.replace(
        eqns=[
            eqn.replace(primitive=guarded_sqrt_p, params={"guard": guards[id(eqn)]})
            if id(eqn) in guards
            else eqn
            for eqn in jaxpr.eqns
        ]
    )


def _made(v: Any, primitives: tuple[Any, ...], maker: Any, reads: Any) -> Any:
    """The equation that makes a variable, if it is of these primitives and made for one reader."""
    eqn = None if isinstance(v, Literal) else maker.get(v)
    return eqn if eqn is not None and eqn.primitive in primitives and reads[v] == 1 else None
