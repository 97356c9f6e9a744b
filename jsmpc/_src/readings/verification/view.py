"""What corrupt endpoints see of a program, and whether they could have made it up themselves.

Followed in the order in which the program runs. A message that follows from what was seen before
tells nothing, and is dropped. Of a declared opening the opened value is given: the message by which
it becomes known follows from it and from what was seen before, and is dropped. All others must be
hidden; see `sampling`.

Loops and conditions. Each run of a body is a program of its own, whose inputs are what it is given
and what it carries: some seen, the others arbitrary. If its view is simulated from the seen ones,
whatever the others are, by words that are drawn anew in each run, then so are the views of all runs
one after another, however many they are: induction over what is carried, of which as much is seen
after a run as before it. And so is the view of the whole, as long as nothing else that is sent
depends on what the body hid.

A draw that each run gives may hide something after the loop, if in no run anything depends on it
that is received, is carried on, or is given and still occurs after the loop: then the draws of all
runs are uniform words, independent of all of these. The body's messages are simplified with the
draw among them to find out (`_apart`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence

from jsmpc._src.readings.verification.balance import is_invertible
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
from jsmpc._src.readings.verification.sampling import Sampling, Stuck
from jsmpc._src.readings.verification.streams import key_stream


@dataclasses.dataclass(frozen=True)
class Found:
    """A message, or a choice of a loop or a branch, that could not be simulated."""

    event: Sent | None
    place: Place
    stuck: Stuck


@dataclasses.dataclass
class Tally:
    """What was received.

    Attributes:
      messages: how many; in a loop's body each counts once.
      known: those that followed from what was seen before; opened: from a declared opening.
      simulated: those that tell nothing by a lemma.
    """

    messages: int = 0
    known: int = 0
    opened: int = 0
    simulated: int = 0


class View:
    """The view of some endpoints.

    Args:
      graph: the program.
      known: its inputs that they know.
      targets: the numbers of the endpoints; what is opened to all parties is opened to a dealer
        too, who may be told what follows from it.

    Attributes:
      found: what could not be simulated.
      tally: what was received.
    """

    def __init__(self, graph: Graph, known: Iterable[Node], targets: frozenset[int]) -> None:
        self._streams, self._targets = graph.streams, targets
        given = list(known)
        self._begin(given)
        self._exposed: Collection[Node] | None = None
        self._follow(graph.scope)
        self._exposed = self._times  # a key that is seen at last hides nothing, even before
        self._begin(given)
        self._follow(graph.scope)

    def _begin(self, given: Sequence[Node]) -> None:
        self.found: list[Found] = []
        self.tally = Tally()
        self._clock = 0
        self._opened: set[Node] = set()
        self._received: dict[Scope, tuple[list[Node], list[Loop]]] = {}
        self._loops: dict[Node, Loop] = {}
        self._times = dict.fromkeys(given, 0)

    def _seen(self, node: Node) -> bool:
        return node.operation == "constant" or node in self._times

    def _given(self, node: Node) -> bool:
        """Whether a node need not be looked into. What follows from an opened value alone is looked
        into where it comes up again: there, what it was made of hides as before."""
        return self._seen(node) and node not in self._opened

    def _independent(self, node: Node) -> bool:
        """Whether a draw, or a key that is sent, is uniform and independent of all others."""
        assert self._exposed is not None
        stream = key_stream(node)
        key = node.operands[0] if stream is None else stream.operands[0]
        return self._streams.is_fresh(node) and not self._streams.follows(key, self._exposed)

    def _see(self, node: Node) -> None:
        self._times.setdefault(node, self._clock)

    def _follow(self, scope: Scope) -> bool:
        """Goes through a scope; returns whether anything was received there that must be hidden."""
        roots: dict[Node, tuple[Sent | None, Place]] = {}
        loops: list[Loop] = []
        times = self._times
        for event in scope.events:
            if isinstance(event, Node):
                if all(x in times or x.operation == "constant" for x in event.operands):
                    times.setdefault(event, self._clock)
            elif isinstance(event, Sent):
                if event.target in self._targets:
                    self._receive(event, roots)
            elif isinstance(event, Opened):
                self._open(event, roots)
            elif self._loop(event, roots):
                loops.append(event)
        if self._exposed is not None:
            sampling = self._sampling(scope, roots, loops)
            self.found += [Found(*roots[node], why) for node, why in sampling.stuck().items()]
            self.tally.simulated += sampling.by_lemmas
        self._received[scope] = list(roots), loops
        return bool(roots or loops)

    def _sampling(self, scope: Scope, roots: Iterable[Node], loops: Sequence[Loop]) -> Sampling:
        return Sampling(scope, roots, loops, self._given, self._independent, self._apart)

    def _apart(self, result: Node, others: Sequence[Node]) -> bool:
        """Whether the draws in a loop's result are independent of what is received in each run, of
        what is carried on from it, and of other results."""
        assert result.row is not None
        loop = self._loops[result.operands[0]]
        (body,) = loop.bodies
        given = dict(zip(loop.results, [*body.after, *body.rows], strict=True))
        roots, loops = self._received[body.scope]
        told = [x for x in (*body.after, *map(given.__getitem__, others)) if not self._seen(x)]
        found = self._sampling(body.scope, [*roots, *told, result.row], loops)
        return found.is_alone(result.row)

    def _receive(self, event: Sent, roots: dict[Node, tuple[Sent | None, Place]]) -> None:
        self.tally.messages += 1
        self._clock += 1
        if self._seen(event.node):
            self.tally.known += 1
            return
        roots[event.node] = event, event.place
        self._see(event.node)

    # Declared openings.

    def _open(self, event: Opened, roots: dict[Node, tuple[Sent | None, Place]]) -> None:
        if event.to is not None and event.to not in self._targets:
            return
        if (message := self._completing(event.node, roots)) is not None:
            del roots[message]
            self._opened.add(message)
            self.tally.opened += 1
        self._see(event.node)

    def _completing(self, value: Node, roots: Iterable[Node]) -> Node | None:
        """The message that follows from an opened value and what was seen before: the last of its
        addends that was received."""
        addends: list[Node] = []
        waiting = [value]
        while waiting:
            node = waiting.pop()
            if node not in roots and is_invertible(node):
                waiting += node.operands
            else:
                addends.append(node)
        received = [n for n in addends if n in roots]
        if not received or not all(map(self._seen, addends)):
            return None
        last = max(received, key=self._times.__getitem__)
        others = list(addends)
        others.remove(last)
        before = all(self._times.get(n, -1) < self._times[last] for n in others)
        return last if before else None

    # Loops and conditions.

    def _loop(self, loop: Loop, roots: dict[Node, tuple[Sent | None, Place]]) -> bool:
        """Follows a loop; returns whether anything is received there."""
        self._loops[loop.node] = loop
        choice = loop.choice
        if choice is not None and loop.branches and not self._seen(choice):
            self._clock += 1
            roots[choice] = None, loop.place
            self._see(choice)
        inner = [self._body(loop, body) for body in loop.bodies]
        columns = zip(*(seen for seen, _ in inner), strict=True)
        for node, column in zip(loop.results, columns, strict=True):
            if all(column):
                self._see(node)
        return any(received for _, received in inner)

    def _body(self, loop: Loop, body: Body) -> tuple[list[bool], bool]:
        """Which results are seen, and whether anything is received, once no more is assumed to be
        seen than is seen after each run."""
        carry = [self._seen(x) for x in loop.init]
        while True:
            before = self._times.copy(), len(self.found), dataclasses.replace(self.tally)
            for node, seen in zip(body.carried, carry, strict=True):
                if seen:
                    self._see(node)
            for node, array in zip(body.sliced, loop.arrays, strict=True):
                if self._seen(array):
                    self._see(node)
            received = self._follow(body.scope)
            after = [self._seen(x) for x in body.after]
            kept = [a and b for a, b in zip(carry, after, strict=True)]
            if kept == carry:
                break
            times, count, self.tally = before
            self._times.clear()
            self._times.update(times)
            del self.found[count:]
            carry = kept
        if not loop.branches and loop.choice is not None and not self._seen(loop.choice):
            stuck = Stuck(True, "how often the loop runs depends on what they do not know")
            self.found.append(Found(None, loop.place, stuck))
            received = True
        return [*carry, *map(self._seen, body.rows)], received
