"""Parts of programs that are traced once and called again, with numbers that begin anew.

An equation of a numbered primitive has a number of its own in every program, such as a draw. In a
routine numbers count from 0; a call says where they begin.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive, Var
from jax.interpreters import batching, mlir

from jsmpc._src.jaxprs.rewrite import renamed

routine_p = Primitive("routine")
routine_p.multiple_results = True

_NUMBERED = {routine_p: "start"}


def numbered(primitive: Primitive, parameter: str) -> None:
    """Declares that a parameter of a primitive is a number that no other equation may have."""
    _NUMBERED[primitive] = parameter


def call(jaxpr: Any, start: int, operands: Sequence[Any]) -> list[Any]:
    """The results of a routine, a jaxpr without constants, with its numbers from `start` on."""
    results: list[Any] = routine_p.bind(*operands, jaxpr=jaxpr, start=start)
    return results


def body(eqn: Any) -> Any:
    """The jaxpr of a call with the numbers, the line and the operation of the call."""
    jaxpr, start = eqn.params["jaxpr"], eqn.params["start"]
    return jaxpr.replace(eqns=[_placed(e, start, eqn.source_info) for e in jaxpr.eqns])


def _placed(eqn: Any, start: int, place: Any, **changes: Any) -> Any:
    parameter = _NUMBERED.get(eqn.primitive)
    if parameter is not None:
        changes["params"] = {**eqn.params, parameter: eqn.params[parameter] + start}
    return eqn.replace(source_info=place, **changes)


def inlined(jaxpr: Any, transparent: Container[Any] = ()) -> Any:
    """The jaxpr with the equations of routines in the place of their calls, and without those of
    transparent primitives, whose result is their first operand."""
    eqns: list[Any] = []
    names: dict[Any, Any] = {}
    for eqn in jaxpr.eqns:
        if eqn.primitive is routine_p:
            results = _write(eqns, eqn, renamed(eqn.invars, names), transparent)
            names.update(zip(eqn.outvars, results, strict=True))
        elif eqn.primitive in transparent:
            (names[eqn.outvars[0]],) = renamed(eqn.invars[:1], names)
        elif names:
            eqns.append(eqn.replace(invars=renamed(eqn.invars, names)))
        else:
            eqns.append(eqn)
    return jaxpr.replace(eqns=eqns, outvars=renamed(jaxpr.outvars, names))


def _write(
    eqns: list[Any], call: Any, operands: Sequence[Any], transparent: Container[Any]
) -> list[Any]:
    """Adds the equations of a call on operands, of new variables; returns those of its results."""
    jaxpr, start, place = call.params["jaxpr"], call.params["start"], call.source_info
    names = dict(zip(jaxpr.invars, operands, strict=True))
    for eqn in jaxpr.eqns:
        if eqn.primitive in transparent:
            (names[eqn.outvars[0]],) = renamed(eqn.invars[:1], names)
            continue
        given = renamed(eqn.invars, names)
        if eqn.primitive is routine_p:
            results = _write(eqns, _placed(eqn, start, place), given, transparent)
        else:
            results = [Var(v.aval) for v in eqn.outvars]
            eqns.append(_placed(eqn, start, place, invars=given, outvars=results))
        names.update(zip(eqn.outvars, results, strict=True))
    return renamed(jaxpr.outvars, names)


def _evaluate(*operands: Any, jaxpr: Any, start: int) -> list[Any]:
    eqns = [_placed(e, start, e.source_info) for e in jaxpr.eqns]
    return jax.core.eval_jaxpr(jaxpr.replace(eqns=eqns), (), *operands)


def _batch(operands: Any, dims: Any, **params: Any) -> tuple[list[Any], list[int]]:
    out = jax.vmap(lambda *xs: _evaluate(*xs, **params), in_axes=tuple(dims))(*operands)
    return out, [0] * len(out)


routine_p.def_abstract_eval(lambda *_, jaxpr, **__: [v.aval for v in jaxpr.outvars])
routine_p.def_impl(_evaluate)
batching.primitive_batchers[routine_p] = _batch
mlir.register_lowering(routine_p, mlir.lower_fun(_evaluate, multiple_results=True))
