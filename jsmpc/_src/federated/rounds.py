"""Rounds of federated learning, many clients in one compiled step."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated import clients as populations
from jsmpc._src.federated.aggregation import Aggregate, AtOnce, Running, mean, running
from jsmpc._src.federated.clients import Clients
from jsmpc._src.federated.given import Given, Reason, given
from jsmpc._src.federated.local import ClientUpdate, Stateful, stateful
from jsmpc._src.federated.privacy.private import Privacy, Spent, sample


class State(NamedTuple):
    """What is kept between rounds.

    Attributes:
      params: the model's.
      server: the state of the server's optimizer.
      clients: what each client keeps, such as its optimizer's state, [clients, …]; None if nothing.
      common: what all clients are given besides the parameters; see `Stateful`.
      privacy: the clip and what is spent of a budget; None without privacy.
    """

    params: Any
    server: Any
    clients: Any = None
    common: Any = None
    privacy: Spent | None = None


class Metrics(NamedTuple):
    """What is known of a round, as arrays; of several rounds with one more axis in front.

    Attributes:
      loss: the mean loss of those who took part, float32[]; NaN with privacy, which it would not
        have.
      length: of the step that the parameters took, float32[].
      clients: the numbers of those who were drawn, int32[per_round].
      reasons: why each did not take part, or 0 where it did, int8[per_round]; see `Reason`.
      epsilon: what all rounds so far cost, with privacy.
    """

    loss: Any
    length: Any
    clients: Any
    reasons: Any
    epsilon: Any = None

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
      aggregate: from updates to one; `securely(f, protocol)` for one that nobody sees. One that is
        `Running`, such as `by_committee`, gets a chunk of them at a time, as they are made.
      per_round: how many clients take part in a round, drawn at random; with privacy, how many
        are expected to.
      chunk: how many of them are computed at a time, which bounds the memory.
      at_least: how many updates an aggregate has; with fewer a round is an error.
      privacy: what makes the mean differentially private.

    Source: McMahan and others, AISTATS 2017; Reddi and others, Adaptive federated optimization,
    ICLR 2021 (algorithm 1).
    """

    client_update: ClientUpdate | Stateful
    server: optax.GradientTransformation
    per_round: int
    aggregate: Aggregate | Running = mean
    chunk: int = 10
    at_least: int = 1
    privacy: Privacy | None = None

    def init(self, params: Any, clients: Clients | None = None) -> State:
        """The state before the first round.

        Args:
          clients: who will take part, needed where each of them keeps something.

        Raises:
          FederatedError: where they are needed and not given.
        """
        work = stateful(self.client_update)
        own = kept_by_each(work, params, clients)
        spent = None if self.privacy is None else self.privacy.init()
        return State(params, self.server.init(params), own, work.common(params), spent)

    def round(self, key: Any, state: State, clients: Clients) -> tuple[State, Metrics]:
        """One round: clients are drawn, work, and their updates become one step of the server's.

        A client whose update holds NaN or infinity is left out, and keeps what it had; the metrics
        tell. The same key and state give the same round.

        Args:
          key: a `jax.random.key` of its own for each round.

        Raises:
          FederatedError: as of `require`; and where fewer than `at_least` updates are left. Nothing
            is aggregated then.
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
        drawn = populations.chosen(who, len(clients), self.per_round)
        aggregate = running(self.aggregate)
        pieces = 1 if isinstance(aggregate, AtOnce) else self.per_round // self.chunk
        total, worked = aggregate.begin(), []
        for numbers, keys in zip(
            jnp.split(drawn, pieces),
            jnp.split(jax.random.split(work, self.per_round), pieces),
            strict=True,
        ):
            found, own = _worked(self.client_update, self.chunk, state, clients, numbers, keys)
            state = state._replace(clients=own)
            total = aggregate.add(total, *taking_part(found))
            worked.append((found.finite, found.loss))
        finite, losses = map(jnp.concatenate, zip(*worked, strict=True))
        reasons = np.where(finite, Reason.NONE, Reason.NOT_FINITE).astype(np.int8)
        require_enough(reasons, self.at_least)
        share = (reasons == 0).sum() / len(clients)
        after, length = stepped(self.server, state, aggregate.finish(total), share)
        return after, Metrics(losses.mean(where=finite), length, drawn, reasons)

    def _private_round(
        self, privacy: Privacy, key: Any, state: State, clients: Clients
    ) -> tuple[State, Metrics]:
        sizes = len(clients), self.per_round, self.chunk
        room = privacy.slots(*sizes)
        privacy.require(self.aggregate, room, self.per_round)
        spent = privacy.charged(state.privacy, *sizes)
        who, work = jax.random.split(key)
        share = self.per_round / len(clients)
        numbers, present = sample(who, len(clients), share, room)
        bare = state._replace(privacy=None)
        keys = jax.random.split(work, room)
        found, own = _worked(self.client_update, self.chunk, bare, clients, numbers, keys, present)
        aggregate, spent = privacy.mean(
            self.aggregate, found.vector, present, spent, self.per_round
        )
        after, length = stepped(self.server, bare, aggregate, share)
        reasons = np.where(present, Reason.NONE, Reason.NOT_DRAWN).astype(np.int8)
        loss, cost = jnp.full((), jnp.nan), privacy.spent(spent)
        return (
            after._replace(clients=own, privacy=spent),
            Metrics(loss, length, numbers, reasons, cost),
        )

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


def taking_part(found: Given) -> tuple[Any, Any]:
    """Updates and weights of those who can take part; not every aggregate goes by weights."""
    here = np.asarray(found.finite)
    return (found.vector, found.weight) if here.all() else (found.vector[here], found.weight[here])


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
    keys: Any,
    present: Any = True,
) -> tuple[Given, Any]:
    """What clients give, a chunk of them at a time; and what all clients keep then.

    Args:
      present: who of them really takes part, and keeps anything new, bool[clients].
    """
    work = stateful(client_update)

    def one(number: Any, key: Any, present: Any) -> Given:
        data, own = jax.tree.map(lambda x: x[number], (clients.data, state.clients))
        count = clients.counts[number]
        found = given(work, state.params, data, count, key, own, state.common)
        kept = jax.tree.map(lambda new, old: jnp.where(present, new, old), found.own, own)
        return found._replace(own=kept)

    present = jnp.broadcast_to(present, who.shape)
    found = jax.lax.map(lambda x: one(*x), (who, keys, present), batch_size=chunk)
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
    return State(params, after, state.clients, common, state.privacy), optax.tree.norm(changes)
