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
from jax.extend.core import Literal, jaxpr_as_fun
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.jaxprs import compat, structure, walk
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


@dataclasses.dataclass(frozen=True)
class _Program:
    """A jaxpr, and its constants."""

    eqns: Sequence[Any]
    invars: Sequence[Any]
    outvars: Sequence[Any]
    constants: dict[Any, Any] = dataclasses.field(default_factory=dict)
    constvars: Sequence[Any] = ()

    @classmethod
    def of(cls, closed: Any) -> _Program:
        jaxpr, consts = compat.open_jaxpr(closed)
        constants = dict(zip(jaxpr.constvars, consts, strict=True))
        return cls(jaxpr.eqns, jaxpr.invars, jaxpr.outvars, constants)

    def opened(self) -> _Program:
        """What it calls, if it does nothing else, as the programs of `fresh.per_element`."""
        if len(self.eqns) != 1 or _is_layer(self.eqns[0]):
            return self
        (eqn,) = self.eqns
        form = structure.structure(eqn)
        if not isinstance(form, structure.Call):
            return self
        body = _Program.of(form.body)
        names = dict(zip(body.invars, eqn.invars, strict=True))
        eqns = [e.replace(invars=renamed(e.invars, names)) for e in body.eqns]
        results = dict(zip(eqn.outvars, renamed(body.outvars, names), strict=True))
        outputs = renamed(self.outvars, results)
        return _Program(eqns, self.invars, outputs, self.constants | body.constants).opened()


class Pieces:
    """A program as pieces that run one after another.

    What stands between layers is computed as early as can be, so that little is left there.
    """

    def __init__(self, program: _Program):
        with jax.enable_x64(True):
            self._constants = {v: jax.numpy.asarray(x) for v, x in program.constants.items()}
        self._inputs, self._outputs = program.invars, program.outvars
        self._pieces = _with_spent(_pieces(program), _variables(program.outvars))

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        env = dict(self._constants)
        env.update(zip(self._inputs, arrays, strict=True))
        for piece in self._pieces:
            out = piece.run(*[env[v] for v in piece.operands])
            env.update(zip(piece.results, out, strict=True))
            for v in piece.spent:
                del env[v]
        return [v.val if isinstance(v, Literal) else env[v] for v in self._outputs]


def in_pieces(jaxpr: Any) -> Pieces | None:
    """A closed jaxpr in pieces; None where no layer is called more than once."""
    program = _Program.of(jaxpr).opened()
    called = Counter(id(eqn.params["jaxpr"]) for eqn in program.eqns if _is_layer(eqn))
    return Pieces(program) if max(called.values(), default=0) > 1 else None


def _is_layer(eqn: Any) -> bool:
    return eqn.primitive is P.jit_p and eqn.params["name"] == NAME


def _variables(operands: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys(v for v in operands if not isinstance(v, Literal)))


def _pieces(program: _Program) -> list[_Piece]:
    """What layers need that can be computed at first, the layers for which that is enough, and so
    on; in the end all that no layer needs."""
    needed = _needed_by_layers(program)
    depth: dict[Any, int] = defaultdict(int)  # how many layers there are before a value
    between: dict[int, list[Any]] = defaultdict(list)
    layers: dict[int, list[Any]] = defaultdict(list)
    for eqn in program.eqns:
        before = max((depth[v] for v in _variables(eqn.invars)), default=0)
        if not _is_layer(eqn) and needed.isdisjoint(eqn.outvars):
            before = len(program.eqns)
        (layers if _is_layer(eqn) else between)[before].append(eqn)
        depth.update(dict.fromkeys(eqn.outvars, before + _is_layer(eqn)))
    compiled: dict[int, Callable[..., Any]] = {}
    pieces = []
    for place in sorted({*between, *layers}):
        if place in between:
            pieces.append(_rest(program, between[place]))
        for eqn in layers[place]:
            body = eqn.params["jaxpr"]
            run = compiled.setdefault(id(body), jax.jit(jaxpr_as_fun(body)))
            pieces.append(_Piece(run, eqn.invars, eqn.outvars))
    return pieces


def _needed_by_layers(program: _Program) -> set[Any]:
    """The values on which any layer depends."""
    needed: set[Any] = set()
    for eqn in reversed(program.eqns):
        if _is_layer(eqn) or not needed.isdisjoint(eqn.outvars):
            needed.update(_variables(eqn.invars))
    return needed


def _rest(program: _Program, eqns: Sequence[Any]) -> _Piece:
    """What some equations compute for others."""
    made = {v for eqn in eqns for v in eqn.outvars}
    inner = set(map(id, eqns))
    elsewhere = [v for eqn in program.eqns if id(eqn) not in inner for v in eqn.invars]
    results = [v for v in _variables([*elsewhere, *program.outvars]) if v in made]
    read = _variables([v for eqn in eqns for v in eqn.invars])
    operands = [v for v in read if v not in made]

    part = _Program(eqns, operands, results)

    def between(*values: Array) -> list[Array]:
        return walk.evaluate(part, values, compat.bind)

    return _Piece(jax.jit(between), operands, results)


def _with_spent(pieces: Sequence[_Piece], kept: Sequence[Any]) -> list[_Piece]:
    """The pieces, each with the values that are needed no more after it."""
    needed, found = set(kept), []
    for piece in reversed(pieces):
        values = _variables([*piece.operands, *piece.results])
        spent = [v for v in values if v not in needed]
        needed.update(piece.operands)
        found.append(dataclasses.replace(piece, spent=spent))
    return found[::-1]
