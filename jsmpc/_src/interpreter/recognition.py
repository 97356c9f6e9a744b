"""A jaxpr as it is evaluated: what is found in it beforehand, and the numbers of its equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jsmpc._src.interpreter import exhaustive, guards, parts, patterns
from jsmpc._src.jaxprs import compat, layers, walk


def recognized(jaxpr: Any) -> Any:
    """A jaxpr in which equations with rules of their own stand for what was found."""
    return exhaustive.exhaustive(parts.found(guards.guarded(patterns.recognize(jaxpr))))


def evaluate(
    jaxpr: Any,
    args: Sequence[Any],
    apply: Callable[[int, Any, list[Any]], Sequence[Any]],
    lift: Callable[[Any], Any] = lambda x: x,
    in_layers: bool = False,
) -> list[Any]:
    """`walk.evaluate` of a (closed) jaxpr as it is evaluated; `apply` is told the number of each
    equation too, by which plans know it, or those of its layers are."""
    opened, consts = compat.open_jaxpr(jaxpr)
    program = recognized(opened)
    if in_layers:
        program = layers.layered(program)
    numbers = {id(eqn): i for i, eqn in enumerate(program.eqns)}
    return walk.evaluate(
        program, args, lambda eqn, operands: apply(numbers[id(eqn)], eqn, operands), lift, consts
    )
