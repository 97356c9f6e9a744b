"""Rounds of federated learning, many clients in one compiled step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated import clients as populations
from jsmpc._src.federated.aggregation import Aggregate, mean
from jsmpc._src.federated.clients import Clients
from jsmpc._src.federated.given import Given, Reason, given
from jsmpc._src.federated.local import ClientUpdate, Stateful, stateful


class State(NamedTuple):
    """What is kept between rounds.

    Attributes:
      params: the model's.
      server: the state of the server's optimizer.
      clients: what each client keeps, such as its optimizer's state, [clients, …]; None if nothing.
      common: what all clients are given besides the parameters; see `Stateful`.
    """

    params: Any
    server: Any
    clients: Any = None
    common: Any = None


class Metrics(NamedTuple):
    """What is known of a round, as arrays; of several rounds with one more axis in front.

    Attributes:
      loss: the mean loss of those who took part, float32[].
      length: of the step that the parameters took, float32[].
      clients: the numbers of those who were drawn, int32[per_round].
      reasons: why each did not take part, or 0 where it did, int8[per_round]; see `Reason`.
    """

    loss: Any
    length: Any
    clients: Any
    reasons: Any

    @property
    def took_part(self) -> Any:
        """How many took part."""
        return (np.asarray(self.reasons) == Reason.NONE).sum(axis=-1)

    @property
    def excluded(self) -> dict[int, str]:
        """Who was drawn and did not take part in this one round, and why.

        Raises:
          FederatedError: for the metrics of several rounds.
        """
        if np.ndim(self.reasons) != 1:
            raise FederatedError("excluded: of one round, and not of several. See reasons")
        pairs = zip(np.asarray(self.clients), np.asarray(self.reasons), strict=True)
        return {int(client): Reason(why).name.lower() for client, why in pairs if why}


@dataclasses.dataclass(frozen=True)
class Federation:
    """A way of learning: what clients do, how their updates become one, and what it does then.

    Attributes:
      client_update: one client's work; see `local_steps`.
      server: an Optax optimizer whose gradient is the aggregate with its sign turned: `sgd(1.0)` is
        FedAvg, `sgd(1.0, momentum=0.9)` FedAvgM, `adam`, `yogi`, `adagrad` are FedAdam and so on.
      aggregate: from updates to one; `securely(f, protocol)` for one that nobody sees.
      per_round: how many clients take part in a round, drawn at random.
      chunk: how many of them are computed at a time, which bounds the memory.
      at_least: how many updates an aggregate has; with fewer a round is an error.

    Source: McMahan and others, AISTATS 2017; Reddi and others, Adaptive federated optimization,
    ICLR 2021 (algorithm 1).
    """

    client_update: ClientUpdate | Stateful
    server: optax.GradientTransformation
    per_round: int
    aggregate: Aggregate | Callable[..., Any] = mean
    chunk: int = 10
    at_least: int = 1

    def init(self, params: Any, clients: Clients | None = None) -> State:
        """The state before the first round.

        Args:
          clients: who will take part, needed where each of them keeps something.

        Raises:
          FederatedError: where they are needed and not given.
        """
        work = stateful(self.client_update)
        own = kept_by_each(work, params, clients)
        return State(params, self.server.init(params), own, work.common(params))

    def round(self, key: Any, state: State, clients: Clients) -> tuple[State, Metrics]:
        """One round: clients are drawn, work, and their updates become one step of the server's.

        A client whose update holds NaN or infinity is left out, and keeps what it had; the metrics
        tell. The same key and state give the same round.

        Args:
          key: a `jax.random.key` of its own for each round.

        Raises:
          FederatedError: as of `require`; and where fewer than `at_least` updates are left. Nothing
            is aggregated then.
        """
        self.require(clients)
        who, work = jax.random.split(key)
        drawn = populations.chosen(who, len(clients), self.per_round)
        found, own = _worked(self.client_update, self.chunk, state, clients, drawn, work)
        reasons = np.where(found.finite, Reason.NONE, Reason.NOT_FINITE).astype(np.int8)
        require_enough(reasons, self.at_least)
        updates, weights = found.vector, found.weight
        if reasons.any():  # not every aggregate goes by weights
            updates, weights = updates[reasons == 0], weights[reasons == 0]
        aggregate = self.aggregate(updates, weights / weights.sum())
        loss = found.loss.mean(where=found.finite)
        share = (reasons == 0).sum() / len(clients)
        after, length = stepped(self.server, state, aggregate, share)
        return after._replace(clients=own), Metrics(loss, length, drawn, reasons)

    def require(self, clients: Clients) -> None:
        """FederatedError for more clients in a round than there are, or a chunk that does not
        divide them."""
        if not 0 < self.per_round <= len(clients):
            raise FederatedError(f"{self.per_round} of {len(clients)} clients cannot take part")
        if self.per_round % self.chunk:
            raise FederatedError(
                f"chunks of {self.chunk} do not divide {self.per_round} clients. Take a divisor"
            )


def kept_by_each(work: Stateful, params: Any, clients: Clients | None) -> Any:
    """What each of the clients has before its first round, [clients, …]; FederatedError."""
    own = work.own(params)
    if not jax.tree.leaves(own):
        return own
    if clients is None:
        raise FederatedError(
            "clients keep something from round to round. Say who they are: init(params, clients)"
        )
    count = len(clients)
    return jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], count, axis=0), own)


def require_enough(reasons: Any, at_least: int, why: str = "") -> None:
    """FederatedError where fewer than so many take part."""
    left = int((reasons == Reason.NONE).sum())
    if left >= max(at_least, 1):
        return
    counts = {r.name.lower(): int((reasons == r).sum()) for r in Reason if (reasons == r).any()}
    counts.pop("none", None)
    listed = ", ".join(f"{count} {name}" for name, count in counts.items())
    raise FederatedError(
        f"{left} of {len(reasons)} updates are left ({listed}), fewer than at_least="
        f"{max(at_least, 1)}: nothing was aggregated. Repeat the round, or mend what is wrong{why}"
    )


@jax.jit(static_argnums=(0, 1))
def _worked(
    client_update: ClientUpdate | Stateful,
    chunk: int,
    state: State,
    clients: Clients,
    who: Any,
    key: Any,
) -> tuple[Given, Any]:
    """What clients give, a chunk of them at a time; and what all clients keep then."""
    work = stateful(client_update)

    def one(number: Any, key: Any) -> Given:
        data, own = jax.tree.map(lambda x: x[number], (clients.data, state.clients))
        count = clients.counts[number]
        return given(work, state.params, data, count, key, own, state.common)

    keys = jax.random.split(key, who.size)
    found = jax.lax.map(lambda x: one(*x), (who, keys), batch_size=chunk)
    own = jax.tree.map(lambda old, new: old.at[who].set(new), state.clients, found.own)
    return found._replace(own=None), own


def stepped(
    server: optax.GradientTransformation, state: State, aggregate: Any, share: Any
) -> tuple[State, Any]:
    """The server's step by an aggregate of so large a share of all clients, and its length."""
    # What was revealed belongs to a device, and all that is computed with it would too: then the
    # next round would compile anew.
    return _stepped(server, state, np.asarray(aggregate), share)


@jax.jit(static_argnums=0)
def _stepped(
    server: optax.GradientTransformation, state: State, aggregate: Any, share: Any
) -> tuple[State, Any]:
    delta, change = ravel_pytree((state.params, state.common))[1](aggregate)
    gradient = jax.tree.map(jnp.negative, delta)
    changes, after = server.update(gradient, state.server, state.params)
    params = optax.apply_updates(state.params, changes)
    common = jax.tree.map(lambda c, d: c + share * d, state.common, change)
    return State(params, after, state.clients, common), optax.tree.norm(changes)
