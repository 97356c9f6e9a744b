"""One endpoint's part of a choreography in time: its own work, and exchanges between.

It is read from the very program that the endpoint would compile: so what the kernels fuse counts
as they run it, and what nobody needs is in it for nobody.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src import kernels
from jsmpc._src.jaxprs import compat, structure, walk
from jsmpc._src.jaxprs.structure import Branches, Call, Scan
from jsmpc._src.links.exchange import exchange, exchange_p
from jsmpc._src.readings.cost import Counter as Counted
from jsmpc._src.readings.cost import Label, label
from jsmpc._src.readings.pricing.work import Amounts, Work
from jsmpc._src.readings.projection.choreography import Block, Control, Message
from jsmpc._src.readings.projection.endpoints import ordered
from jsmpc._src.readings.projection.projection import Projection


@dataclasses.dataclass(frozen=True)
class Sent:
    """A message on its way: bytes from one endpoint to another, for a label."""

    source: int
    target: int
    size: int
    label: Label


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What an endpoint sends and receives in one round."""

    sent: tuple[Sent, ...]
    received: tuple[Sent, ...]


@dataclasses.dataclass(frozen=True)
class Loop:
    """Steps that are repeated."""

    steps: tuple[Any, ...]
    times: int


@dataclasses.dataclass(frozen=True)
class Choice:
    """Branches; all endpoints take the same one, which is counted: that of the most rounds."""

    branches: tuple[tuple[Any, ...], ...]
    taken: int = 0


Steps = tuple[Any, ...]  # of Work, Exchange, Loop and Choice


def own_program(projection: Projection, endpoint: int) -> Any:
    """The jaxpr that an endpoint would compile."""
    with compat.protocol_mode():
        given = [
            jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
            for v, port in zip(projection.block.inputs, projection.inputs, strict=True)
            if endpoint in port.endpoints
        ]

        program = projection.program([endpoint], exchange, lambda token, _: token, kernels.evaluate)
        return jax.make_jaxpr(program)(jnp.zeros((), jnp.uint32), [given])


def timeline(projection: Projection, endpoint: int, program: Any) -> Steps:
    """The steps of `own_program` with what is sent in each exchange."""
    return _steps(program, _Rounds(projection.block, endpoint))


def local(program: Any) -> Steps:
    """The steps of a program that exchanges nothing."""
    return _steps(program, None)


class _Rounds:
    """What an endpoint's program exchanges and repeats in a block, in its order."""

    def __init__(self, block: Block, endpoint: int) -> None:
        self.endpoint = endpoint
        self._next: Iterator[Any] = (
            step
            for step, _ in ordered(block, [endpoint])
            if isinstance(step, list) or (isinstance(step, Control) and step.exchanges)
        )

    def exchange(self) -> Exchange:
        messages: list[Message] = next(self._next)
        sent = [Sent(m.source, m.target, m.size, label(m.line, m.operation)) for m in messages]
        return Exchange(
            tuple(s for s in sent if s.source == self.endpoint),
            tuple(s for s in sent if s.target == self.endpoint),
        )

    def control(self) -> Control:
        """The next loop or condition inside of which something is exchanged."""
        found: Control = next(self._next)
        return found

    def inner(self, control: Control) -> list[_Rounds]:
        """Those of its bodies."""
        return [_Rounds(block, self.endpoint) for block in control.blocks]


def _steps(jaxpr: Any, rounds: _Rounds | None) -> Steps:
    found: list[Any] = []
    _extend(found, jaxpr, rounds)
    return tuple(found)


def _extend(found: list[Any], jaxpr: Any, rounds: _Rounds | None) -> None:
    for eqn in compat.open_jaxpr(jaxpr)[0].eqns:
        form = structure.structure(eqn)
        if eqn.primitive is exchange_p:
            assert rounds is not None
            found.append(rounds.exchange())
        elif form is None:
            if not found or not isinstance(found[-1], Work):
                found.append(Work())
            found[-1].add(eqn)
        elif isinstance(form, Call):
            _extend(found, form.body, rounds)
        else:
            bodies = structure.bodies(eqn)
            inner: Sequence[_Rounds | None] = [None] * len(bodies)
            taken = 0
            if rounds is not None and any(walk.contains(b, exchange_p) for b in bodies):
                control = rounds.control()
                inner, taken = rounds.inner(control), _longest(control.blocks)
            parts = [_steps(body, r) for body, r in zip(bodies, inner, strict=True)]
            if isinstance(form, Branches):
                found.append(Choice(tuple(parts), taken))
            else:
                times = form.length if isinstance(form, Scan) else 1
                found.append(Loop(sum(parts, ()), times))


def _longest(blocks: Sequence[Block]) -> int:
    """The block of the most rounds, of which all endpoints know: its number."""
    return max(range(len(blocks)), key=lambda i: Counted().rounds(blocks[i]))


def total(steps: Steps) -> Amounts:
    """All the work of steps together, loops multiplied out; of branches the one that is taken."""
    found: Amounts = Counter()
    for step in steps:
        match step:
            case Work():
                found.update(step.total())
            case Loop():
                inner = total(step.steps)
                found.update({unit: amount * step.times for unit, amount in inner.items()})
            case Choice():
                found.update(total(step.branches[step.taken]))
    return found
