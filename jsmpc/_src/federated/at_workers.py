"""Rounds whose clients are workers: each learns where its data are, and shares its update there."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jsmpc._src.api import sharing
from jsmpc._src.api.secure import secure
from jsmpc._src.errors import FederatedError
from jsmpc._src.federated import clients as populations
from jsmpc._src.federated.aggregation import Aggregate, mean
from jsmpc._src.federated.asking import note, reason_of, require_in_time, together, why
from jsmpc._src.federated.datasets import FederatedDataset
from jsmpc._src.federated.given import Given, ShapeError
from jsmpc._src.federated.local import ClientUpdate, Stateful, stateful
from jsmpc._src.federated.rounds import Metrics, State, require_enough, stepped
from jsmpc._src.federated.worked import arguments, kept, strong, telling, told, training
from jsmpc._src.plans.plan import Plan
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf
from jsmpc._src.workers.running import planned, run
from jsmpc._src.workers.worker import BaseWorker


class _Given(NamedTuple):
    """What a worker tells of its update, its share, and a pointer to what it keeps."""

    weight: float
    loss: float
    share: Any
    own: Any


@dataclasses.dataclass(frozen=True)
class WorkersFederation:
    """A way of learning whose clients are workers, in this process or on other machines.

    A round:

    1. Workers are drawn, and each gets the parameters, what is common, and a key.
    2. Each runs `client_update` on its part of the data set. Update and state stay there; the
       caller is told the weight, the loss, and whether the update is finite.
    3. Each shares its update among the aggregators, straight from where it lies.
    4. The aggregators compute the aggregate on shares, and reveal it alone.
    5. The caller takes the server's step.

    A worker that meets an error, has no finite update, or is late in 2 or 3, is left out.

    Attributes:
      client_update, server, aggregate: as of `Federation`; `aggregate` runs on shares by itself.
      protocol: of the shares.
      aggregators: a worker for each of its parties and, last, for the dealer.
      per_round: how many workers take part, drawn at random; all by default.
      at_least: how many updates an aggregate has; with fewer a round is an error, and nothing is
        revealed.
      deadline: the seconds that steps 2 and 3 may take together; the first round compiles as well.
        What a remote worker may take for one answer is in its file, too.

    Guarantee: aggregators and caller learn the aggregate, weights, losses, and who took part; of an
      update no more than that tells, as far as the protocol's secrecy goes. Workers are trusted to
      follow the plan that they are sent; `plans` shows it to their owners, who can permit that one
      to run, its results to be shared, and nothing of them to leave but what the second tells.
    Cost: the parameters and four requests to each worker, and from it a share of its update to each
      aggregator.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, optax, jsmpc
      >>> from jsmpc import federated
      >>> clients = [jsmpc.Worker(name) for name in ("bob", "alice", "james")]
      >>> x = np.linspace(-1, 1, 12, dtype=np.float32)
      >>> data = federated.federate({"x": x, "y": 2 * x}, clients)
      >>> def loss(w, batch):
      ...     return (w * batch["x"] - batch["y"]) ** 2
      >>> learning = federated.WorkersFederation(
      ...     federated.local_epochs(loss, optax.sgd(0.5), epochs=2, batch=4),
      ...     optax.sgd(1.0),
      ...     jsmpc.Additive(parties=("ann", "ben"), dealer="cat"),
      ...     [jsmpc.Worker(name) for name in ("ann", "ben", "cat")],
      ... )
      >>> state = learning.init(jnp.zeros(()), data)
      >>> state, metrics = federated.run(learning, jax.random.key(0), state, data, rounds=5)
      >>> bool(abs(state.params - 2) < 0.05), metrics.took_part.tolist()
      (True, [3, 3, 3, 3, 3])
    """

    client_update: ClientUpdate | Stateful
    server: optax.GradientTransformation
    protocol: Protocol
    aggregators: Sequence[BaseWorker]
    aggregate: Aggregate = mean
    per_round: int | None = None
    at_least: int = 2
    deadline: float = 300.0

    def init(self, params: Any, dataset: FederatedDataset) -> State:
        """The state before the first round; what clients keep is by the workers' names."""
        work, params = stateful(self.client_update), strong(params)
        own = kept(work, params, dataset)
        return State(params, self.server.init(params), own, strong(work.common(params)))

    def plans(self, state: State, dataset: FederatedDataset) -> dict[str, tuple[Plan, Plan]]:
        """What each worker runs, by its name: what trains, and what tells of it.

        For policies: permit both to run, results of the first to be shared among the aggregators,
        and those of the second to leave.
        """
        key = jax.random.key(0)
        trains = training(stateful(self.client_update), str(jax.random.key_impl(key)))
        found = {}
        for worker, part in zip(dataset.workers, dataset.parts, strict=True):
            values = arguments(state, worker.name, key, part)
            found[worker.name] = (planned(trains, *values), telling())
        return found

    def round(self, key: Any, state: State, dataset: FederatedDataset) -> tuple[State, Metrics]:
        """One round; the metrics count workers by their places in the data set.

        The same key and state give the same round as long as the same workers take part; so a round
        that was an error can be repeated.

        Raises:
          FederatedError: where fewer than `at_least` updates are left. Nothing is aggregated then.
          LinkError: if the aggregators cannot be reached, or are lost.
        """
        due, count = time.monotonic() + self.deadline, len(dataset.workers)
        per_round = count if self.per_round is None else self.per_round
        if not 0 < per_round <= count:
            raise FederatedError(f"{per_round} of {count} workers cannot take part")
        who, work = jax.random.split(key)
        drawn = [int(i) for i in populations.chosen(who, count, per_round)]
        keys = jax.random.split(work, per_round)
        sharing.share(prf.random_key(), (), self.protocol, self.aggregators)  # they meet once
        found = together(
            [
                functools.partial(self._given, state, dataset, number, own, due)
                for number, own in zip(drawn, keys, strict=True)
            ],
            due,
        )
        reasons = np.array([reason_of(one) for one in found], np.int8)
        note(dataset, drawn, found)
        require_enough(reasons, self.at_least, why(dataset, drawn, found))
        left = {i: one for i, one in zip(drawn, found, strict=True) if isinstance(one, _Given)}
        weights = np.array([one.weight for one in left.values()], np.float32)
        private, shares = _aggregating(self.aggregate), [one.share for one in left.values()]
        aggregate = private(prf.random_key(), shares, weights)
        here = state._replace(clients=None)  # which are elsewhere
        after, length = stepped(self.server, here, aggregate, len(left) / count)
        own = {dataset.workers[i].name: one.own for i, one in left.items()}
        loss = np.float32(np.mean([one.loss for one in left.values()]))
        metrics = Metrics(loss, length, np.array(drawn, np.int32), reasons)
        return after._replace(clients={**state.clients, **own}), metrics

    def _given(
        self, state: State, dataset: FederatedDataset, number: int, key: Any, due: float
    ) -> _Given:
        """A worker's update, which is shared from there, and what is told of it."""
        worker, part = dataset.workers[number], dataset.parts[number]
        trains = training(stateful(self.client_update), str(jax.random.key_impl(key)))
        found: Given = run(trains, *arguments(state, worker.name, key, part))
        weight, loss = told(found)
        size = sum(x.size for x in jax.tree.leaves((state.params, state.common)))
        if found.vector.shape != (size,):
            raise ShapeError(f"its update is {list(found.vector.shape)}, and not [{size}]")
        require_in_time(due)
        share = sharing.share(prf.random_key(), found.vector, self.protocol, self.aggregators)
        return _Given(weight, loss, share, found.own)


@functools.lru_cache(maxsize=64)
def _aggregating(aggregate: Aggregate) -> Callable[..., Any]:
    """An aggregation of updates that are shared one by one."""

    def aggregated(updates: Sequence[Any], weights: Any) -> Any:
        return sharing.reveal(aggregate(jnp.stack(updates), weights))

    return secure(aggregated)
