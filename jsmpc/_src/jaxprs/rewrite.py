"""Jaxprs made from jaxprs."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from jax._src.interpreters import partial_eval
from jax.extend.core import Literal


def without(jaxpr: Any, primitives: Container[Any]) -> Any:
    """The jaxpr with the results of some primitives replaced by their first operands."""
    first: dict[Any, Any] = {}

    def replaced(variables: Sequence[Any]) -> list[Any]:
        return [v if isinstance(v, Literal) else first.get(v, v) for v in variables]

    eqns = []
    for eqn in jaxpr.eqns:
        operands = replaced(eqn.invars)
        if eqn.primitive in primitives:
            first[eqn.outvars[0]] = operands[0]
        else:
            eqns.append(eqn.replace(invars=operands))
    return jaxpr.replace(eqns=eqns, outvars=replaced(jaxpr.outvars))


def without_dead_code(jaxpr: Any) -> Any:
    """The jaxpr without the equations that no output needs."""
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]
