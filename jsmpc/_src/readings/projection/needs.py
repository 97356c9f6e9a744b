"""Backwards through a choreography: who needs which value, and who takes which step for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jsmpc._src.errors import ProtocolError
from jsmpc._src.jaxprs.structure import Branches, Scan, While
from jsmpc._src.readings.projection.choreography import (
    Block,
    Compute,
    Control,
    Either,
    Message,
    Step,
    Value,
)

Name = Callable[[int], str]


def find(block: Block, outputs: Sequence[set[int]], name: Name) -> list[set[int]]:
    """Sets `needed` of all values and `at` of all steps, from who needs the outputs.

    Returns:
      who needs which input.

    Raises:
      ProtocolError: where someone needs what it does not hold: a step of the protocol reaches into
        the values of another party.
    """
    for value in _values(block):
        value.needed = set()
    for value, endpoints in zip(block.outputs, outputs, strict=True):
        _need(value, endpoints, "an output of the program", name)
    for step in reversed(block.steps):
        step.at = _takers(step)
        if isinstance(step, Message):
            if step.live:
                place = f"a message at {step.line}"
                if not step.possible:
                    raise _stolen(step.value, step.source, place, name)
                _need(step.value, {step.source}, place, name)
        elif isinstance(step, Control):
            _control(step, name)
        elif isinstance(step, Either):
            for endpoint in step.at:
                _need(step.choice[endpoint], {endpoint}, step.line, name)
        elif isinstance(step, Compute):
            for value in step.operands:
                _need(value, step.at, f"{step.eqn.primitive.name} at {step.line}", name)
    return [{e for e in v.needed if v.origins[e] is None} for v in block.inputs]


def _values(block: Block) -> list[Value]:
    steps = [v for s in block.steps for v in (*s.operands, *s.results)]
    return [*block.inputs, *steps, *block.outputs]


def _takers(step: Step) -> set[int]:
    """Who needs a result that comes from this step."""
    if isinstance(step, Message):
        needed = step.target in step.value.needed and step.value.origins[step.target] is step
        return {step.source, step.target} if needed else set()
    return set().union(*(_from(step, v) for v in step.results))


def _from(step: Step, value: Value) -> set[int]:
    """Who needs a result that comes from this step; others may be sent it later."""
    return {e for e in value.needed if value.origins[e] is step}


def _need(value: Value, endpoints: set[int], place: str, name: Name) -> None:
    if value.known:
        return
    for endpoint in endpoints - value.origins.keys():
        raise _stolen(value, endpoint, place, name)
    value.needed |= endpoints


def _stolen(value: Value, endpoint: int, place: str, name: Name) -> ProtocolError:
    holders = ", ".join(map(name, sorted(value.origins.keys() - {endpoint}))) or "nobody"
    return ProtocolError(
        f"{place}: {name(endpoint)} needs a value that it does not hold ({holders} does). A step "
        "of a protocol may use what its party holds, or was sent, and nothing else"
    )


def _control(step: Control, name: Name) -> None:
    """Who takes part in a loop or a condition, and what for."""
    form, line = step.form, step.line
    if isinstance(form, Branches):
        rows = [_from(step, v) for v in step.results]
        columns = zip(*(find(block, rows, name) for block in step.blocks), strict=True)
        inputs = [set.union(*column) for column in columns]
        step.at |= {e for b in step.blocks for e in _active(b)}
        given = [step.at, *inputs]
        for value, endpoints in zip(step.operands, given, strict=True):
            _need(value, endpoints, f"a condition at {line}", name)
        return
    body = step.blocks[-1]
    results = [_from(step, v) for v in step.results]
    carried = form.carried if isinstance(form, Scan) else len(results)
    carry, rows = results[:carried], results[carried:]
    while True:
        inputs = find(body, [*carry, *rows], name)
        consts, needed, xs = _split(form, inputs, carried)
        grown = [a | b for a, b in zip(carry, needed, strict=True)]
        step.at |= _active(body).union(*grown)
        test: list[set[int]] = []
        if isinstance(form, While):
            test, tested = _condition(form, step, name)
            grown = [a | b for a, b in zip(grown, tested, strict=True)]
        if grown == carry:
            break
        carry = grown
    step.carried = carry
    for value, endpoints in zip(step.operands, [*test, *consts, *carry, *xs], strict=True):
        _need(value, endpoints, f"a loop at {line}", name)


def _condition(form: While, step: Control, name: Name) -> tuple[list[set[int]], list[set[int]]]:
    inputs = find(step.blocks[0], [step.at], name)
    return inputs[: form.test_consts], inputs[form.test_consts :]


def _split(
    form: Scan | While, inputs: list[set[int]], carried: int
) -> tuple[list[set[int]], list[set[int]], list[set[int]]]:
    """The inputs of a loop's body: constants, carried values, rows."""
    end = form.consts + carried
    return inputs[: form.consts], inputs[form.consts : end], inputs[end:]


def _active(block: Block) -> set[int]:
    """Who takes any step of a block."""
    return set().union(*(s.at for s in block.steps))
