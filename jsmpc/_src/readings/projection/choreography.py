"""A traced program of all parties as a choreography: who computes what, and sends it to whom.

A message does not change a value: it makes it known to one endpoint more. So the result of a
message's equation is its operand, and from there on the target is among those who hold it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.jaxprs import compat, lines, structure, walk
from jsmpc._src.network.messages import held_p, message_p, opened_p


@dataclasses.dataclass(eq=False)
class Value:
    """One value of the program.

    Attributes:
      aval: its shape and dtype.
      constant: the value itself, where the program holds it; everyone knows it then.
      origins: by whom it is held, and from which step it comes there; None where it is given.
      needed: by whom it is needed.
      slots: after which exchange it is known, by endpoint.
    """

    aval: Any
    constant: Any = None
    origins: dict[int, Step | None] = dataclasses.field(default_factory=dict)
    needed: set[int] = dataclasses.field(default_factory=set)
    slots: dict[int, int] = dataclasses.field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether it is a constant of the program."""
        return self.constant is not None


@dataclasses.dataclass(eq=False)
class Step:
    """One step; `at` are the endpoints that take it, `slots` after which exchange they do.

    `line` and `operation` are those of the user's function that it belongs to.
    """

    operands: list[Value]
    results: list[Value]
    line: str
    operation: str
    at: set[int] = dataclasses.field(default_factory=set, kw_only=True)
    slots: dict[int, int] = dataclasses.field(default_factory=dict, kw_only=True)


@dataclasses.dataclass(eq=False)
class Compute(Step):
    """An equation that an endpoint computes who holds all of its operands."""

    eqn: Any


@dataclasses.dataclass(eq=False)
class Either(Step):
    """Two values that are equal: `choice` is the one that an endpoint holds when it comes here."""

    choice: dict[int, Value] = dataclasses.field(default_factory=dict, kw_only=True)


@dataclasses.dataclass(eq=False)
class Message(Step):
    """One value from one endpoint to another, in exchange `slot`.

    `possible` tells whether the source holds the value when it comes here.
    """

    source: int
    target: int
    phase: str
    slot: int = 0
    possible: bool = True

    @property
    def value(self) -> Value:
        return self.operands[0]

    @property
    def live(self) -> bool:
        """Whether the target needs it."""
        return bool(self.at)

    @property
    def size(self) -> int:
        """Its bytes."""
        aval = self.value.aval
        return int(np.prod(aval.shape, dtype=np.int64)) * aval.dtype.itemsize


@dataclasses.dataclass(eq=False)
class Block:
    """A program, or the body of a loop or a branch: steps in order."""

    inputs: list[Value]
    steps: list[Step] = dataclasses.field(default_factory=list)
    outputs: list[Value] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False)
class Control(Step):
    """A loop or a condition: `form` says how it runs its `blocks`.

    Of a loop, `carried` tells for each carried value which endpoints carry it.
    """

    form: structure.Scan | structure.While | structure.Branches
    blocks: list[Block]
    carried: list[set[int]] = dataclasses.field(default_factory=list)

    @property
    def exchanges(self) -> bool:
        """Whether anything is sent inside."""
        return any(_exchanges(b) for b in self.blocks)


def _exchanges(block: Block) -> bool:
    return any(
        s.live if isinstance(s, Message) else isinstance(s, Control) and s.exchanges
        for s in block.steps
    )


def choreography(jaxpr: Any, ranks: Mapping[int | str, int]) -> Block:
    """The choreography of a simulated program.

    Args:
      jaxpr: the program, not fused.
      ranks: the endpoint of every name that messages have for one.
    """
    opened, consts = compat.open_jaxpr(jaxpr)
    block = Block([Value(v.aval) for v in opened.invars])
    block.outputs = _evaluate(block, opened, block.inputs, ranks, consts)
    return block


def _evaluate(
    block: Block,
    jaxpr: Any,
    inputs: Sequence[Value],
    ranks: Mapping[int | str, int],
    consts: Sequence[Any] = (),
) -> list[Value]:
    """The values of a jaxpr's outputs, its steps added to a block."""

    def lift(constant: Any) -> Value:
        return Value(jax.ShapeDtypeStruct(np.shape(constant), constant.dtype), constant)

    def apply(eqn: Any, operands: list[Value]) -> list[Value]:
        place = lines.user_line(eqn), lines.operation(eqn)
        if eqn.primitive is message_p:
            source, target = (ranks[eqn.params[name]] for name in ("source", "target"))
            message = Message(operands, operands, *place, source, target, eqn.params["phase"])
            block.steps.append(message)
            return operands
        if eqn.primitive is opened_p:
            return operands
        form = structure.structure(eqn)
        if isinstance(form, structure.Call):
            return _evaluate(block, form.body, operands, ranks)
        results = [Value(v.aval) for v in eqn.outvars]
        if form is not None:
            blocks = [choreography(body, ranks) for body in structure.bodies(eqn)]
            block.steps.append(Control(operands, results, *place, form, blocks))
        else:
            step = Either if eqn.primitive is held_p else Compute
            args = (eqn,) if step is Compute else ()
            block.steps.append(step(operands, results, *place, *args))
        return results

    return walk.evaluate(jaxpr, inputs, apply, lift, consts)
