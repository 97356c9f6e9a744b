"""One run of a protocol: its network, its seeds, and where dealt randomness comes from.

Draws are numbered. A run numbers them in the order in which the program is traced, each
iteration of a loop has seeds of its own, and so no draw is ever made twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc import prf
from jsmpc.errors import MaterialError
from jsmpc.network import Local, Network, Simulated
from jsmpc.preprocessing import Correlation

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


class _Dealer:
    """Deals in the same program, at the place where the material is used."""

    def corrections(
        self, context: Context, number: int, correlation: Correlation, draws: list[Local]
    ) -> Any:
        network = dataclasses.replace(context.network, phase="offline")
        return tuple(network.deliver(c) for c in correct(correlation, draws))

    def scan(self, context: Context, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        return (), lambda _: self

    def branch(self, context: Context, number: int, branch: int) -> Any:
        return self

    def unbounded(self) -> Any:
        return self


class Planner(_Dealer):
    """Deals nothing: writes down what would be, for the offline phase."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    def corrections(
        self, context: Context, number: int, correlation: Correlation, draws: list[Local]
    ) -> Any:
        self.entries.append(Dealt(number, correlation))
        return tuple(jnp.zeros(w.shape, w.dtype) for w in correlation.derived)

    def scan(self, context: Context, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        inner = Planner()
        self.entries.append((Looped, number, length, inner))

        def enter(_: Any) -> Planner:
            inner.entries.clear()  # JAX may trace a body more than once
            return inner

        return (), enter

    def branch(self, context: Context, number: int, branch: int) -> Any:
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


class Supplied(_Dealer):
    """Hands out what the offline phase dealt, in the order of the plan."""

    def __init__(self, plan: Plan, corrections: Any):
        self.remaining = list(zip(plan, corrections, strict=True))

    def _take(self, kind: Any, number: int) -> tuple[Any, Any]:
        if (
            not self.remaining
            or not isinstance(self.remaining[0][0], kind)
            or self.remaining[0][0].number != number
        ):
            raise MaterialError("the offline material does not belong to this function")
        return self.remaining.pop(0)

    def corrections(
        self, context: Context, number: int, correlation: Correlation, draws: list[Local]
    ) -> Any:
        entry, material = self._take(Dealt, number)
        if entry.correlation != correlation:
            raise MaterialError("the offline material does not belong to this function")
        return material

    def scan(self, context: Context, number: int, length: int) -> tuple[Any, Callable[[Any], Any]]:
        entry, material = self._take(Looped, number)
        return material, lambda sliced: Supplied(entry.body, sliced)

    def branch(self, context: Context, number: int, branch: int) -> Any:
        entry, material = self._take(Branched, number)
        return Supplied(entry.body, material)

    def unbounded(self) -> Any:
        return Planner().unbounded()


class Context:
    """What a run of a protocol draws on.

    Attributes:
      network: the parties' network.
      seeds: the parties' keys, uint32[8] each: for a dealer protocol those shared with the
        dealer (Local), for replicated sharing those shared with a neighbour (Replica).

    The bodies of loops are transformed by `optimize`, e.g. `jsmpc.kernels.optimize`.
    """

    def __init__(
        self,
        network: Network,
        seeds: Any,
        dealer: _Dealer | None = None,
        optimize: Callable[[Any], Any] = lambda f: f,
    ):
        self.network = network
        self.seeds = seeds
        self._dealer = dealer or _Dealer()
        self.optimize = optimize
        self._drawn = 0

    def _number(self, count: int = 1) -> int:
        """The first of `count` numbers that no draw has used."""
        self._drawn += count
        return self._drawn - count

    def draw(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Uniform words under each seed; those who share a seed draw the same."""
        number = self._number()
        return self.seeds.map(lambda seed: prf.draw(seed, number, shape, dtype))

    def deal(self, correlation: Correlation) -> tuple[Local, ...]:
        """The parties' shares of a correlation's uniform and derived values."""
        uniform = len(correlation.uniform)
        number = self._number(uniform + len(correlation.derived))
        draws = expand(self.network, self.seeds, number, correlation)
        corrections = self._dealer.corrections(self, number, correlation, draws)
        derived = [
            self.network.by_rank(
                self.network.only(0, correction), *[share] * (self.network.parties - 1)
            )
            for correction, share in zip(corrections, draws[uniform:], strict=True)
        ]
        return (*draws[:uniform], *derived)

    def _enter(self, number: int, index: Any, dealer: _Dealer) -> Context:
        seeds = self.seeds.map(lambda seed: prf.iterate(seed, number, index))
        return Context(self.network, seeds, dealer, self.optimize)

    def scan(
        self,
        body: Callable[[Context, Any, Any], tuple[Any, Any]],
        init: Any,
        xs: Any,
        length: int,
        reverse: bool = False,
        unroll: int | bool = 1,
    ) -> tuple[Any, Any]:
        """`jax.lax.scan` whose body gets a context of its own in each iteration."""
        number = self._number()
        material, enter = self._dealer.scan(self, number, length)

        def step(carry: Any, step_xs: Any) -> tuple[Any, Any]:
            index, sliced, x = step_xs
            return body(self._enter(number, index, enter(sliced)), carry, x)

        indices = jnp.arange(length, dtype=jnp.uint32)
        return lax.scan(
            self.optimize(step),
            init,
            (indices, material, xs),
            length=length,
            reverse=reverse,
            unroll=unroll,
        )

    def while_loop(
        self,
        condition: Callable[[Context, Any], Any],
        body: Callable[[Context, Any], Any],
        init: Any,
    ) -> Any:
        """`jax.lax.while_loop` whose condition and body get contexts of their own."""
        number, again = self._number(), self._number()
        dealer = self._dealer.unbounded()

        def test(state: Any) -> Any:
            index, value = state
            return condition(self._enter(again, index, dealer), value)

        def step(state: Any) -> Any:
            index, value = state
            return index + np.uint32(1), body(self._enter(number, index, dealer), value)

        start = (jnp.zeros((), jnp.uint32), init)
        return lax.while_loop(test, self.optimize(step), start)[1]

    def branches(self, count: int) -> list[Context]:
        """A context for each branch of a condition."""
        result = []
        for branch in range(count):
            number = self._number()
            result.append(self._enter(number, 0, self._dealer.branch(self, number, branch)))
        return result


def expand(network: Network, seeds: Local, number: int, correlation: Correlation) -> list[Local]:
    """All that follows from the seeds: the uniform shares, and the derived ones but party 0's."""
    others = network.by_rank(None, *[seeds] * (network.parties - 1))
    holders = [seeds] * len(correlation.uniform) + [others] * len(correlation.derived)
    words = (*correlation.uniform, *correlation.derived)
    return [
        keys.map(lambda key, i=i, w=w: prf.draw(key, number + i, w.shape, w.dtype))
        for i, (keys, w) in enumerate(zip(holders, words, strict=True))
    ]


def correct(correlation: Correlation, draws: list[Local]) -> list[Array]:
    """The dealer's work: party 0's shares of the derived values, from everyone's expansions."""
    uniform, derived = correlation.uniform, correlation.derived
    values = correlation.derive(
        *(w.group.sum(d.values) for w, d in zip(uniform, draws, strict=False))
    )
    return [
        w.group.subtract(value, w.group.sum(d.values[1:]))
        for w, value, d in zip(derived, values, draws[len(uniform) :], strict=True)
    ]


def offline(network: Simulated, seeds: Local, plan: Plan) -> Any:
    """The dealer's whole work for a plan: the corrections of each entry.

    Those of a loop are stacked along a leading axis, an iteration a row.
    """
    result: list[Any] = []
    for entry in plan:
        if isinstance(entry, Dealt):
            draws = expand(network, seeds, entry.number, entry.correlation)
            result.append(tuple(network.deliver(c) for c in correct(entry.correlation, draws)))
        elif isinstance(entry, Looped):

            def iteration(index: Any, entry: Looped = entry) -> Any:
                inner = seeds.map(lambda seed: prf.iterate(seed, entry.number, index))
                return offline(network, inner, entry.body)

            result.append(lax.map(iteration, jnp.arange(entry.length, dtype=jnp.uint32)))
        else:
            inner = seeds.map(lambda seed: prf.iterate(seed, entry.number, 0))
            result.append(offline(network, inner, entry.body))
    return tuple(result)
