"""Equations on words: which can be fused, and what they show."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend.core import Literal, Primitive

from jsmpc._src.jaxprs import compat, lines
from jsmpc._src.jaxprs.layer import layer_p


class Evaluation:
    """Evaluates a jaxpr on demand; its layers by `layer`, from a call and its operands."""

    def __init__(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        args: Sequence[Any],
        layer: Callable[[Any, list[Any]], Sequence[Any]],
    ):
        self.jaxpr = jaxpr
        self._layer = layer
        self.env: dict[Any, Any] = {}
        self.env.update(zip(jaxpr.constvars, consts, strict=True))
        self.env.update(zip(jaxpr.invars, args, strict=True))
        self.prepare()

    def prepare(self) -> None:
        """What is found in the program before it is evaluated: nothing."""

    def read(self, v: Any) -> Any:
        return compat.literal_value(v) if isinstance(v, Literal) else self.env[v]

    def bind(self, eqn: Any) -> None:
        operands = [self.read(v) for v in eqn.invars]
        with lines.at_line_of(eqn):
            layer = eqn.primitive is layer_p
            out = self._layer(eqn, operands) if layer else compat.bind(eqn, operands)
        self.env.update(zip(eqn.outvars, out, strict=True))


BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "shift_left": "shift_left",
    "shift_right_logical": "shift_right",
    "div": "div",
}


UNARY = {"neg": "negate", "not": "not", "convert_element_type": "convert"}


EVALUATE: dict[str, Callable[..., int]] = {
    "broadcast_in_dim": operator.pos,
    "convert_element_type": operator.pos,
    "neg": operator.neg,
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
}


NEUTRAL = {"add": 0, "sub": 0, "xor": 0, "or": 0, "shift_left": 0, "shift_right_logical": 0}
NEUTRAL |= {"mul": 1, "div": 1}


COMMUTATIVE = {"add", "mul", "and", "or", "xor"}


VIEWS = {"reshape", "squeeze", "expand_dims", "broadcast_in_dim", "copy", "slice"}


TRANSPARENT: set[Primitive] = set()  # whose result is their first operand


def transparent(primitive: Primitive) -> None:
    """Declares a primitive of one result to be the identity of its first operand."""
    TRANSPARENT.add(primitive)


WORDS = {np.dtype(f"uint{n}") for n in (8, 16, 32, 64)}


def is_word(v: Any) -> bool:
    return getattr(v.aval, "dtype", None) in WORDS


def size_of(v: Any) -> int:
    """The number of elements; an abstract value's own `size` takes six times as long."""
    return math.prod(v.aval.shape)


def variables(operands: Sequence[Any]) -> list[Any]:
    return [v for v in operands if not isinstance(v, Literal)]


def slice_offset(eqn: Any) -> int | None:
    """Where a slice begins in the flattened operand, if it is contiguous there."""
    shape, start = eqn.invars[0].aval.shape, eqn.params["start_indices"]
    size = eqn.outvars[0].aval.shape
    if any(s != 1 for s in eqn.params["strides"] or ()):
        return None
    whole = [a == b for a, b in zip(shape, size, strict=True)]
    partial = next((i for i in reversed(range(len(shape))) if not whole[i]), 0)
    if any(size[i] != 1 for i in range(partial)):
        return None
    strides = [int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))]
    return sum(a * b for a, b in zip(start, strides, strict=True))


def is_join(eqn: Any) -> bool:
    """Whether the result of an equation has those of its operands one after another."""
    axis = {"stack": "axis", "concatenate": "dimension"}.get(eqn.primitive.name)
    return axis is not None and math.prod(eqn.outvars[0].aval.shape[: eqn.params[axis]]) == 1
