"""How correlated randomness reaches the parties: dealt on the spot, planned, or dealt before.

What the dealer sends is one per-party value or several for each correlation; what is in them, the
correlation knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jsmpc._src.errors import MaterialError
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.correlations import Correlation

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Dealt:
    """Plan entry: a correlation dealt at draw `number`."""

    number: int
    correlation: Correlation


@dataclasses.dataclass(frozen=True)
class Looped:
    """Plan entry: what one iteration of the loop at draw `number` is dealt, `length` times."""

    number: int
    length: int
    body: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Branched:
    """Plan entry: what one branch of the condition at draw `number` is dealt."""

    number: int
    branch: int
    body: tuple[Any, ...]


Plan = tuple[Any, ...]


class Dealer:
    """Deals in the same program, at the place where the material is used."""

    def deal(
        self,
        network: Network,
        number: int,
        correlation: Correlation,
        expanded: list[Local],
        state: Any,
    ) -> tuple[Local, ...]:
        """What the dealer sends of a correlation at draw `number`."""
        return correlation.deal(network.during("offline"), expanded, state)

    def scan(self, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        return (), lambda _: self

    def branch(self, number: int, branch: int) -> Any:
        return self

    def unbounded(self) -> Any:
        return self


class Planner(Dealer):
    """Deals nothing: writes down what would be, for the offline phase."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def deal(
        self,
        network: Network,
        number: int,
        correlation: Correlation,
        expanded: list[Local],
        state: Any,
    ) -> tuple[Local, ...]:
        self.entries.append(Dealt(number, correlation))
        return correlation.blank(network)

    def scan(self, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        inner = Planner()
        self.entries.append((Looped, number, length, inner))

        def enter(_: Any) -> Planner:
            inner.entries.clear()  # JAX may trace a body more than once
            return inner

        return (), enter

    def branch(self, number: int, branch: int) -> Any:
        inner = Planner()
        self.entries.append((Branched, number, branch, inner))
        return inner

    def unbounded(self) -> Any:
        raise MaterialError(
            "the offline phase cannot deal for a while loop, whose number of iterations is not "
            "known before it runs. Use lax.scan or lax.fori_loop with static bounds, or call the "
            "secure function directly, so that the dealer deals while it runs"
        )

    def plan(self) -> Plan:
        """What is to be dealt, in order."""
        plan: list[Any] = []
        for entry in self.entries:
            if isinstance(entry, Dealt):
                plan.append(entry)
            else:
                kind, number, which, inner = entry
                plan.append(kind(number, which, inner.plan()))
        return tuple(plan)


class Supplied(Dealer):
    """Hands out what the offline phase dealt, in the order of the plan."""

    def __init__(self, plan: Plan, sent: Any):
        self.remaining = list(zip(plan, sent, strict=True))

    def _take(self, kind: Any, number: int) -> tuple[Any, Any]:
        if (
            not self.remaining
            or not isinstance(self.remaining[0][0], kind)
            or self.remaining[0][0].number != number
        ):
            raise MaterialError("the offline material does not belong to this function")
        return self.remaining.pop(0)

    def deal(
        self,
        network: Network,
        number: int,
        correlation: Correlation,
        expanded: list[Local],
        state: Any,
    ) -> tuple[Local, ...]:
        entry, material = self._take(Dealt, number)
        if entry.correlation != correlation:
            raise MaterialError("the offline material does not belong to this function")
        return material

    def scan(self, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        entry, material = self._take(Looped, number)
        return material, lambda sliced: Supplied(entry.body, sliced)

    def branch(self, number: int, branch: int) -> Any:
        entry, material = self._take(Branched, number)
        return Supplied(entry.body, material)

    def unbounded(self) -> Any:
        return Planner().unbounded()


def offline(network: Network, seeds: Any, plan: Plan, state: Any = None) -> Any:
    """The dealer's whole work for a plan: what it sends for each entry.

    What it sends for a loop is stacked along a leading axis, an iteration a row.
    """
    result: list[Any] = []
    for entry in plan:
        if isinstance(entry, Dealt):
            expanded = entry.correlation.expand(network, seeds.dealt, entry.number)
            result.append(entry.correlation.deal(network, expanded, state))
        elif isinstance(entry, Looped):

            def iteration(index: Any, entry: Looped = entry) -> Any:
                inner = seeds.map(lambda seed: prf.iterate(seed, entry.number, index))
                return offline(network, inner, entry.body, state)

            result.append(lax.map(iteration, jnp.arange(entry.length, dtype=jnp.uint32)))
        else:
            inner = seeds.map(lambda seed: prf.iterate(seed, entry.number, 0))
            result.append(offline(network, inner, entry.body, state))
    return tuple(result)
