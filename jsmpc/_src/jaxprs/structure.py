"""The sub-programs of an equation: calls, loops and branches, taken apart in this one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.jaxprs import compat, layer, restated, routine

CALLS = (
    P.jit_p,
    P.closed_call_p,
    P.remat_p,
    P.custom_jvp_call_p,
    P.custom_vjp_call_p,
    compat.unexpanded_call_p,
)
_ALL_CALLS = (*CALLS, layer.layer_p, routine.routine_p)
_BATCHED_CALLS = ("custom_vmap_call", "shard_map")  # in programs of all parties


@dataclasses.dataclass(frozen=True)
class Call:
    """A sub-program that takes the operands as they are and runs once."""

    body: Any

    @classmethod
    def of(cls, eqn: Any) -> Call:
        if eqn.primitive is compat.unexpanded_call_p:
            return cls(compat.expanded(eqn))
        if eqn.primitive is routine.routine_p:
            return cls(routine.body(eqn))
        if eqn.primitive is P.custom_jvp_call_p:
            return cls(restated.restated(eqn.params["call_jaxpr"]))
        names = ("jaxpr", "call_jaxpr", "call")
        return cls(next(eqn.params[name] for name in names if name in eqn.params))


@dataclasses.dataclass(frozen=True)
class Scan:
    """`lax.scan`: its body takes constants, carried values and a slice of each array."""

    body: Any
    consts: int
    carried: int
    length: int
    reverse: bool
    unroll: int | bool

    @classmethod
    def of(cls, eqn: Any) -> Scan:
        params = eqn.params
        rest = (params[name] for name in ("length", "reverse", "unroll"))
        return cls(params["jaxpr"], *compat.scan_counts(params), *rest)

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Constants, first carried values, and arrays to scan over."""
        first, last = self.consts, self.consts + self.carried
        return list(operands[:first]), list(operands[first:last]), list(operands[last:])

    @property
    def steps(self) -> Sequence[int]:
        """The iterations in the order in which they run."""
        return range(self.length)[::-1] if self.reverse else range(self.length)


@dataclasses.dataclass(frozen=True)
class While:
    """`lax.while_loop`: condition and body take constants of their own and the carried values."""

    condition: Any
    test_consts: int
    body: Any
    consts: int

    @classmethod
    def of(cls, eqn: Any) -> While:
        names = ("cond_jaxpr", "cond_nconsts", "body_jaxpr", "body_nconsts")
        return cls(*(eqn.params[name] for name in names))

    def split(self, operands: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The condition's constants, the body's, and the first carried values."""
        first, last = self.test_consts, self.test_consts + self.consts
        return list(operands[:first]), list(operands[first:last]), list(operands[last:])


@dataclasses.dataclass(frozen=True)
class Branches:
    """`lax.cond` and `lax.switch`: the first operand is the number of the branch to run."""

    branches: tuple[Any, ...]

    @classmethod
    def of(cls, eqn: Any) -> Branches:
        return cls(tuple(eqn.params["branches"]))


def structure(eqn: Any) -> Call | Scan | While | Branches | None:
    """How an equation runs its sub-programs; None for one that has none to look into."""
    if eqn.primitive is P.scan_p:
        return Scan.of(eqn)
    if eqn.primitive is P.while_p:
        return While.of(eqn)
    if eqn.primitive is P.cond_p:
        return Branches.of(eqn)
    if eqn.primitive in _ALL_CALLS or eqn.primitive.name in _BATCHED_CALLS:
        return Call.of(eqn)
    return None


def bodies(eqn: Any) -> list[Any]:
    """All sub-programs of an equation."""
    match structure(eqn):
        case Call(body):
            return [body]
        case Scan() as loop:
            return [loop.body]
        case While() as loop:
            return [loop.condition, loop.body]
        case Branches(branches):
            return list(branches)
    return []
