"""The proof that no view of a program tells anything: a reading of the traced program.

The theorem. Let a program of all parties be given, and a set of endpoints that may be corrupt
together. For every value of the inputs (shares of others among them, however they came about), and
for every value of what is opened to the set on purpose, what the set receives has one distribution,
which follows from its own inputs and the opened values: a simulator that knows these makes it.

What it rests on:

- ChaCha20 is a pseudorandom function: draws of a key that the set does not know are uniform and
  independent, if no two of them have the same key and number (`streams`).
- Optimistic sampling (`sampling`), a rule for each operation on words (`balance`).
- Operations modulo m are what their marks say (`jsmpc._src.ring.residues`). Draws modulo m are at
  most 2^-40 from uniform for each word that they are made of: views are simulated up to the sum of
  these distances.
- A lemma for each step of a protocol that hides more than by single words (`lemmas`). That of
  function keys rests on a pseudorandom generator too.
- Opened values are what the function says: they follow from the inputs and from what the set has
  seen before, as truncation rounds by what is opened under a mask. That is what the tests of every
  operation against `plain` show; that the words of a share cancel is not proved here.
- Endpoints follow the program (semi-honest), and its shapes and times are public.

Then views compose: that of a program that is run on the shares of another, whatever these were, is
simulated by itself, from the shares that the set holds. So programs are proved one by one, and so
are the runs of a loop (`view`).

A set of fewer parties than may be corrupt sees less than a larger one. Where it is not proved by
itself, as the shares of some others are not drawn in this program, it is given their inputs too, up
to the largest set: shares of so many tell nothing. What it receives, and what is opened to it,
stay its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jsmpc._src.jaxprs import lines
from jsmpc._src.jaxprs.undisturbed import undisturbed
from jsmpc._src.readings.projection.projection import Port
from jsmpc._src.readings.verification.building import build
from jsmpc._src.readings.verification.graph import Graph, Loop, Node, Opened, Place, Scope
from jsmpc._src.readings.verification.report import (
    LEAK,
    UNDECIDED,
    Finding,
    SetProof,
    Verification,
)
from jsmpc._src.readings.verification.streams import Repeat
from jsmpc._src.readings.verification.view import Found, View

Corrupt = tuple[int, ...]


@undisturbed
def verify(
    jaxpr: Any,
    inputs: Sequence[Port],
    names: Sequence[str],
    dealer: bool,
    corrupt: Iterable[Corrupt],
) -> Verification:
    """The proof of a program for some sets of corrupt endpoints.

    Args:
      jaxpr: the program of all endpoints, closed and not fused.
      inputs: who gives them; more may follow than the program has.
      names: of the endpoints, the parties by rank; `dealer` tells that the last is the dealer.
      corrupt: the sets.
    """
    ranks: dict[int | str, int] = {i: i for i in range(len(names))}
    if dealer:
        ranks["dealer"] = len(names) - 1
    graph = build(jaxpr, ranks)
    ports = list(zip(graph.inputs, inputs, strict=False))
    for node, port in ports:
        if port.early and node.shape == (8,):
            graph.streams.key(node)
    sets = list(corrupt)
    proofs = [_proof(graph, ports, c, sets, names) for c in sets]
    openings = tuple(dict.fromkeys(_openings(graph.scope, names, dealer)))
    repeats = tuple(_repeated(r) for r in graph.streams.repeats)
    moduli = tuple(sorted(graph.moduli))
    return Verification(tuple(proofs), openings, repeats, graph.streams.count, moduli)


def _proof(
    graph: Graph,
    ports: Sequence[tuple[Node, Port]],
    corrupt: Corrupt,
    sets: Sequence[Corrupt],
    names: Sequence[str],
) -> SetProof:
    """That of one set: by itself, else with the inputs of a larger one."""
    larger = [c for c in sets if set(c) > set(corrupt)]
    largest = max(map(len, larger), default=0)
    view = _view(graph, ports, corrupt, corrupt)
    for others in (c for c in larger if len(c) == largest):
        if not view.found:
            break
        view = min(view, _view(graph, ports, corrupt, others), key=lambda v: len(v.found))
    findings = tuple(_finding(f, names) for f in view.found)
    who, tally = tuple(names[e] for e in corrupt), view.tally
    return SetProof(who, tally.messages, tally.known, tally.opened, tally.simulated, findings)


def _view(
    graph: Graph, ports: Sequence[tuple[Node, Port]], corrupt: Corrupt, giving: Corrupt
) -> View:
    known = [node for node, port in ports if not port.endpoints.isdisjoint(giving)]
    return View(graph, known, frozenset(corrupt))


# In words.


def _finding(found: Found, names: Sequence[str]) -> Finding:
    verdict = UNDECIDED if found.stuck.random else LEAK
    where = _protocol_line(found.place), lines.user_line(found.place.call)
    if (sent := found.event) is None:
        return Finding(verdict, "the choice of a loop or a branch", *where, found.stuck.reason)
    kind = f"{sent.node.dtype}[{','.join(map(str, sent.node.shape))}]"
    message = f"{names[sent.source]} to {names[sent.target]}, {kind}, {sent.phase}"
    return Finding(verdict, message, *where, found.stuck.reason)


def _openings(
    scope: Scope, names: Sequence[str], dealer: bool, repeated: bool = False
) -> Iterator[str]:
    for event in scope.events:
        if isinstance(event, Opened):
            yield _opening(event, names, dealer, repeated)
        elif isinstance(event, Loop):
            for body in event.bodies:
                again = repeated or body.scope.repeats
                yield from _openings(body.scope, names, dealer, again)


def _opening(event: Opened, names: Sequence[str], dealer: bool, repeated: bool) -> str:
    parties = names[: len(names) - dealer]
    who = f"{', '.join(parties)} learn" if event.to is None else f"{names[event.to]} learns"
    size = math.prod(event.node.shape)
    count = f"{size} number{'s' if size != 1 else ''}"
    line = lines.short(event.place.call.source_info.traceback)
    where = f" at {line}" if line else ""
    return f"{who} {event.what}, {count}{where}{', in each run of a loop' if repeated else ''}"


def _repeated(repeat: Repeat) -> str:
    places = dict.fromkeys(map(_at, (repeat.first, repeat.again)))
    return f"{repeat.what}: {' and '.join(places)}"


def _at(place: Place) -> str:
    return lines.short(place.call.source_info.traceback) or "an unknown line"


def _protocol_line(place: Place) -> str:
    return str(place.eqn.params.get("at", ""))
