"""The walk over a jaxpr's equations that all readings of a program share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import Literal, Primitive

from jsmpc._src.jaxprs import compat, structure


def evaluate(
    jaxpr: Any,
    args: Sequence[Any],
    apply: Callable[[Any, list[Any]], Sequence[Any]],
    lift: Callable[[Any], Any] = lambda x: x,
    consts: Sequence[Any] = (),
) -> list[Any]:
    """The outputs of a (closed) jaxpr in any domain of values.

    Args:
      jaxpr: the program.
      args: a value of the domain for each of its inputs.
      apply: what an equation does: from the equation and its operands to its results.
      lift: from a constant of the program to the domain.
      consts: the program's constants, if it does not hold them itself.
    """
    jaxpr, own = compat.open_jaxpr(jaxpr)
    env: dict[Any, Any] = dict(zip(jaxpr.invars, args, strict=True))
    env.update(zip(jaxpr.constvars, map(lift, own or consts), strict=True))

    def read(v: Any) -> Any:
        return lift(compat.literal_value(v)) if isinstance(v, Literal) else env[v]

    for eqn in jaxpr.eqns:
        results = apply(eqn, [read(v) for v in eqn.invars])
        env.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def contains(jaxpr: Any, primitive: Primitive) -> bool:
    """Whether a primitive stands anywhere in a program, its sub-programs included."""
    return any(
        eqn.primitive is primitive or any(contains(b, primitive) for b in structure.bodies(eqn))
        for eqn in compat.open_jaxpr(jaxpr)[0].eqns
    )
