"""One run of a protocol: its network, its seeds, and where correlated randomness comes from.

Draws are numbered. A run numbers them in the order in which the program is traced, each
iteration of a loop has seeds of its own, and so no draw is ever made twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.correlations import Correlation
from jsmpc._src.runtime.dealing import Dealer

Array = jax.Array


class _Numbers:
    """Counts the draws of a run."""

    def __init__(self) -> None:
        self._next = 0

    def reserve(self, count: int) -> int:
        self._next += count
        return self._next - count


class Context:
    """What a run of a protocol draws on.

    Attributes:
      network: the parties' network.
      seeds: the parties' keys, uint32[8] each: for a dealer protocol those shared with the
        dealer (Local), for replicated sharing those shared with a neighbour (Replica).
      state: what the parties keep beyond a run; see `Protocol.establish`.

    The bodies of loops are transformed by `optimize`, e.g. `kernels.optimize`.
    """

    def __init__(
        self,
        network: Network,
        seeds: Any,
        dealer: Dealer | None = None,
        optimize: Callable[[Any], Any] = lambda f: f,
        state: Any = None,
    ):
        self.network = network
        self.seeds = seeds
        self._dealer = dealer or Dealer()
        self.optimize = optimize
        self.state = state
        self._numbers = _Numbers()

    @property
    def deals_in_place(self) -> bool:
        """Whether what is dealt is dealt in the same program, where it is used."""
        return type(self._dealer) is Dealer

    def reserve(self, count: int = 1) -> int:
        """The first of `count` numbers that no draw has used."""
        return self._numbers.reserve(count)

    def turned(self, turn: int) -> Context:
        """The same run with the parties' roles further by `turn`."""
        turned = copy.copy(self)
        turned.network, turned.seeds = self.network.turned(turn), self.seeds.turned(turn)
        return turned

    def draw(self, shape: tuple[int, ...], dtype: Any, group: Group = ARITHMETIC) -> Any:
        """Uniform elements of a group under each seed; those who share a seed draw the same."""
        number = self.reserve()
        return self.seeds.map(lambda seed: group.draw(seed, number, shape, dtype))

    def deal(self, correlation: Correlation) -> tuple[Local, ...]:
        """What each party gets of a correlation, dealt once."""
        number = self.reserve(correlation.draws)
        expanded = correlation.expand(self.network, self.seeds, number)
        sent = self._dealer.deal(self.network, number, correlation, expanded, self.state)
        return correlation.assemble(self.network, expanded, sent)

    def expand(self, correlation: Correlation) -> list[Local]:
        """What the parties themselves have of a correlation, which is dealt elsewhere: in the
        iterations of another loop at the same site, see `scan`."""
        number = self.reserve(correlation.draws)
        return correlation.expand(self.network, self.seeds, number)

    def _enter(self, number: int, index: Any, dealer: Dealer) -> Context:
        seeds = self.seeds.map(lambda seed: prf.iterate(seed, number, index))
        return Context(self.network, seeds, dealer, self.optimize, self.state)

    def scan(
        self,
        body: Callable[[Context, Any, Any], tuple[Any, Any]],
        init: Any,
        xs: Any,
        length: int,
        reverse: bool = False,
        unroll: int | bool = 1,
        site: int | None = None,
    ) -> tuple[Any, Any]:
        """`jax.lax.scan` whose body gets a context of its own in each iteration.

        Loops at one site, a reserved number, have the same seeds in their iterations, and the same
        draws: one may do what goes before a round, and the other what comes after it.
        """
        number = self.reserve() if site is None else site
        material, enter = self._dealer.scan(number, length)

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
        number, again = self.reserve(), self.reserve()
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
            number = self.reserve()
            result.append(self._enter(number, 0, self._dealer.branch(number, branch)))
        return result
