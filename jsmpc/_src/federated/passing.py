"""The model goes from worker to worker, and learns at each of them."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.federated.asking import note, reason_of, together, why
from jsmpc._src.federated.datasets import FederatedDataset
from jsmpc._src.federated.given import Given, Reason
from jsmpc._src.federated.local import ClientUpdate, Stateful, stateful
from jsmpc._src.federated.rounds import Metrics, State, require_enough
from jsmpc._src.federated.sequential import moved, require_nothing_in_common
from jsmpc._src.federated.worked import arguments, kept, strong, told, training
from jsmpc._src.plans.located import Located
from jsmpc._src.workers.running import run
from jsmpc._src.workers.worker import BaseWorker


@dataclasses.dataclass(frozen=True)
class WorkersSequential:
    """A way of learning in which the model goes from worker to worker, as `Sequential`.

    It moves without coming to the caller, and stays at the last one. A worker that meets an error,
    has no finite update, or is late, is left out: the one before has kept the model.

    Attributes:
      client_update: one client's work; see `local_steps`.
      deadline: the seconds that each worker may take.

    Guarantee: each worker learns the model as the one before has left it, and so what that tells of
      its data; the caller learns weights and losses, and the model when it asks for it.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, optax, jsmpc
      >>> from jsmpc import federated
      >>> workers = [jsmpc.Worker(name) for name in ("bob", "alice")]
      >>> x = np.linspace(-1, 1, 8, dtype=np.float32)
      >>> data = federated.federate({"x": x, "y": 2 * x}, workers)
      >>> def loss(w, batch):
      ...     return (w * batch["x"] - batch["y"]) ** 2
      >>> work = federated.local_epochs(loss, optax.adam(0.2), epochs=1, batch=2, keeps_state=True)
      >>> learning = federated.WorkersSequential(work)
      >>> state = learning.init(jnp.zeros(()), data)
      >>> state, metrics = federated.run(learning, jax.random.key(0), state, data, rounds=40)
      >>> state.params.location, bool(abs(state.params.get() - 2) < 0.1)
      (Worker('alice'), True)
    """

    client_update: ClientUpdate | Stateful
    deadline: float = 300.0

    def init(self, params: Any, dataset: FederatedDataset) -> State:
        """The state before the first round; what clients keep is by the workers' names."""
        work, params = stateful(self.client_update), strong(params)
        require_nothing_in_common(work, params)
        return State(params, None, kept(work, params, dataset))

    def round(self, key: Any, state: State, dataset: FederatedDataset) -> tuple[State, Metrics]:
        """One round: the model comes to each worker once, in their order.

        The parameters of the state after it are pointers to the last worker that took part. The
        length of the step is not known here: it is NaN.

        Raises:
          FederatedError: where no worker can take part.
        """
        count = len(dataset.workers)
        now, results, losses = state, [], []
        for number, own in enumerate(jax.random.split(key, count)):
            task = functools.partial(self._turn, now, dataset, number, own)
            (found,) = together([task], time.monotonic() + self.deadline)
            results.append(found)
            if reason_of(found) == Reason.NONE:
                now, loss = found
                losses.append(loss)
        reasons = np.array([reason_of(one) for one in results], np.int8)
        note(dataset, range(count), results)
        require_enough(reasons, 1, why(dataset, range(count), results))
        loss, nan = np.float32(np.mean(losses)), np.float32(np.nan)
        return now, Metrics(loss, nan, np.arange(count, dtype=np.int32), reasons)

    def _turn(
        self, state: State, dataset: FederatedDataset, number: int, key: Any
    ) -> tuple[State, float]:
        """The state after a worker's work on the model, which moves there; and its loss."""
        worker, part = dataset.workers[number], dataset.parts[number]
        here = state._replace(params=_moved_to(worker, state.params))
        turns = _turning(stateful(self.client_update), str(jax.random.key_impl(key)))
        params, found = run(turns, *arguments(here, worker.name, key, part))
        _, loss = told(found)
        return State(params, None, {**state.clients, worker.name: found.own}), loss


@functools.lru_cache(maxsize=64)
def _turning(work: Stateful, impl: str) -> Callable[..., Any]:
    """What a worker runs to which the model comes."""
    trains = training(work, impl)

    def turn(params: Any, common: Any, own: Any, key: Any, data: Any) -> tuple[Any, Given]:
        found = trains(params, common, own, key, data)
        return moved(params, found.vector), found._replace(vector=None)

    return turn


def _moved_to(worker: BaseWorker, params: Any) -> Any:
    """Parameters at a worker; where they were, they stay too."""
    places = {x.place for x in jax.tree.leaves(params) if isinstance(x, Located)}
    if places <= {worker}:
        return params
    return jax.tree.map(lambda x: x.move(worker), run(_same, params))


def _same(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
