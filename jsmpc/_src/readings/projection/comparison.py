"""Public inputs are compared before anything that follows from them is sent.

Endpoints that are given different ones would compute garbage, and disclose what none of them meant
to. So each tells all others a digest of its own, in the first exchange of the program; an input
counts as known after it, and who finds a difference ends the program there. Since all tell all, all
of them find one if there is any.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jsmpc._src.readings.projection import schedule
from jsmpc._src.readings.projection.choreography import Block, Message, Step, Value

DIGEST = jax.ShapeDtypeStruct((32,), np.uint8)


@dataclasses.dataclass(eq=False)
class Comparison(Step):
    """Values, one of each endpoint that takes it, which must be equal for it to go on."""


@dataclasses.dataclass(frozen=True)
class Compared:
    """Public inputs, by number, that some endpoints compare."""

    inputs: tuple[int, ...]
    endpoints: frozenset[int]


def groups(block: Block, public: Sequence[int], parties: int) -> list[Compared]:
    """Who compares which public inputs: all parties, and a dealer who deals by them.

    A dealer who does not may not know them, and is not told what they could be guessed from.
    """
    found: dict[frozenset[int], list[int]] = {}
    for i in public:
        among = frozenset(range(parties)) | block.inputs[i].needed
        found.setdefault(among, []).append(i)
    return [Compared(tuple(inputs), among) for among, inputs in found.items() if len(among) > 1]


def slot(block: Block) -> int:
    """The exchange in which they are compared: that of the seeds, if there is one."""
    setup = (s for s in block.steps if isinstance(s, Message) and s.phase == schedule.SETUP)
    return schedule.EARLY + 1 if any(s.live for s in setup) else 1


def add(block: Block, compared: Sequence[Compared]) -> list[int]:
    """Adds the comparisons to a block, before all other steps; who gives the new inputs."""
    phase = schedule.SETUP if slot(block) < 0 else schedule.ONLINE
    steps: list[Step] = []
    givers = []
    for group in compared:
        everyone, own = set(group.endpoints), []
        for source in sorted(everyone):
            value = Value(DIGEST, origins={source: None}, needed=everyone)
            for target in sorted(everyone - {source}):
                message = Message(
                    [value], [value], "", "", source, target, phase, at={source, target}
                )
                value.origins[target] = message
                steps.append(message)
            block.inputs.append(value)
            givers.append(source)
            own.append(value)
        steps.append(Comparison(own, [], "", "", at=everyone))
    block.steps[:0] = steps
    return givers
