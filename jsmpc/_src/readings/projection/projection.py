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

from jsmpc._src.readings.projection import holders, needs, schedule
from jsmpc._src.readings.projection.choreography import Block, Message, Value, choreography
from jsmpc._src.readings.projection.endpoints import Evaluate, Exchange, Place, own_part

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Port:
    """An input or an output of a program: the endpoints that give or need it.

    What is `early` is known before all inputs: keys, and what follows from them.
    """

    endpoints: frozenset[int]
    early: bool = False


@dataclasses.dataclass(frozen=True)
class Projection:
    """A program of all endpoints, of which each can take its part.

    Attributes:
      block: the choreography, with who takes which step, and when.
      inputs, outputs: who gives or needs them, in the order of the program's.
      names: the endpoints'.
      jaxpr: the program of all, from which this was found.
    """

    block: Block
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    names: tuple[str, ...]
    jaxpr: Any = dataclasses.field(compare=False, repr=False)

    def concerns(self, endpoint: int) -> bool:
        """Whether an endpoint takes any step."""
        return any(endpoint in step.at for step in self.block.steps)

    def uses(self, endpoint: int) -> list[bool]:
        """Of each input that an endpoint gives, whether its part of the program needs it."""
        pairs = zip(self.block.inputs, self.inputs, strict=True)
        return [endpoint in v.needed for v, port in pairs if endpoint in port.endpoints]

    def program(
        self, hosted: Sequence[int], exchange: Exchange, evaluate: Evaluate
    ) -> Callable[..., tuple[Array, list[list[Array]]]]:
        """The program of some endpoints, to be compiled.

        Args:
          hosted: the endpoints; exchange: what carries arrays between them and the others.
          evaluate: what runs the equations, as `kernels.evaluate`.

        Returns:
          a function of a token, uint32[], and for each hosted endpoint a list of what it gives, to
          a token and, for each, a list of what it needs.
        """
        given = _places(self.block.inputs, self.inputs, hosted)
        returned = _places(self.block.outputs, self.outputs, hosted)

        def run(token: Array, arrays: Sequence[Sequence[Array]]) -> tuple[Array, list[list[Array]]]:
            part = own_part(self.block, _flat(given), _flat(returned), hosted, exchange, evaluate)
            token, results = part(token, _flat(arrays))
            rest = iter(results)
            return token, [[next(rest) for _ in places] for places in returned]

        return run


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
    ranks: dict[int | str, int] = {i: i for i in range(len(names))}
    if dealer:
        ranks["dealer"] = len(names) - 1
    block = choreography(jaxpr, ranks)
    holders.find(block, [set(port.endpoints) for port in inputs], set(range(len(names))))
    needs.find(block, [set(port.endpoints) for port in outputs], lambda e: names[e])
    starts = [dict.fromkeys(p.endpoints, schedule.EARLY if p.early else 0) for p in inputs]
    schedule.find(block, starts)
    return Projection(block, tuple(inputs), tuple(outputs), tuple(names), jaxpr)


def messages(block: Block) -> list[Message]:
    """A block's own messages that somebody needs."""
    return [s for s in block.steps if isinstance(s, Message) and s.live]
