"""Programs of all parties, run by one of them: from its own values to its own results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.api import kept, outcome
from jsmpc._src.api.director import Director
from jsmpc._src.api.held import Elsewhere, Held
from jsmpc._src.api.outcome import is_result
from jsmpc._src.api.session import Purpose, Reveal, Session
from jsmpc._src.api.words import is_words
from jsmpc._src.errors import ProtocolError
from jsmpc._src.interpreter.private import is_private
from jsmpc._src.jaxprs import compat, lines, structure
from jsmpc._src.jaxprs.disclosed import Disclosure
from jsmpc._src.jaxprs.reveal import reveal_p
from jsmpc._src.jaxprs.undisturbed import undisturbed
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection import holders, schedule
from jsmpc._src.readings.projection.choreography import Block, Control, Message
from jsmpc._src.readings.projection.comparison import Comparison
from jsmpc._src.readings.projection.projection import Port, Projection, project
from jsmpc._src.readings.verification.report import Verification
from jsmpc._src.readings.verification.verification import verify


@undisturbed
def projected(
    protocol: Protocol,
    program: Callable[..., Any],
    arguments: Sequence[Any],
    inputs: Sequence[Port],
    outputs: Callable[[Any], list[Port]],
) -> tuple[Projection, Any]:
    """A program of all endpoints with who takes which part of it; the form of its results.

    Args:
      program: of the simulated network, not fused, of what the parties keep (`Protocol.establish`)
        and of arguments whose leaves are arrays.
      arguments: their types.
      inputs: who gives each of the leaves; outputs: from the results to who gets their leaves.
    """
    with compat.protocol_mode():
        make = jax.make_jaxpr(program, return_shape=True)
        jaxpr, results = make(kept.types(protocol), *arguments)
        dealer = protocol.dealer is not None
        given = [*kept.holders(protocol), *inputs]
        found = project(jaxpr, given, outputs(results), protocol.endpoints, dealer)
    return found, results


def verified(protocol: Protocol, projection: Projection) -> Verification:
    """The proof of a program's views, for all sets of endpoints that may be corrupt together.

    Raises:
      ProtocolError: where there are none.
    """
    if not (sets := protocol.corrupt_sets):
        raise ProtocolError(
            f"{type(protocol).__name__} hides nothing: there is nothing to prove. Share by "
            "another protocol"
        )
    dealer = protocol.dealer is not None
    return verify(projection.jaxpr, projection.inputs, protocol.endpoints, dealer, sets)


def given(
    session: Session,
    projection: Projection,
    early: Sequence[Any],
    leaves: Sequence[Any],
    held: Iterator[Held],
) -> list[Any]:
    """What an endpoint gives for a call: what it keeps, its key or its material, then its rows of
    shares and what is public.

    Raises:
      ProtocolError: at a party for a public value that it does not know, at a dealer if its part
        needs it.
    """
    arrays: list[Any] = [*session.state, *early]
    for x in leaves:
        if is_words(x):
            arrays += [row for rows in next(held).rows for row in rows]
        else:
            arrays.append(x)
    numbers = projection.given(session.endpoint)
    for i, number in enumerate(numbers[: len(arrays)]):
        if isinstance(arrays[i], jax.ShapeDtypeStruct):
            _require_unused(session, projection, number)
            arrays[i] = jnp.zeros(arrays[i].shape, arrays[i].dtype)
    return arrays


def _require_unused(session: Session, projection: Projection, number: int) -> None:
    """ProtocolError unless an endpoint can do without a public argument."""
    name = projection.inputs[number].public
    if session.is_party:
        raise ProtocolError(
            f"{name} is not known to {session.name}: a public argument is one that all parties "
            "have. Reveal it to all, or share it as an input of the party that knows it "
            "(jsmpc.input)"
        )
    if session.endpoint in projection.block.inputs[number].needed:
        raise ProtocolError(
            f"{session.name} would have to know {name}, which is public and which the parties "
            "alone know: it deals by it. Compute what depends on it without a loop or a branch"
        )


def gotten(session: Session, results: Any, arrays: Sequence[Any]) -> Any:
    """The results as an endpoint has them: `Held` for shares, markers for what it does not know."""
    remaining = iter(arrays)
    rows = session.rows()

    def own(x: Any) -> Any:
        if is_private(x):
            if session.endpoint == x.rank:
                return next(remaining)
            return Elsewhere(x.shape, x.dtype, session.protocol.parties[x.rank])
        if is_words(x):
            mine = tuple(tuple(next(remaining) for _ in rows) for _ in x.components)
            return Held(session, x.shape, x.dtype, mine, x.digits)
        if session.is_party:
            return next(remaining)
        return Elsewhere(x.shape, x.dtype, "the parties")

    return jax.tree.map(own, results, is_leaf=is_result)


def run_at_endpoint(
    session: Session,
    program: tuple[Projection, Any],
    purpose: Purpose,
    early: Sequence[Any],
    leaves: Sequence[Any],
    held: Sequence[Any],
) -> Any:
    """The results of a program as an endpoint has them; `early` is its key, or its material."""
    if isinstance(session, Director):
        return session.direct(program, purpose, early, leaves, held)
    projection, results = program
    with compat.protocol_mode():
        arrays = given(session, projection, early, leaves, iter(held))
        out, verdict = gotten(session, results, session.run(projection, arrays, purpose))
    return outcome.raised(out, verdict) if session.is_party else out


def told(protocol: Protocol, block: Block) -> Iterator[Reveal]:
    """What a dealer is told to deal for what runs, each a disclosure to it.

    That is all that it receives as parties run, but for digests of what it has too, and what a
    helper is sent to compute with, which one party alone knows.
    """
    parties = set(range(protocol.size))
    compared = {v for s in block.steps if isinstance(s, Comparison) for v in s.operands}
    for step in block.steps:
        if isinstance(step, Control):
            for inner in step.blocks:
                yield from told(protocol, inner)
        if not isinstance(step, Message) or not step.live or step.phase != schedule.ONLINE:
            continue
        known = parties <= holders.held(step.value, parties)
        if step.target >= protocol.size and known and step.value not in compared:
            size, line = math.prod(step.value.aval.shape), lines.without_folder(step.line)
            yield Reveal(protocol.endpoints[step.target], "", size, line)


def reveals(protocol: Protocol, jaxpr: Any) -> tuple[Reveal, ...]:
    """What a user's function reveals: to whom, at which line, and how much a time."""
    found: list[Reveal] = []
    for eqn in compat.open_jaxpr(jaxpr)[0].eqns:
        if eqn.primitive is reveal_p:
            size = math.prod(eqn.invars[0].aval.shape)
            line = lines.short(eqn.source_info.traceback)
            found.append(Reveal.of(protocol, eqn.params["to"], size, line))
        found += [r for body in structure.bodies(eqn) for r in reveals(protocol, body)]
    return tuple(found)


def shown(protocol: Protocol, jaxpr: Any) -> tuple[Disclosure, ...]:
    """As `reveals`, for a mark in the program that calls the function."""
    return tuple(Disclosure(r.to, r.elements, r.line) for r in reveals(protocol, jaxpr))
