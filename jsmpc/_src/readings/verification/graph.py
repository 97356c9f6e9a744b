"""A traced program of all parties as expressions: each value once, whoever computes it.

A message does not change a value, so its result is its operand. Equal operations of equal operands
are one node: what two parties compute alike is one value.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(eq=False, repr=False)
class Scope:
    """A program, the body of a loop, or a branch: what happens in it, in order.

    Attributes:
      parent: the one around it.
      repeats: whether it may run more than once for each run of that one.
      events: nodes, messages, openings and loops as they come.
    """

    parent: Scope | None = None
    repeats: bool = False
    events: list[Any] = dataclasses.field(default_factory=list)

    @property
    def depth(self) -> int:
        return 0 if self.parent is None else self.parent.depth + 1

    def within(self, other: Scope) -> bool:
        """Whether it is another one, or inside of it."""
        return self is other or (self.parent is not None and self.parent.within(other))


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Node:
    """One value.

    Attributes:
      operation: the name of the primitive that computes it, or what it is instead: `input`,
        `constant`, `draw`, `keystream`, `loop`, `result` of a loop.
      operands: of which it is computed; of a draw, its key.
      scope: in each run of it, the node has one value.
      shape, dtype: its type.
      params: of the equation.
      content: of a constant.
      number: among the results of its equation; of a draw, its number.
      most: what it is not above, where that is less than its type says.
      modulus: of the residues of which it is one; None for any words.
      row: of a loop's result, the draw that each run adds to it.
    """

    operation: str
    operands: tuple[Node, ...]
    scope: Scope
    shape: tuple[int, ...]
    dtype: Any
    params: Any = None
    content: Any = None
    number: int = 0
    most: int | None = None
    modulus: int | None = None
    row: Node | None = None


@dataclasses.dataclass(frozen=True, eq=False, slots=True, repr=False)
class Place:
    """Where something happens: its equation, and that of the outermost routine around it."""

    eqn: Any
    call: Any


@dataclasses.dataclass(frozen=True, eq=False, slots=True, repr=False)
class Sent:
    """Event: a message."""

    node: Node
    source: int
    target: int
    phase: str
    place: Place


@dataclasses.dataclass(frozen=True, eq=False, slots=True, repr=False)
class Opened:
    """Event: a declared opening, to all parties or to one."""

    node: Node
    to: int | None
    what: str
    place: Place


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Body:
    """What a loop runs again and again, or one of the branches of a condition.

    Attributes:
      carried, sliced: its inputs for what is carried, and for what is scanned over.
      after, rows: the carried values after it, and its other results.
    """

    scope: Scope
    carried: list[Node] = dataclasses.field(default_factory=list)
    sliced: list[Node] = dataclasses.field(default_factory=list)
    after: list[Node] = dataclasses.field(default_factory=list)
    rows: list[Node] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False, slots=True, repr=False)
class Loop:
    """Event: a loop, or a condition.

    Attributes:
      node: the node of which its results are, and whose operands it takes.
      bodies: one, or one a branch.
      init, arrays: what is carried at first, and what is scanned over.
      results: what it gives.
      choice: what decides whether it goes on, or which branch is taken; None where neither does.
    """

    node: Node
    bodies: list[Body]
    init: list[Node]
    arrays: list[Node]
    results: list[Node]
    choice: Node | None
    place: Place

    @property
    def branches(self) -> bool:
        """Whether one of its bodies runs, once."""
        return not self.bodies[0].scope.repeats


@dataclasses.dataclass(eq=False, repr=False)
class Graph:
    """A program: its scope, its inputs, the streams that it draws from, and the moduli of draws
    that are nearly uniform."""

    scope: Scope
    inputs: list[Node]
    streams: Any
    moduli: frozenset[int] = frozenset()


def is_words(node: Node) -> bool:
    """Whether a node is of words, of which all bits count."""
    return bool(np.issubdtype(node.dtype, np.integer))


def largest(node: Node) -> int:
    """What a node of words without a sign, or of truth values, is not above."""
    if node.most is not None:
        return node.most
    if np.dtype(node.dtype).kind == "b":
        return 1
    if node.content is not None and node.content.size:
        return int(node.content.max())
    return int(np.iinfo(node.dtype).max)
