"""Forwards through a choreography: who holds which value, and where it comes from there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jsmpc._src.jaxprs.structure import Branches, Scan
from jsmpc._src.readings.projection.choreography import (
    Block,
    Control,
    Either,
    Message,
    Step,
    Value,
)

Holders = set[int]


def find(block: Block, given: Sequence[Holders], everyone: Holders) -> None:
    """Sets the `origins` of all values of a block, from who is given its inputs."""
    for value, endpoints in zip(block.inputs, given, strict=True):
        value.origins = dict.fromkeys(endpoints)
    for step in block.steps:
        if isinstance(step, Message):
            step.possible = step.source in held(step.value, everyone)
            step.value.origins.setdefault(step.target, step)
        elif isinstance(step, Control):
            for value, endpoints in zip(step.results, _of_results(step, everyone), strict=True):
                _comes_from(step, value, endpoints)
        elif isinstance(step, Either):
            step.choice = {e: v for v in reversed(step.operands) for e in held(v, everyone)}
            _comes_from(step, step.results[0], step.choice)
        else:
            common = everyone.intersection(*(held(v, everyone) for v in step.operands))
            for value in step.results:
                _comes_from(step, value, common)


def held(value: Value, everyone: Holders) -> Holders:
    """Who holds a value by now."""
    return everyone if value.known else set(value.origins)


def _comes_from(step: Step, value: Value, endpoints: Iterable[int]) -> None:
    value.origins = dict.fromkeys(endpoints, step)


def _of_results(step: Control, everyone: Holders) -> list[Holders]:
    """Who holds the results of a loop or of a condition."""
    operands = [held(v, everyone) for v in step.operands]
    if isinstance(step.form, Branches):
        columns = []
        for block in step.blocks:
            find(block, operands[1:], everyone)
            columns.append([held(v, everyone) for v in block.outputs])
        return [set.intersection(*c) for c in zip(*columns, strict=True)]
    if isinstance(step.form, Scan):
        (body,), (consts, carry, rows) = step.blocks, step.form.split(operands)
    else:
        (condition, body), (test, consts, carry) = step.blocks, step.form.split(operands)
        rows = []
    while True:  # who holds a carried value holds it before and after each iteration
        find(body, [*consts, *carry, *rows], everyone)
        after = [held(v, everyone) for v in body.outputs]
        kept = [c & a for c, a in zip(carry, after, strict=False)]
        if kept == carry:
            break
        carry = kept
    if not isinstance(step.form, Scan):
        find(condition, [*test, *carry], everyone)
    return [*carry, *after[len(carry) :]]
