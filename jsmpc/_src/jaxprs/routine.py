"""Parts of programs that are traced once and called again, with numbers that begin anew.

An equation of a numbered primitive has a number of its own in every program, such as a draw. In a
routine numbers count from 0; a call says where they begin. An equation of a turned primitive, such
as a message, is of parties by their roles; a call says by how much these are further.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive, Var
from jax.interpreters import batching, mlir

from jsmpc._src.jaxprs.rewrite import renamed

routine_p = Primitive("routine")
routine_p.multiple_results = True

Turned = Callable[[int], int]
"""From the rank that a role has in a routine to the one that it has in a call."""

_NUMBERED = {routine_p: "start"}
_TURNED: dict[Primitive, Callable[[dict[str, Any], Turned], dict[str, Any]]] = {
    routine_p: lambda params, turned: {**params, "turn": _further(params["turn"], turned)}
}


def _further(turn: tuple[int, int], turned: Turned) -> tuple[int, int]:
    return turned(turn[0]), turn[1]


def numbered(primitive: Primitive, parameter: str) -> None:
    """Declares that a parameter of a primitive is a number that no other equation may have."""
    _NUMBERED[primitive] = parameter


def with_roles(
    primitive: Primitive, turned: Callable[[dict[str, Any], Turned], dict[str, Any]]
) -> None:
    """Declares how the parameters of a primitive follow from those of a routine's, where the
    parties' roles are further."""
    _TURNED[primitive] = turned


def call(
    jaxpr: Any, start: int, operands: Sequence[Any], turn: tuple[int, int] = (0, 1)
) -> list[Any]:
    """The results of a routine, a jaxpr without constants, with its numbers from `start` on, and
    roles further by the first number of `turn`, the second being that of the parties."""
    results: list[Any] = routine_p.bind(*operands, jaxpr=jaxpr, start=start, turn=turn)
    return results


def body(eqn: Any) -> Any:
    """The jaxpr of a call with the numbers, the roles, the line and the operation of the call."""
    return eqn.params["jaxpr"].replace(eqns=[_placed(e, eqn) for e in eqn.params["jaxpr"].eqns])


def _placed(eqn: Any, call: Any, **changes: Any) -> Any:
    changes["params"] = _params(eqn, call.params["start"], call.params["turn"])
    return eqn.replace(source_info=call.source_info, **changes)


def _params(eqn: Any, start: int, turn: tuple[int, int]) -> dict[str, Any]:
    params, number = eqn.params, _NUMBERED.get(eqn.primitive)
    if number is not None:
        params = {**params, number: params[number] + start}
    by, parties = turn
    if by and eqn.primitive in _TURNED:
        params = _TURNED[eqn.primitive](params, lambda rank: (rank + by) % parties)
    result: dict[str, Any] = params
    return result


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
    jaxpr = call.params["jaxpr"]
    names = dict(zip(jaxpr.invars, operands, strict=True))
    for eqn in jaxpr.eqns:
        if eqn.primitive in transparent:
            (names[eqn.outvars[0]],) = renamed(eqn.invars[:1], names)
            continue
        given = renamed(eqn.invars, names)
        if eqn.primitive is routine_p:
            results = _write(eqns, _placed(eqn, call), given, transparent)
        else:
            results = [Var(v.aval) for v in eqn.outvars]
            eqns.append(_placed(eqn, call, invars=given, outvars=results))
        names.update(zip(eqn.outvars, results, strict=True))
    return renamed(jaxpr.outvars, names)


def _evaluate(*operands: Any, jaxpr: Any, start: int, turn: tuple[int, int]) -> list[Any]:
    eqns = [e.replace(params=_params(e, start, turn)) for e in jaxpr.eqns]
    return jax.core.eval_jaxpr(jaxpr.replace(eqns=eqns), (), *operands)


def _batch(operands: Any, dims: Any, **params: Any) -> tuple[list[Any], list[int]]:
    out = jax.vmap(lambda *xs: _evaluate(*xs, **params), in_axes=tuple(dims))(*operands)
    return out, [0] * len(out)


routine_p.def_abstract_eval(lambda *_, jaxpr, **__: [v.aval for v in jaxpr.outvars])
routine_p.def_impl(_evaluate)
batching.primitive_batchers[routine_p] = _batch
mlir.register_lowering(routine_p, mlir.lower_fun(_evaluate, multiple_results=True))
