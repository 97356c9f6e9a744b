"""Fusion on the elementwise machine: a program as regions of equations, stage by stage."""

from __future__ import annotations

import collections
import itertools
from typing import Any

from jax.extend.core import Literal

from jsmpc._src.jaxprs import compat, lines
from jsmpc._src.kernels import products
from jsmpc._src.kernels.fusion.equations import (
    BINARY,
    COMMUTATIVE,
    EVALUATE,
    NEUTRAL,
    UNARY,
    VIEWS,
    WORDS,
    Evaluation,
    is_join,
    is_word,
    size_of,
    slice_offset,
    variables,
)
from jsmpc._src.kernels.fusion.places import place
from jsmpc._src.kernels.fusion.region import Join, Region, fused_p


class Fused(Evaluation):
    """Every elementwise equation belongs to a region: its stage and its number of elements.

    The stage counts the other equations (products, transpositions, …) that a value waits for;
    within that, an equation goes where its result is used, so that little is passed between
    regions. Equations of one stage and size run as one program.
    """

    def prepare(self) -> None:
        self.maker = {v: e for e in self.jaxpr.eqns for v in e.outvars}
        self.root: dict[Any, tuple[Any, int]] = {}  # of a view: what it shows, from where
        self.constants: dict[Any, int] = {}  # the same word throughout, known now
        self.home: dict[Any, tuple[int, int]] = {}  # of a fused value: its region
        self.others: dict[int, list[Any]] = {}
        fused = self._earliest()
        self._latest(fused)
        self.regions: dict[tuple[int, int], list[Any]] = {}
        for eqn in fused:
            self.regions.setdefault(self.home[eqn.outvars[0]], []).append(eqn)
        self.exported = self._exported()
        self.joins: dict[tuple[int, int], list[Join]] = collections.defaultdict(list)
        self.joined: set[Any] = set()  # the results of joins that regions write
        for stage in sorted(self.others, reverse=True):
            for eqn in self.others[stage]:
                self._write_in_place(eqn)
        self.others = {
            stage: [e for e in eqns if not (e.outvars and e.outvars[0] in self.joined)]
            for stage, eqns in self.others.items()
        }

    def seen(self, v: Any) -> tuple[Any, int]:
        """The value whose elements a variable shows, and from which element on."""
        return self.root.get(v, (v, 0))

    def _view(self, eqn: Any) -> tuple[Any, int] | None:
        """What the result of an equation shows, if it only shows elements in their order."""
        if eqn.primitive.name not in VIEWS:
            return None
        source, out = eqn.invars[0], eqn.outvars[0]
        reshapes = eqn.primitive.name == "reshape"
        reorders = reshapes and eqn.params["dimensions"] is not None
        if len(eqn.invars) > 1 or isinstance(source, Literal) or reorders:
            return None
        seen, start = self.seen(source)
        if eqn.primitive.name == "slice":
            offset = slice_offset(eqn)
            return None if offset is None else (seen, start + offset)
        scalar = size_of(seen) == 1 and eqn.primitive.name == "broadcast_in_dim"
        return (seen, start) if size_of(source) == size_of(out) or scalar else None

    def constant(self, v: Any) -> int | None:
        """The word that a variable or literal consists of, if it is known."""
        if isinstance(v, Literal):
            value = compat.literal_value(v)
            return int(value) if value.dtype in WORDS and value.size == 1 else None
        return self.constants.get(self.seen(v)[0])

    def _unchanged(self, eqn: Any, words: list[int | None]) -> tuple[Any, int] | None:
        """What the result shows, if the equation adds zero, multiplies by one or the like.

        `words` are those that the operands consist of, as far as they are known.
        """
        name, out = eqn.primitive.name, eqn.outvars[0]
        if name not in NEUTRAL or NEUTRAL[name] not in words:
            return None
        operands = [(eqn.invars[0], words[1])]
        if name in COMMUTATIVE:
            operands.append((eqn.invars[1], words[0]))
        for x, word in operands:
            whole = not isinstance(x, Literal) and size_of(x) == size_of(out)
            if whole and word == NEUTRAL[name]:
                return self.seen(x)
        return None

    def _folded(self, eqn: Any, words: list[int | None]) -> int | None:
        """The word that the result of an equation consists of, if its operands tell."""
        name, known = eqn.primitive.name, [word for word in words if word is not None]
        if name in ("mul", "and") and 0 in known:
            return 0
        if not known or len(known) < len(words) or name not in EVALUATE:
            return None
        return EVALUATE[name](*known) % (1 << 8 * eqn.outvars[0].aval.dtype.itemsize)

    def _fusible(self, eqn: Any) -> bool:
        name, size = eqn.primitive.name, size_of(eqn.outvars[0])
        if size == 0:
            return False
        if name in ("draw", "broadcast_in_dim"):
            return name == "draw" or isinstance(eqn.invars[0], Literal)
        return (name in BINARY or name in UNARY) and all(
            is_word(v) and size_of(v) in (1, size) for v in eqn.invars
        )

    def _key(self, eqn: Any, words: list[int | None]) -> Any:
        """What is equal for equations of equal results.

        Parties that hold the same value compute the same from it; here it is computed once.
        """
        operands = [
            self.seen(v) if word is None else word
            for v, word in zip(eqn.invars, words, strict=True)
        ]
        out = eqn.outvars[0]
        return (eqn.primitive, out.aval.dtype, size_of(out), eqn.params.get("number"), *operands)

    def _apart(self, v: Any, size: int) -> bool:
        """Whether a fused value cannot be read by an equation of `size` elements in its region."""
        seen, offset = self.seen(v)
        return seen in self.home and (offset != 0 or self.home[seen][1] != size)

    def _earliest(self) -> list[Any]:
        """Finds the first stage of each value; returns the fusible equations."""
        stage: dict[Any, int] = collections.defaultdict(int)
        fused: list[Any] = []
        made: dict[Any, Any] = {}  # what an equation makes, for those equal to it
        for eqn in self.jaxpr.eqns:
            operands, out = variables(eqn.invars), next(iter(eqn.outvars), None)
            single = len(eqn.outvars) == 1 and is_word(out)
            words = [self.constant(v) for v in eqn.invars] if single else []
            if single and (view := self._view(eqn) or self._unchanged(eqn, words)) is not None:
                self.root[out] = view
                stage[out] = max(stage[v] for v in operands)
            elif single and (word := self._folded(eqn, words)) is not None:
                self.constants[out] = word
            elif single and self._fusible(eqn):
                known, size = made.setdefault(self._key(eqn, words), out), size_of(out)
                if known is not out:
                    self.root[out] = (known, 0)
                    stage[out] = stage[known]
                    continue
                stage[out] = max((stage[v] + self._apart(v, size) for v in operands), default=0)
                self.home[out] = (stage[out], size)
                fused.append(eqn)
            else:
                after = max((stage[v] for v in operands), default=0) + 1
                stage.update((out, after) for out in eqn.outvars)
                self.others.setdefault(after, []).append(eqn)
        return fused

    def _latest(self, fused: list[Any]) -> None:
        """Moves each fused equation to the first stage in which its result is needed."""
        needed: dict[Any, int] = {}

        def need(v: Any, stage: int) -> None:
            seen = self.seen(v)[0]
            needed[seen] = min(stage, needed.get(seen, stage))

        for stage, eqns in self.others.items():
            for eqn in eqns:
                for v in variables(eqn.invars):
                    need(v, stage - 1)
        for eqn in reversed(fused):
            out = eqn.outvars[0]
            stage, size = self.home[out]
            stage = needed.get(out, stage)
            self.home[out] = (stage, size)
            for v in variables(eqn.invars):
                need(v, stage - self._apart(v, size))

    # Evaluation, stage by stage.

    def read(self, v: Any) -> Any:
        if isinstance(v, Literal):
            return compat.literal_value(v)
        if v not in self.env:
            self.bind(self.maker[v])
        return self.env[v]

    def bind(self, eqn: Any) -> None:
        if eqn.primitive is not products.matmul_p:
            return super().bind(eqn)
        values, layouts = zip(*(place(self, v) for v in eqn.invars), strict=True)
        with lines.at_line_of(eqn):
            out = eqn.primitive.bind(*map(self.read, values), layouts=layouts)
        self.env[eqn.outvars[0]] = out

    def outputs(self) -> list[Any]:
        last = max([0, *self.others, *(stage for stage, _ in self.regions)])
        for stage in range(last + 1):
            for eqn in self.others.get(stage, ()):
                self.bind(eqn)
            for region in [r for r in self.regions if r[0] == stage]:
                self._run(region)
        return [self.read(v) for v in self.jaxpr.outvars]

    def _write_in_place(self, eqn: Any) -> None:
        """Lets regions write their results into what joins them, if nothing else reads these.

        A join of several regions' results passes through them, and each writes its part.
        """
        if not is_join(eqn) or eqn.outvars[0] in self.joined:
            return
        joined: set[Any] = set()
        values = self._pieces(eqn, joined)
        if values is None:
            return
        self.joined |= joined
        self.exported -= set(values)
        starts = itertools.accumulate(map(size_of, values), initial=0)
        parts: dict[tuple[int, int], dict[Any, int]] = collections.defaultdict(dict)
        for v, start in zip(values, starts, strict=False):
            parts[self.home[v]][v] = start
        order = [r for r in sorted(self.regions, key=lambda r: r[0]) if r in parts]
        for home in order:
            self.joins[home].append(Join(eqn.outvars[0], parts[home], begins=home == order[0]))

    def _pieces(self, eqn: Any, joined: set[Any]) -> list[Any] | None:
        """The fused values that a join consists of, through the joins that it is made of; None if
        there are others, or some are read elsewhere."""
        joined.add(eqn.outvars[0])
        values: list[Any] = []
        for x in eqn.invars:
            if isinstance(x, Literal):
                return None
            v, start = self.seen(x)
            if start or size_of(v) != size_of(x) or self.uses[v] != 1 or v in values:
                return None
            if v in self.home:
                values.append(v)
                continue
            inner = self.maker.get(v)
            if inner is None or not is_join(inner):
                return None
            more = self._pieces(inner, joined)
            if more is None:
                return None
            values += more
        return values

    def _exported(self) -> set[Any]:
        """Fused values that are read outside of their own region."""
        self.uses: collections.Counter[Any] = collections.Counter()
        self.uses.update(self.seen(v)[0] for v in variables(self.jaxpr.outvars))
        for eqns in self.others.values():
            self.uses.update(self.seen(v)[0] for e in eqns for v in variables(e.invars))
        for region, eqns in self.regions.items():
            seen = {self.seen(v)[0] for e in eqns for v in variables(e.invars)}
            self.uses.update(v for v in seen if self.home.get(v, region) != region)
        return set(self.uses)

    def _run(self, region: tuple[int, int]) -> None:
        compiled = Region(self, region)
        operands = [self.read(v) for v in compiled.operands]
        out = fused_p.bind(*operands, region=compiled)
        self.env.update(zip(compiled.results, out, strict=True))
