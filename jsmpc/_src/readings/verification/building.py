"""From a jaxpr of all parties to a graph of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal

from jsmpc._src.jaxprs import compat, routine, structure, walk
from jsmpc._src.jaxprs.routine import routine_p
from jsmpc._src.kernels.stream import draw_p, keystream_p
from jsmpc._src.network.messages import held_p, message_p, opened_p
from jsmpc._src.readings.verification.graph import (
    Body,
    Graph,
    Loop,
    Node,
    Opened,
    Place,
    Scope,
    Sent,
)
from jsmpc._src.readings.verification.ranges import modulus, most
from jsmpc._src.readings.verification.streams import Streams
from jsmpc._src.ring.residues import residue_p

_COMMUTE = frozenset({"add", "mul", "xor", "and", "or", "max", "min", "eq", "ne"})
_LARGE = 64  # bytes from which on constants are told apart by where they lie


def build(jaxpr: Any, ranks: Mapping[int | str, int]) -> Graph:
    """The graph of a program.

    Args:
      jaxpr: the program, closed and not fused.
      ranks: the endpoint of every name that messages have for one.
    """
    builder, (opened, constants) = _Builder(ranks), compat.open_jaxpr(jaxpr)
    scope = builder.scope
    inputs = [builder.input(v.aval, scope) for v in opened.invars]
    builder.evaluate(opened, inputs, constants)
    return Graph(scope, inputs, builder.streams, frozenset(builder.moduli))


class _Builder:
    """Walks through a program; what is at hand of it are a scope, and the routine that is called.

    Attributes:
      scope: the one at hand.
      streams: what is drawn.
      moduli: of the groups that are drawn from otherwise than as words.
    """

    def __init__(self, ranks: Mapping[int | str, int]) -> None:
        self.scope = self._top = Scope()
        self.streams = Streams()
        self.moduli: set[int] = set()
        self._ranks = ranks
        self._call: Any = None
        self._found: dict[Any, Node] = {}
        self._used: set[Any] = set()
        self._rows: dict[Any, Node] = {}
        self._scans: dict[Scope, tuple[Body, list[Node]]] = {}

    def evaluate(
        self, jaxpr: Any, inputs: Sequence[Node], constants: Sequence[Any] = ()
    ) -> list[Node]:
        opened, _ = compat.open_jaxpr(jaxpr)
        self._used.update(v for e in opened.eqns for v in e.invars if not isinstance(v, Literal))
        self._used.update(v for v in opened.outvars if not isinstance(v, Literal))
        return walk.evaluate(jaxpr, inputs, self._equation, self._constant, constants)

    # Nodes.

    def input(self, aval: Any, scope: Scope) -> Node:
        return Node("input", (), scope, tuple(aval.shape), aval.dtype)

    def _constant(self, value: Any) -> Node:
        value = np.asarray(value)
        size = value.nbytes
        content = value.tobytes() if size <= _LARGE else id(value)
        name = ("constant", value.shape, value.dtype, content)
        if (node := self._found.get(name)) is None:
            node = Node("constant", (), self._top, value.shape, value.dtype, content=value)
            self._found[name] = node
        return node

    def _node(
        self, operation: str, operands: Sequence[Node], aval: Any, params: Any, number: int = 0
    ) -> Node:
        """The node of an operation, of which there is one."""
        ordered = sorted(operands, key=id) if operation in _COMMUTE else operands
        kind = self._kind(operation, params)
        name = (operation, number, kind, aval.dtype, tuple(aval.shape), *map(id, ordered))
        if kind is None or (node := self._found.get(name)) is None:
            scope = self._scope_of(operands)
            shape = tuple(aval.shape)
            node = Node(operation, tuple(operands), scope, shape, aval.dtype, params, number=number)
            node.most = most(operation, operands, params, aval.dtype)
            node.modulus = modulus(operation, operands, params, node.most)
            if kind is not None:
                self._found[name] = node
            self.scope.events.append(node)
        return node

    def _kind(self, operation: str, params: dict[str, Any]) -> Any:
        """What equal operations have in common; None for one that is like no other."""
        if not params:
            return ()
        try:
            kind = tuple(params.items())
            hash(kind)
        except TypeError:
            return None
        return kind

    def _scope_of(self, operands: Sequence[Node]) -> Scope:
        """The innermost scope of some nodes."""
        innermost = self._top
        for node in operands:
            if not self.scope.within(node.scope):  # of another branch
                return self.scope
            if node.scope is not innermost and node.scope.within(innermost):
                innermost = node.scope
        return innermost

    # Equations.

    def _equation(self, eqn: Any, operands: list[Node]) -> list[Node]:
        primitive = eqn.primitive
        if primitive is message_p:
            source, target = (self._ranks[eqn.params[name]] for name in ("source", "target"))
            phase = eqn.params["phase"]
            self.scope.events.append(Sent(operands[0], source, target, phase, self._place(eqn)))
            return operands
        if primitive is opened_p:
            to, what = eqn.params["to"], eqn.params["what"]
            self.scope.events.append(Opened(operands[0], to, what, self._place(eqn)))
            return operands
        if primitive is held_p and operands[0] is operands[1]:
            return operands[:1]
        if primitive is draw_p:
            return [self._draw(eqn, operands)]
        if primitive is routine_p:
            return self._routine(eqn, operands)
        if primitive is residue_p:  # not the instructions that it is made of
            if eqn.params["operation"] == "draw":
                self.moduli.add(eqn.params["modulus"])
            return [self._node("residue", operands[1:], eqn.outvars[0].aval, eqn.params)]
        match structure.structure(eqn):
            case structure.Call(body):
                return self.evaluate(body, operands)
            case structure.Scan() as loop:
                return self._scan(eqn, loop, operands)
            case structure.While() as loop:
                return self._while(eqn, loop, operands)
            case structure.Branches(branches):
                return self._branches(eqn, branches, operands)
        name, params = primitive.name, eqn.params
        results = [self._node(name, operands, v.aval, params, i) for i, v in enumerate(eqn.outvars)]
        if primitive is keystream_p:
            self.streams.derived(results[0], self._place(eqn))
        return results

    def _place(self, eqn: Any) -> Place:
        return Place(eqn, self._call or eqn)

    def _draw(self, eqn: Any, operands: list[Node]) -> Node:
        number, (key,) = eqn.params["number"], operands
        aval = eqn.outvars[0].aval
        if (row := self._row(key, number, aval)) is not None:
            return row
        name = ("draw", key, number, aval.dtype, tuple(aval.shape))
        if (node := self._found.get(name)) is None:
            scope = self.scope if self.streams.each_run(key, self.scope) else key.scope
            node = Node("draw", (key,), scope, tuple(aval.shape), aval.dtype, number=number)
            self._found[name] = node
            self.scope.events.append(node)
        if eqn.outvars[0] in self._used:
            self.streams.drawn(node, self.scope, self._place(eqn))
        else:
            self.streams.unused(node)
        return node

    def _row(self, key: Node, number: int, aval: Any) -> Node | None:
        """A draw that an earlier loop over the same numbers has made, and has given: a row of what
        that loop gave."""
        given = self._rows.get((self.streams.name(key), number, aval.dtype, tuple(aval.shape)))
        scope = self.streams.counted(key)
        if given is None or scope is None or scope not in self._scans:
            return None
        if not scope.within(given.scope):
            return None
        if (node := self._found.get(("row", given, scope))) is None:
            body, arrays = self._scans[scope]
            node = self._found[("row", given, scope)] = self._input_like(given, aval.shape, scope)
            body.sliced.append(node)
            arrays.append(given)
        return node

    def _give(self, body: Body, results: Sequence[Node]) -> None:
        """Notes draws that the runs of a loop give."""
        for node, result in zip(body.rows, results, strict=True):
            once = [*body.after, *body.rows].count(node) == 1
            if node.operation == "draw" and node.scope is body.scope and once:
                (key,), result.row = node.operands, node
                name = self.streams.name(key), node.number, node.dtype, node.shape
                self._rows.setdefault(name, result)

    def _routine(self, eqn: Any, operands: list[Node]) -> list[Node]:
        before = self._call
        self._call = before or eqn
        try:
            return self.evaluate(routine.body(eqn), operands)
        finally:
            self._call = before

    # Loops and conditions.

    def _scan(self, eqn: Any, loop: structure.Scan, operands: list[Node]) -> list[Node]:
        consts, init, given = loop.split(operands)
        arrays = list(given)
        body = Body(Scope(self.scope, repeats=True))
        body.carried = [self._input_like(x, x.shape, body.scope) for x in init]
        body.sliced = [self._input_like(x, x.shape[1:], body.scope) for x in arrays]
        for node, array in zip(body.sliced, arrays, strict=True):
            if _counts(array):
                self.streams.counter(node, body.scope, array)
        self._scans[body.scope] = body, arrays
        out = self._inside(body.scope, loop.body, [*consts, *body.carried, *body.sliced])
        body.after, body.rows = out[: loop.carried], out[loop.carried :]
        del self._scans[body.scope]
        more = arrays[len(given) :]
        results = self._loop(eqn, [body], [*operands, *more], init, arrays)
        self._give(body, results[loop.carried :])
        return results

    def _while(self, eqn: Any, loop: structure.While, operands: list[Node]) -> list[Node]:
        test, consts, init = loop.split(operands)
        body = Body(Scope(self.scope, repeats=True))
        body.carried = [self._input_like(x, x.shape, body.scope) for x in init]
        for number, node in enumerate(body.carried):
            if _counted(loop.body, loop.consts, number):
                self.streams.counter(node, body.scope)
        (choice,) = self._inside(body.scope, loop.condition, [*test, *body.carried])
        body.after = self._inside(body.scope, loop.body, [*consts, *body.carried])
        return self._loop(eqn, [body], operands, init, [], choice)

    def _branches(self, eqn: Any, branches: Any, operands: list[Node]) -> list[Node]:
        choice, *rest = operands
        bodies = [Body(Scope(self.scope)) for _ in branches]
        for body, jaxpr in zip(bodies, branches, strict=True):
            body.rows = self._inside(body.scope, jaxpr, rest)
        return self._loop(eqn, bodies, operands, [], [], choice)

    def _input_like(self, x: Node, shape: tuple[int, ...], scope: Scope) -> Node:
        return Node("input", (), scope, shape, x.dtype)

    def _inside(self, scope: Scope, jaxpr: Any, inputs: Sequence[Node]) -> list[Node]:
        outer, self.scope = self.scope, scope
        try:
            return self.evaluate(jaxpr, inputs)
        finally:
            self.scope = outer

    def _loop(
        self,
        eqn: Any,
        bodies: list[Body],
        operands: Sequence[Node],
        init: list[Node],
        arrays: list[Node],
        choice: Node | None = None,
    ) -> list[Node]:
        scope = self.scope
        node = Node("loop", tuple(operands), scope, (), np.dtype(bool))
        results = [
            Node("result", (node,), scope, tuple(v.aval.shape), v.aval.dtype, number=i)
            for i, v in enumerate(eqn.outvars)
        ]
        place = self._place(eqn)
        scope.events.append(Loop(node, bodies, init, arrays, results, choice, place))
        return results


def _counts(array: Node) -> bool:
    """Whether an array that is scanned over numbers the runs."""
    if array.content is not None and array.content.ndim == 1:
        return len(np.unique(array.content)) == array.content.size
    return array.operation == "iota" and len(array.shape) == 1 and array.dtype == np.uint32


def _counted(body: Any, consts: int, number: int) -> bool:
    """Whether a loop adds one to a carried value, and does nothing else to it."""
    jaxpr, _ = compat.open_jaxpr(body)
    given, out = jaxpr.invars[consts + number], jaxpr.outvars[number]
    for eqn in jaxpr.eqns:
        if out in eqn.outvars:
            one = [v for v in eqn.invars if hasattr(v, "val") and np.all(v.val == 1)]
            return eqn.primitive.name == "add" and given in eqn.invars and len(one) == 1
    return False
