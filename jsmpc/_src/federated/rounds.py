"""Rounds of federated learning, many clients in one compiled step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated import clients as populations
from jsmpc._src.federated.aggregation import Aggregate, mean
from jsmpc._src.federated.clients import Clients
from jsmpc._src.federated.local import ClientUpdate
from jsmpc._src.federated.privacy.private import Privacy, Spent, sample


class State(NamedTuple):
    """What a server keeps between rounds.

    Attributes:
      params: the model's.
      server: the state of the server's optimizer.
      privacy: the clip and what is spent of a budget; None without privacy.
    """

    params: Any
    server: Any
    privacy: Spent | None = None


class Metrics(NamedTuple):
    """What is known of a round.

    Attributes:
      loss: the clients' mean loss; NaN with privacy, which it would not have.
      length: of the step.
      epsilon: what all rounds so far cost, with privacy.
    """

    loss: Any
    length: Any
    epsilon: float | None = None


@dataclasses.dataclass(frozen=True)
class Federation:
    """A way of learning: what clients do, how their updates become one, and what it does then.

    Attributes:
      client_update: one client's work; see `local_steps`.
      server: an Optax optimizer whose gradient is the aggregate with its sign turned: `sgd(1.0)` is
        FedAvg, `sgd(1.0, momentum=0.9)` FedAvgM, `adam`, `yogi`, `adagrad` are FedAdam and so on.
      aggregate: from updates to one; `securely(f, protocol)` for one that nobody sees.
      per_round: how many clients take part in a round, drawn at random; with privacy, how many
        are expected to.
      chunk: how many of them are computed at a time, which bounds the memory.
      privacy: what makes the mean differentially private.

    Source: McMahan and others, AISTATS 2017; Reddi and others, Adaptive federated optimization,
    ICLR 2021 (algorithm 1).
    """

    client_update: ClientUpdate
    server: optax.GradientTransformation
    per_round: int
    aggregate: Aggregate | Callable[..., Any] = mean
    chunk: int = 10
    privacy: Privacy | None = None

    def init(self, params: Any) -> State:
        """The state before the first round."""
        spent = None if self.privacy is None else self.privacy.init()
        return State(params, self.server.init(params), spent)

    def round(self, key: Any, state: State, clients: Clients) -> tuple[State, Metrics]:
        """One round: clients are drawn, work, and their updates become one step of the server's.

        Args:
          key: a `jax.random.key` of its own for each round.

        Raises:
          FederatedError: as of `require`.
          BudgetError: for a round that the privacy budget does not allow.
        """
        self.require(clients)
        if self.privacy is not None:
            return self._private_round(self.privacy, key, state, clients)
        if state.privacy is not None:
            raise FederatedError(
                "the state has a privacy ledger, and this federation has no privacy: its rounds "
                "would not be in it. Drop it with state._replace(privacy=None) if that is meant"
            )
        who, work = jax.random.split(key)
        taking_part = populations.chosen(who, len(clients), self.per_round)
        updates, weights, losses = _updates(
            self.client_update, self.chunk, state.params, clients, taking_part, work
        )
        aggregate = self.aggregate(updates, weights / weights.sum())
        return _stepped(self.server, state, aggregate, losses.mean())

    def _private_round(
        self, privacy: Privacy, key: Any, state: State, clients: Clients
    ) -> tuple[State, Metrics]:
        sizes = len(clients), self.per_round, self.chunk
        room = privacy.slots(*sizes)
        privacy.require(self.aggregate, room, self.per_round)
        spent = privacy.charged(state.privacy, *sizes)
        who, work = jax.random.split(key)
        numbers, present = sample(who, len(clients), self.per_round / len(clients), room)
        updates, _, _ = _updates(
            self.client_update, self.chunk, state.params, clients, numbers, work
        )
        aggregate, spent = privacy.mean(self.aggregate, updates, present, spent, self.per_round)
        bare = State(state.params, state.server)
        after, metrics = _stepped(self.server, bare, aggregate, jnp.asarray(jnp.nan))
        cost = privacy.spent(spent)
        return after._replace(privacy=spent), metrics._replace(epsilon=cost)

    def require(self, clients: Clients) -> None:
        """FederatedError for more clients in a round than there are, or a chunk that does not
        divide them."""
        if not 0 < self.per_round <= len(clients):
            raise FederatedError(f"{self.per_round} of {len(clients)} clients cannot take part")
        if self.per_round % self.chunk:
            raise FederatedError(
                f"chunks of {self.chunk} do not divide {self.per_round} clients. Take a divisor"
            )


@jax.jit(static_argnums=(0, 1))
def _updates(
    client_update: ClientUpdate, chunk: int, params: Any, clients: Clients, who: Any, key: Any
) -> tuple[Any, Any, Any]:
    """The updates of clients as vectors, their weights and losses, a chunk at a time."""

    def one(number: Any, key: Any) -> Any:
        data = jax.tree.map(lambda x: x[number], clients.data)
        found = client_update(params, data, clients.counts[number], key)
        return ravel_pytree(found.delta)[0], found.weight, found.loss

    keys = jax.random.split(key, who.size)
    found = jax.lax.map(lambda x: one(*x), (who, keys), batch_size=chunk)
    return found


@jax.jit(static_argnums=0)
def _stepped(
    server: optax.GradientTransformation, state: State, aggregate: Any, loss: Any
) -> tuple[State, Metrics]:
    back = ravel_pytree(state.params)[1]
    gradient = jax.tree.map(jnp.negative, back(aggregate))
    changes, after = server.update(gradient, state.server, state.params)
    params = optax.apply_updates(state.params, changes)
    return State(params, after), Metrics(loss, optax.tree.norm(changes))
