"""Training that passes the model from client to client, each with what it keeps for itself."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.clients import Clients
from jsmpc._src.federated.given import Reason, given
from jsmpc._src.federated.local import ClientUpdate, Stateful, stateful
from jsmpc._src.federated.rounds import Metrics, State, kept_by_each, require_enough


@dataclasses.dataclass(frozen=True)
class Sequential:
    """A way of learning in which the model goes from each client to the next one.

    In a round each client works once, in their order, on the parameters that the one before has
    left. With `keeps_state` each has an optimizer of its own, which goes on in the next round.

    Attributes:
      client_update: one client's work; see `local_steps`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, optax
      >>> from jsmpc import federated
      >>> x, y = np.arange(4.0), 3 * np.arange(4.0)
      >>> clients = federated.Clients.of({"x": x, "y": y}, [np.array([0, 1]), np.array([2, 3])])
      >>> def loss(w, batch):
      ...     return (w * batch["x"] - batch["y"]) ** 2
      >>> work = federated.local_epochs(loss, optax.adam(0.3), epochs=1, batch=2, keeps_state=True)
      >>> learning = federated.Sequential(work)
      >>> state = learning.init(jnp.zeros(()), clients)
      >>> state, metrics = federated.run(learning, jax.random.key(0), state, clients, 100)
      >>> bool(abs(state.params - 3) < 0.05)
      True
    """

    client_update: ClientUpdate | Stateful

    def init(self, params: Any, clients: Clients) -> State:
        """The state before the first round."""
        work = stateful(self.client_update)
        require_nothing_in_common(work, params)
        return State(params, None, kept_by_each(work, params, clients))

    def round(self, key: Any, state: State, clients: Clients) -> tuple[State, Metrics]:
        """One round: the model comes to each client once.

        Where a client's update holds NaN or infinity, the model goes on as it came; the metrics
        tell.

        Raises:
          FederatedError: if that is so of all.
        """
        after, (losses, finite) = _passed(self.client_update, state, clients, key)
        reasons = np.where(finite, Reason.NONE, Reason.NOT_FINITE).astype(np.int8)
        require_enough(reasons, 1)
        length = optax.tree.norm(optax.tree.sub(after.params, state.params))
        everybody = jnp.arange(len(clients))
        return after, Metrics(losses.mean(where=finite), length, everybody, reasons)


def require_nothing_in_common(work: Stateful, params: Any) -> None:
    """FederatedError for work with something that a server would keep for all."""
    if jax.tree.leaves(work.common(params)):
        raise FederatedError(
            "clients in turn have no server that keeps what is common, as SCAFFOLD's control "
            "variate. Use a Federation"
        )


@jax.jit(static_argnums=0)
def _passed(
    client_update: ClientUpdate | Stateful, state: State, clients: Clients, key: Any
) -> tuple[State, Any]:
    """The state after each client's work, and their losses and whether they are finite."""
    work = stateful(client_update)

    def turn(params: Any, one: Any) -> Any:
        data, count, own, key = one
        found = given(work, params, data, count, key, own, None)
        return moved(params, found.vector), (found.own, found.loss, found.finite)

    keys = jax.random.split(key, len(clients))
    each = clients.data, clients.counts, state.clients, keys
    params, (own, *told) = jax.lax.scan(turn, state.params, each)
    return State(params, None, own), told


def moved(params: Any, vector: Any) -> Any:
    """Parameters moved by an update."""
    return optax.apply_updates(params, ravel_pytree(params)[1](vector))
