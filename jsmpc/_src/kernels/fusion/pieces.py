"""A program compiled in pieces: each of its layers once, and what stands between them.

XLA compiles a program as a whole, every call of a function anew. So it takes as long as the program
is, though it be one layer over and over.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, jaxpr_as_fun
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.jaxprs import compat, structure
from jsmpc._src.jaxprs.rewrite import renamed
from jsmpc._src.kernels.fusion.layers import NAME

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A compiled part: what it takes, what it gives, and what nothing needs after it."""

    run: Callable[..., Sequence[Array]]
    operands: Sequence[Any]
    results: Sequence[Any]
    spent: Sequence[Any] = ()


class Pieces:
    """A program as pieces that run one after another.

    What stands between layers is computed as early as can be, so that little is left there.
    """

    def __init__(self, jaxpr: Any, consts: Sequence[Any]):
        with jax.enable_x64(True):
            constants = [jax.numpy.asarray(x) for x in consts]
        self._jaxpr = jaxpr
        self._constants = dict(zip(jaxpr.constvars, constants, strict=True))
        self._pieces = _with_spent(_pieces(jaxpr), _variables(jaxpr.outvars))

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        env = dict(self._constants)
        env.update(zip(self._jaxpr.invars, arrays, strict=True))
        for piece in self._pieces:
            out = piece.run(*[env[v] for v in piece.operands])
            env.update(zip(piece.results, out, strict=True))
            for v in piece.spent:
                del env[v]
        return [v.val if isinstance(v, Literal) else env[v] for v in self._jaxpr.outvars]


def in_pieces(jaxpr: Any) -> Pieces | None:
    """A closed jaxpr in pieces; None where no layer is called more than once."""
    opened, consts = _opened(*compat.open_jaxpr(jaxpr))
    called = Counter(id(eqn.params["jaxpr"]) for eqn in opened.eqns if _is_layer(eqn))
    return Pieces(opened, consts) if max(called.values(), default=0) > 1 else None


def _opened(jaxpr: Any, consts: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """What a program calls that does nothing else, as `fresh.per_element` makes them."""
    while len(jaxpr.eqns) == 1 and not _is_layer(jaxpr.eqns[0]):
        (eqn,) = jaxpr.eqns
        form = structure.structure(eqn)
        if not isinstance(form, structure.Call):
            break
        body, more = compat.open_jaxpr(form.body)
        names = dict(zip(body.invars, eqn.invars, strict=True))
        results = dict(zip(eqn.outvars, renamed(body.outvars, names), strict=True))
        jaxpr = jaxpr.replace(
            constvars=[*jaxpr.constvars, *body.constvars],
            eqns=[e.replace(invars=renamed(e.invars, names)) for e in body.eqns],
            outvars=renamed(jaxpr.outvars, results),
        )
        consts = [*consts, *more]
    return jaxpr, consts


def _is_layer(eqn: Any) -> bool:
    return eqn.primitive is P.jit_p and eqn.params["name"] == NAME


def _variables(operands: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(v for v in operands if not isinstance(v, Literal)))


def _pieces(jaxpr: Any) -> list[_Piece]:
    """What layers need that can be computed at first, the layers for which that is enough, and so
    on; in the end all that no layer needs."""
    needed = _needed_by_layers(jaxpr)
    depth: dict[Any, int] = defaultdict(int)  # how many layers there are before a value
    between: dict[int, list[Any]] = defaultdict(list)
    layers: dict[int, list[Any]] = defaultdict(list)
    for eqn in jaxpr.eqns:
        before = max((depth[v] for v in _variables(eqn.invars)), default=0)
        if not _is_layer(eqn) and needed.isdisjoint(eqn.outvars):
            before = len(jaxpr.eqns)
        (layers if _is_layer(eqn) else between)[before].append(eqn)
        depth.update(dict.fromkeys(eqn.outvars, before + _is_layer(eqn)))
    compiled: dict[int, Callable[..., Any]] = {}
    pieces = []
    for place in sorted({*between, *layers}):
        if place in between:
            pieces.append(_rest(jaxpr, between[place]))
        for eqn in layers[place]:
            body = eqn.params["jaxpr"]
            run = compiled.setdefault(id(body), jax.jit(jaxpr_as_fun(body)))
            pieces.append(_Piece(run, eqn.invars, eqn.outvars))
    return pieces


def _needed_by_layers(jaxpr: Any) -> set[Any]:
    """The values on which any layer depends."""
    needed: set[Any] = set()
    for eqn in reversed(jaxpr.eqns):
        if _is_layer(eqn) or not needed.isdisjoint(eqn.outvars):
            needed.update(_variables(eqn.invars))
    return needed


def _rest(jaxpr: Any, eqns: Sequence[Any]) -> _Piece:
    """What some equations compute for others."""
    made = {v for eqn in eqns for v in eqn.outvars}
    inner = set(map(id, eqns))
    elsewhere = [v for eqn in jaxpr.eqns if id(eqn) not in inner for v in _variables(eqn.invars)]
    results = [v for v in _variables([*elsewhere, *jaxpr.outvars]) if v in made]
    read = _variables([v for eqn in eqns for v in eqn.invars])
    operands = [v for v in read if v not in made]
    debug_info = jaxpr.debug_info.with_unknown_names()
    part = jaxpr.replace(
        constvars=[], invars=operands, eqns=eqns, outvars=results, debug_info=debug_info
    )
    return _Piece(jax.jit(jaxpr_as_fun(ClosedJaxpr(part, ()))), operands, results)


def _with_spent(pieces: Sequence[_Piece], kept: Sequence[Any]) -> list[_Piece]:
    """The pieces, each with the values that are needed no more after it."""
    needed, found = set(kept), []
    for piece in reversed(pieces):
        values = _variables([*piece.operands, *piece.results])
        spent = [v for v in values if v not in needed]
        needed.update(piece.operands)
        found.append(dataclasses.replace(piece, spent=spent))
    return found[::-1]
