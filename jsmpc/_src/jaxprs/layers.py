"""Layers of a program: runs of equations, one after another, that are alike.

A model of equal layers is one long program in which the same equations come back, of other weights
and of the result of the layer before. Here each run of them becomes a call of one sub-program.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

from jsmpc._src.jaxprs import compat, lines, structure, walk
from jsmpc._src.jaxprs.layer import layer_p
from jsmpc._src.jaxprs.reveal import reveal_p

# The equations of a layer, those of its sub-programs among them, from which on it is worth a call:
# nothing is fused across its ends.
LEAST = 40

# Of how many runs of equal equations it is seen how they are connected.
_TRIED = 8


def layered(jaxpr: Any) -> Any:
    """The jaxpr with a call in the place of each of several runs of equations that are alike.

    They are alike where they have the same primitives and parameters, at the same lines of the
    user's, and are connected in the same way. What reveals is left as it is.
    """
    sizes = [_size(eqn) for eqn in jaxpr.eqns]
    if sum(sizes) < 2 * LEAST:
        return jaxpr
    program = _Program(jaxpr, sizes)
    eqns, done = [], 0
    for run in program.runs(0, len(sizes)):
        eqns += [*jaxpr.eqns[done : run.start], *program.calls(run)]
        done = run.end
    return jaxpr.replace(eqns=[*eqns, *jaxpr.eqns[done:]]) if done else jaxpr


@dataclasses.dataclass(frozen=True)
class _Run:
    """Layers one after another: where they start, the equations of each, and how many there are."""

    start: int
    length: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.length * self.count

    @property
    def starts(self) -> range:
        return range(self.start, self.end, self.length)


class _Program:
    """A program whose equations are compared."""

    def __init__(self, jaxpr: Any, sizes: Sequence[int]):
        self.jaxpr = jaxpr
        self.size = np.cumsum([0, *sizes])
        numbers: dict[Hashable, int] = {}
        kinds = [numbers.setdefault(_kind(eqn), len(numbers)) for eqn in jaxpr.eqns]
        self.kinds = np.asarray(kinds)
        self.maker = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.outvars}
        self.last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in _variables(eqn.invars)}
        self.last |= dict.fromkeys(_variables(jaxpr.outvars), len(kinds))
        change = np.zeros(len(kinds) + 1, int)
        for v, i in self.maker.items():
            if v in self.last:
                change[i + 1 : i + 2] += 1
                change[self.last[v] + 1 : self.last[v] + 2] -= 1
        self.passed = np.cumsum(change)  # how many results are read beyond each place

    def runs(self, start: int, end: int) -> Iterator[_Run]:
        """The layers among some equations, in order; those that save most are found first."""
        repeated = sorted(self._repeated(start, end), key=lambda found: -self._saved(found[0]))
        for run, slack in repeated[:_TRIED]:
            if connected := self._connected(run, slack):
                yield from self.runs(start, connected.start)
                yield connected
                yield from self.runs(connected.end, end)
                return

    def _saved(self, run: _Run) -> int:
        return int(self.size[run.end] - self.size[run.start + run.length])

    def _repeated(self, start: int, end: int) -> Iterator[tuple[_Run, int]]:
        """Runs of layers of equal equations, and by how much they may begin later."""
        kinds = self.kinds[start:end]
        for length in range(1, len(kinds) // 2 + 1):
            same = kinds[length:] == kinds[:-length]
            if np.count_nonzero(same) < length:
                continue
            edges = np.flatnonzero(np.diff(same, prepend=False, append=False))
            for first, last in edges.reshape(-1, 2) + start:
                count, slack = divmod(int(last - first) + length, length)
                run = _Run(int(first), length, count)
                if count > 1 and self.size[run.start + length] - self.size[run.start] >= LEAST:
                    yield run, slack

    def _connected(self, run: _Run, slack: int) -> _Run | None:
        """The most layers one after another that are connected alike, where they pass the least on
        to each other."""

        def passed(start: int) -> int:
            return int(self.passed[[*dataclasses.replace(run, start=start).starts]].sum())

        begin = min(range(run.start, run.start + slack + 1), key=passed)
        run = dataclasses.replace(run, start=begin)
        forms = [self._form(start, run.length)[0] for start in run.starts]
        alike = [list(group) for _, group in itertools.groupby(range(run.count), forms.__getitem__)]
        best = max(alike, key=len)
        if len(best) == 1:
            return None
        return _Run(run.starts[best[0]], run.length, len(best))

    def _form(self, start: int, length: int) -> tuple[Hashable, list[Any]]:
        """How some equations are connected, and what they read of others, in order."""
        read: dict[Any, int] = {}
        form = []
        for eqn in self.jaxpr.eqns[start : start + length]:
            for v in _variables(eqn.invars):
                place = self.maker.get(v, -1) - start
                if place >= 0:
                    form.append((place, self._output(v)))
                else:
                    form.append((-1, read.setdefault(v, len(read))))
        return tuple(form), list(read)

    def _output(self, v: Any) -> int:
        """Which result of its equation a variable is."""
        return int(self.jaxpr.eqns[self.maker[v]].outvars.index(v))

    def calls(self, run: _Run) -> list[Any]:
        """The layers as calls of the first of them."""
        places = sorted(set().union(*(self._given(start, run.length) for start in run.starts)))
        eqns = self.jaxpr.eqns[run.start : run.start + run.length]
        body = self.jaxpr.replace(
            constvars=[],
            invars=self._form(run.start, run.length)[1],
            eqns=eqns,
            outvars=[eqns[i].outvars[j] for i, j in places],
            debug_info=self.jaxpr.debug_info.with_unknown_names(),
        )
        return [self._call(body, start, run.length, places) for start in run.starts]

    def _given(self, start: int, length: int) -> Iterator[tuple[int, int]]:
        """Which results of some equations others read."""
        for i, eqn in enumerate(self.jaxpr.eqns[start : start + length]):
            for j, v in enumerate(eqn.outvars):
                if self.last.get(v, 0) >= start + length:
                    yield i, j

    def _call(self, body: Any, start: int, length: int, places: Iterable[tuple[int, int]]) -> Any:
        last = self.jaxpr.eqns[start + length - 1]
        return last.replace(
            primitive=layer_p,
            params={"jaxpr": body},
            invars=self._form(start, length)[1],
            outvars=[self.jaxpr.eqns[start + i].outvars[j] for i, j in places],
        )


def _variables(operands: Sequence[Any]) -> list[Any]:
    return [v for v in operands if not isinstance(v, Literal)]


def _size(eqn: Any) -> int:
    """The number of equations that one stands for."""
    bodies = structure.bodies(eqn)
    return 1 + sum(_size(e) for body in bodies for e in compat.open_jaxpr(body)[0].eqns)


class _Alone:
    """A kind that is equal to no other."""


def _kind(eqn: Any) -> Hashable:
    """What two equations have in common that compute the same of equal operands."""
    if eqn.effects or eqn.primitive is reveal_p:
        return _Alone()
    bodies = structure.bodies(eqn)
    if any(walk.contains(body, reveal_p) for body in bodies):
        return _Alone()
    operands = tuple(_operand(v) for v in eqn.invars)
    results = tuple(_type(v) for v in eqn.outvars)
    if isinstance(structure.structure(eqn), structure.Call):
        static: Hashable = _static(bodies[0])
    else:
        static = _static(eqn.params)
    return eqn.primitive, static, operands, results, lines.user_line(eqn)


def _type(v: Any) -> Hashable:
    return getattr(v.aval, "shape", None), str(getattr(v.aval, "dtype", v.aval))


def _operand(v: Any) -> Hashable:
    return (_static(v.val), _type(v)) if isinstance(v, Literal) else _type(v)


def _static(x: Any) -> Hashable:
    """A parameter of an equation as something that is equal where it is, or identical."""
    if hasattr(x, "eqns") or hasattr(x, "jaxpr"):
        return _sub_program(x)
    if isinstance(x, dict):
        return tuple((name, _static(value)) for name, value in sorted(x.items()))
    if isinstance(x, list | tuple):
        return type(x).__name__, tuple(map(_static, x))
    if isinstance(x, np.ndarray | np.generic | float):  # of which some differ and compare equal
        return np.asarray(x).tobytes(), np.shape(x), str(np.asarray(x).dtype)
    try:
        hash(x)
    except TypeError:
        return id(x)
    return type(x).__name__, x


def _sub_program(body: Any) -> Hashable:
    """What is equal for equal sub-programs."""
    jaxpr, consts = compat.open_jaxpr(body)
    names = {v: i for i, v in enumerate((*jaxpr.constvars, *jaxpr.invars))}
    eqns = []
    for eqn in jaxpr.eqns:
        operands = tuple(v if isinstance(v, Literal) else names[v] for v in eqn.invars)
        names.update((v, len(names)) for v in eqn.outvars)
        eqns.append((_kind(eqn), tuple(x if isinstance(x, int) else None for x in operands)))
    results = tuple(_operand(v) if isinstance(v, Literal) else names[v] for v in jaxpr.outvars)
    constants = tuple(id(x) if isinstance(x, jax.Array) else _static(x) for x in consts)
    return str(jaxpr.debug_info.func_src_info), tuple(eqns), results, constants
