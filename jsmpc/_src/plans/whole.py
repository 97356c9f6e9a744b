"""Arguments of plans, which run as they are: neither mapped nor differentiated from outside."""

from __future__ import annotations

from typing import Any, NoReturn

import jax
from jax.custom_batching import custom_vmap

from jsmpc._src.errors import PlanError
from jsmpc._src.jaxprs import tracing


def whole(x: Any) -> Any:
    """An argument; PlanError where it is mapped by vmap or differentiated."""
    return _unmapped(_undifferentiated(x)) if tracing.is_traced(x) else x


@custom_vmap
def _unmapped(x: Any) -> Any:
    return x


@jax.custom_jvp
def _undifferentiated(x: Any) -> Any:
    return x


@_unmapped.def_vmap
def _refuse_map(*_: Any) -> NoReturn:
    raise PlanError(
        "a plan cannot be mapped from outside: make one of the mapped function, as in "
        "jsmpc.plan(jax.vmap(f), shapes), or give it a free dimension"
    )


def _refuse_tangent(primals: Any, tangents: Any) -> Any:
    if isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        return primals[0], tangents[0]
    raise PlanError(
        "a plan cannot be differentiated from outside: make one of the gradient, as in "
        "jsmpc.plan(jax.grad(f), shapes)"
    )


_undifferentiated.defjvp(_refuse_tangent, symbolic_zeros=True)
