"""The projection of a program of all parties on one endpoint, or on several.

Endpoint projection is that of choreographic programming (Carbone, Montesi, Deadlock-freedom-by-
design, POPL 2013): the program says who sends what to whom, each endpoint's own program follows,
and no two of them can wait for one another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jsmpc._src.jaxprs.undisturbed import undisturbed
from jsmpc._src.readings.projection import comparison, holders, needs, schedule
from jsmpc._src.readings.projection.choreography import Block, Message, Value, choreography
from jsmpc._src.readings.projection.comparison import Compared
from jsmpc._src.readings.projection.endpoints import Evaluate, Exchange, Halt, Place, own_part

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or an output of a program: the endpoints that give or need it.

    What is `early` is known before all inputs: keys, and what follows from them. A `public` input
    has a name, and is compared before it is used.
    """

    endpoints: frozenset[int]
    early: bool = False
    public: str = ""


@dataclasses.dataclass(frozen=True)
class Projection:
    """A program of all endpoints, of which each can take its part.

    Attributes:
      block: the choreography, with who takes which step, and when.
      inputs, outputs: who gives or needs them, in the order of the program's; after its own inputs
        come the digests of those that are compared.
      compared: which these are.
      names: the endpoints'.
      jaxpr: the program of all, from which this was found.
    """

    block: Block
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    compared: tuple[Compared, ...]
    names: tuple[str, ...]
    jaxpr: Any = dataclasses.field(compare=False, repr=False)

    def concerns(self, endpoint: int) -> bool:
        """Whether an endpoint takes any step."""
        return any(endpoint in step.at for step in self.block.steps)

    def given(self, endpoint: int) -> list[int]:
        """The numbers of the inputs that an endpoint gives."""
        return [i for i, port in enumerate(self.inputs) if endpoint in port.endpoints]

    def program(
        self, hosted: Sequence[int], exchange: Exchange, halt: Halt, evaluate: Evaluate
    ) -> Callable[..., tuple[Array, list[list[Array]]]]:
        """The program of some endpoints, to be compiled.

        Args:
          hosted: the endpoints; exchange: what carries arrays between them and the others.
          halt: what ends the program where public inputs differ.
          evaluate: what runs the equations, as `kernels.evaluate`.

        Returns:
          a function of a token, uint32[], and for each hosted endpoint a list of what it gives, to
          a token and, for each, a list of what it needs.
        """
        given = _places(self.block.inputs, self.inputs, hosted)
        returned = _places(self.block.outputs, self.outputs, hosted)

        @undisturbed
        def run(token: Array, arrays: Sequence[Sequence[Array]]) -> tuple[Array, list[list[Array]]]:
            means = hosted, exchange, halt, evaluate
            part = own_part(self.block, _flat(given), _flat(returned), *means)
            token, results = part(token, _flat(arrays))
            rest = iter(results)
            return token, [[next(rest) for _ in places] for places in returned]

        return run

    def together(self, evaluate: Evaluate) -> Callable[..., tuple[Array, list[list[Array]]]]:
        """As `program`, of all endpoints, between whom nothing has to be carried."""
        return self.program(
            range(len(self.names)), _nothing_leaves, lambda token, _: token, evaluate
        )


def _nothing_leaves(*_: Any) -> Any:
    raise AssertionError("all endpoints are hosted")


def _places(
    values: Sequence[Value], ports: Sequence[Port], hosted: Sequence[int]
) -> list[list[Place]]:
    """Of each endpoint, which of a program's inputs or outputs are its own."""
    pairs = list(zip(values, ports, strict=True))
    return [[(e, value) for value, port in pairs if e in port.endpoints] for e in hosted]


def _flat(lists: Sequence[Sequence[Any]]) -> list[Any]:
    return [x for values in lists for x in values]


def project(
    jaxpr: Any, inputs: Sequence[Port], outputs: Sequence[Port], names: Sequence[str], dealer: bool
) -> Projection:
    """Finds who holds, needs and sends what, and when.

    Args:
      jaxpr: the simulated program, closed and not fused.
      inputs, outputs: who gives and needs them.
      names: of the endpoints, the parties by rank; `dealer` tells that the last is the dealer.

    Raises:
      ProtocolError: where a step needs what its party does not hold, with the line.
    """
    block = _held(jaxpr, inputs, names, dealer)
    needs.find(block, [set(port.endpoints) for port in outputs], lambda e: names[e])
    public = [i for i, port in enumerate(inputs) if port.public]
    compared = comparison.groups(block, public, len(names) - dealer)
    known = comparison.slot(block) if compared else 0
    digests = [Port(frozenset({e}), early=True) for e in comparison.add(block, compared)]
    starts = [
        dict.fromkeys(p.endpoints, schedule.EARLY if p.early else known if p.public else 0)
        for p in (*inputs, *digests)
    ]
    schedule.find(block, starts)
    ports = tuple(inputs) + tuple(digests), tuple(outputs)
    return Projection(block, *ports, tuple(compared), tuple(names), jaxpr)


def held_after(
    jaxpr: Any, inputs: Sequence[Port], names: Sequence[str], dealer: bool
) -> list[frozenset[int]]:
    """Who holds each output of a program at its end; arguments as of `project`."""
    block, everyone = _held(jaxpr, inputs, names, dealer), set(range(len(names)))
    return [frozenset(holders.held(value, everyone)) for value in block.outputs]


def _held(jaxpr: Any, inputs: Sequence[Port], names: Sequence[str], dealer: bool) -> Block:
    """The choreography with who holds what."""
    ranks: dict[int | str, int] = {i: i for i in range(len(names))}
    if dealer:
        ranks["dealer"] = len(names) - 1
    block = choreography(jaxpr, ranks)
    holders.find(block, [set(port.endpoints) for port in inputs], set(range(len(names))))
    return block


def messages(block: Block) -> list[Message]:
    """A block's own messages that somebody needs."""
    return [s for s in block.steps if isinstance(s, Message) and s.live]
