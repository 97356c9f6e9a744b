"""A choreography's fingerprint: equal on all machines for equal programs, and for no others."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from jsmpc._src.jaxprs.printing import stable
from jsmpc._src.readings.projection.choreography import Block, Compute, Control, Message, Value
from jsmpc._src.readings.projection.projection import Projection


def digest(projection: Projection) -> str:
    """SHA-256 of all that the endpoints of a program must agree on, in hexadecimal digits.

    That is every equation with its parameters and constants, every message with its route, and who
    gives which input and gets which output; no line of a source file, and no name of the user's.
    """
    found = hashlib.sha256()
    for part in _parts(projection):
        found.update(part if isinstance(part, bytes) else part.encode())
        found.update(b"\0")
    return found.hexdigest()


def _parts(projection: Projection) -> Iterator[str | bytes]:
    yield repr([(sorted(p.endpoints), p.early) for p in projection.inputs])
    yield repr([sorted(p.endpoints) for p in projection.outputs])
    yield from _of_block(projection.block, {})


def _of_block(block: Block, numbers: dict[Value, int]) -> Iterator[str | bytes]:
    numbers = dict(numbers)
    yield from _of_values(block.inputs, numbers)
    for step in block.steps:
        yield type(step).__name__
        yield from _of_values(step.operands, numbers)
        match step:
            case Message():
                yield f"{step.source} {step.target} {step.phase} {step.slot} {step.live}"
            case Compute():
                yield f"{step.eqn.primitive.name} {_text(step.eqn.params)} {sorted(step.at)}"
            case Control():
                yield _text(_static(step.form))
                for inner in step.blocks:
                    yield from _of_block(inner, numbers)
        yield from _of_values(step.results, numbers)
    yield from _of_values(block.outputs, numbers)


def _of_values(values: list[Value], numbers: dict[Value, int]) -> Iterator[str | bytes]:
    """Values by their numbers, with what they are where they come up first."""
    for value in values:
        if (number := numbers.get(value)) is None:
            number = numbers[value] = len(numbers)
            yield f"{_name(value.aval.dtype)}{value.aval.shape}"
            if value.known:
                yield np.asarray(value.constant).tobytes()
        yield f"{number}"


def _static(form: Any) -> dict[str, Any]:
    """How a loop runs its body, without the body."""
    names = ("consts", "carried", "length", "reverse", "test_consts")
    return {name: getattr(form, name) for name in names if hasattr(form, name)}


_name = functools.cache(str)  # of a dtype: NumPy takes as long for it as the rest of this file


def _text(params: Any) -> str:
    return stable(sorted(params.items()))
