"""When a choreography's messages travel: exchanges are numbered, and all of one go together.

Messages of the online phase are numbered from 1, each as early as it can be sent. What follows
from keys alone, as the dealer's messages do, could be sent before all others; the dealer sends it
where it is needed, so that nobody has to keep it. In a loop's body, or a branch, numbers begin
anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jsmpc._src.jaxprs.structure import Branches, While
from jsmpc._src.readings.projection.choreography import Block, Control, Either, Message, Step, Value

EARLY = -1000  # where set-up and offline phase are numbered from
SETUP, OFFLINE, ONLINE = "setup", "offline", "online"


def find(block: Block, given: Sequence[dict[int, int]]) -> None:
    """Sets the `slots` of values and steps, from those of the inputs."""
    for value, slots in zip(block.inputs, given, strict=True):
        value.slots = dict(slots)
    for step in block.steps:
        if isinstance(step, Message):
            if step.live:
                before = step.value.slots[step.source]
                step.slot = (max(before, 0) if step.phase == ONLINE else before) + 1
                step.value.slots[step.target] = step.slot
            continue
        step.slots = {e: _ready(operands(step, e), e) for e in step.at}
        if isinstance(step, Control):
            for inner, outer in bodies(step):
                find(inner, [{e: _inside(v.slots.get(e, EARLY)) for e in step.at} for v in outer])
            if step.exchanges:
                step.slots = dict.fromkeys(step.at, max(step.slots.values()))
        for value in step.results:
            value.slots = dict(step.slots)
    _postpone(block)


def operands(step: Step, endpoint: int) -> list[Value]:
    """What an endpoint needs for a step, and is not a constant."""
    if isinstance(step, Either):
        return [step.choice[endpoint]]
    return [v for v in step.operands if endpoint in v.needed]


def bodies(step: Control) -> Iterator[tuple[Block, list[Value]]]:
    """The blocks of a loop or a condition, each with the operands that are its first inputs."""
    if isinstance(step.form, While):
        test, consts, carry = step.form.split(step.operands)
        condition, body = step.blocks
        yield condition, [*test, *carry]
        yield body, [*consts, *carry]
    else:
        inputs = step.operands[1:] if isinstance(step.form, Branches) else step.operands
        yield from ((block, inputs) for block in step.blocks)


def _inside(slot: int) -> int:
    return EARLY if slot < 0 else 0


def _ready(values: Sequence[Value], endpoint: int) -> int:
    """After which exchange an endpoint knows all of some values."""
    return max((v.slots.get(endpoint, EARLY) for v in values), default=EARLY)


def _postpone(block: Block) -> None:
    """Moves what could happen before all inputs to where its results are needed."""
    due: dict[tuple[Value, int], int] = {}

    def use(value: Value, endpoint: int, slot: int) -> None:
        due[value, endpoint] = min(slot, due.get((value, endpoint), slot))

    for step in reversed(block.steps):
        if isinstance(step, Message):
            if step.live and step.phase == OFFLINE:
                step.slot = max(step.slot, due.get((step.value, step.target), step.slot))
                step.value.slots[step.target] = step.slot
            if step.live:
                use(step.value, step.source, step.slot - 1)
            continue
        for endpoint in step.at:
            slot = step.slots[endpoint]
            if slot < 0 and not isinstance(step, Control):
                slot = min((due.get((v, endpoint), slot) for v in step.results), default=slot)
                step.slots[endpoint] = max(slot, step.slots[endpoint])
            for value in operands(step, endpoint):
                use(value, endpoint, step.slots[endpoint])
