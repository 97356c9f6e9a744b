"""One run of a protocol: its network, its seeds, and where correlated randomness comes from.

Draws are numbered. A run numbers them in the order in which the program is traced, each
iteration of a loop has seeds of its own, and so no draw is ever made twice.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
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


# How much more the party who sends most may send than with the best choice, as a factor and in
# bytes, before roles change: that takes rounds.
NEARLY, LITTLE = 1.25, 2048


class Burden:
    """What each party of a run sends more than it would if all sent the same, as far as known.

    Attributes:
      excess: bytes, by rank.
    """

    def __init__(self, parties: int, nearly: float = NEARLY):
        self.excess = [0] * parties
        self._nearly = nearly
        self._turn = 0

    def place(self, excess: Sequence[int]) -> int:
        """By how much the roles of those who send so much more are to be further, so that the
        party who sends most sends little; and counts it.

        The roles stay as they were last where that is nearly as good: who has the same one knows
        more of what is to be sent early.
        """
        n = len(self.excess)

        def placed(turn: int) -> list[int]:
            return [own + excess[(i - turn) % n] for i, own in enumerate(self.excess)]

        best = min(range(n), key=lambda turn: sorted(placed(turn), reverse=True))
        if max(placed(self._turn)) > self._nearly * max(placed(best)) + LITTLE:
            self._turn = best
        self.excess = placed(self._turn)
        return self._turn


class Context:
    """What a run of a protocol draws on.

    Attributes:
      network: the parties' network.
      seeds: the parties' keys, uint32[8] each: for a dealer protocol those shared with the
        dealer (Local), for replicated sharing those shared with a neighbour (Replica), with a
        helper those of all pairs (Pairwise).
      state: what the parties keep beyond a run; see `Protocol.establish`.
      cited: the papers that the program's parts are from.
      layers: the layers that were traced, see `runtime.layers`.

    The bodies of loops are transformed by `optimize`, e.g. `kernels.optimize`. What runs `again`,
    as these do, ends with as little as can be that one party sends more: it adds up.
    """

    def __init__(
        self,
        network: Network,
        seeds: Any,
        dealer: Dealer | None = None,
        optimize: Callable[[Any], Any] = lambda f: f,
        state: Any = None,
        takes_turns: bool = True,
        again: bool = False,
    ):
        self.network = network
        self.seeds = seeds
        self._dealer = dealer or Dealer()
        self.optimize = optimize
        self.state = state
        self._numbers = _Numbers()
        self.cited: dict[str, None] = {}
        self.layers: dict[Any, Any] = {}
        nearly = 1.0 if again else NEARLY
        self._burden = Burden(network.parties, nearly) if takes_turns else None

    @property
    def excess(self) -> tuple[int, ...]:
        """What each party sends more than others, as far as `take_turn` was told."""
        return tuple(self._burden.excess) if self._burden else (0,) * self.network.parties

    @property
    def takes_turns(self) -> bool:
        """Whether roles may change from step to step."""
        return self._burden is not None

    def take_turn(self, excess: Sequence[int]) -> int:
        """By how much the roles of a step are to be further, of which each sends so many bytes more
        than others: so that all parties send the same in the end. 0 where roles are given."""
        return self._burden.place(excess) if self._burden and any(excess) else 0

    @property
    def deals_in_place(self) -> bool:
        """Whether what is dealt is dealt in the same program, where it is used."""
        return type(self._dealer) is Dealer

    def reserve(self, count: int = 1) -> int:
        """The first of `count` numbers that no draw has used."""
        return self._numbers.reserve(count)

    def cite(self, papers: Iterable[str]) -> None:
        """Notes the papers that something in the program is from."""
        self.cited.update(dict.fromkeys(papers))

    def turned(self, turn: int) -> Context:
        """The same run with the parties' roles further by `turn`, and so in all that it does."""
        turned = copy.copy(self)
        turned._burden = None
        turned.network, turned.seeds = self.network.turned(turn), self.seeds.turned(turn)
        return turned

    def draw(self, shape: tuple[int, ...], dtype: Any, group: Group = ARITHMETIC) -> Any:
        """Uniform elements of a group under each seed; those who share a seed draw the same."""
        number = self.reserve()
        return self.seeds.map(lambda seed: group.draw(seed, number, shape, dtype))

    def deal(self, correlation: Correlation) -> tuple[Local, ...]:
        """What each party gets of a correlation, dealt once."""
        number = self.reserve(correlation.draws)
        expanded = correlation.expand(self.network, self.seeds.dealt, number)
        sent = self._dealer.deal(self.network, number, correlation, expanded, self.state)
        return correlation.assemble(self.network, expanded, sent)

    def expand(self, correlation: Correlation) -> list[Local]:
        """What the parties themselves have of a correlation, which is dealt elsewhere: in the
        iterations of another loop at the same site, see `scan`."""
        number = self.reserve(correlation.draws)
        return correlation.expand(self.network, self.seeds, number)

    def _enter(self, number: int, index: Any, dealer: Dealer) -> Context:
        seeds = self.seeds.map(lambda seed: prf.iterate(seed, number, index))
        inner = Context(
            self.network, seeds, dealer, self.optimize, self.state, self.takes_turns, again=True
        )
        inner.cited = self.cited
        return inner

    def layer(self) -> Context:
        """A context for one call of a layer."""
        number = self.reserve()
        return self._enter(number, 0, self._dealer.branch(number, 0))

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
