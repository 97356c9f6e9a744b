"""Many rounds, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from tqdm import tqdm

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.rounds import Metrics, State


class Learning(Protocol):
    """A way of learning in rounds, such as a `Federation`."""

    def round(self, key: Any, state: State, clients: Any) -> tuple[State, Metrics]:
        """The state after a round, and what is known of it."""


def run(
    learning: Learning,
    key: Any,
    state: State,
    clients: Any,
    rounds: int,
    *,
    watch: Callable[[int, State, Metrics], None] | None = None,
    progress: bool = False,
) -> tuple[State, Metrics]:
    """Some rounds of a way of learning.

    Args:
      learning: a `Federation`, `Sequential`, or one of those at workers.
      key: a `jax.random.key`, from which each round gets one of its own; the same one, with the
        same state, gives the same rounds.
      state: what `learning.init` made, or an earlier run.
      clients: `Clients`, or a `FederatedDataset` where clients are workers.
      watch: is called after each round with its number, from 0, the state and its metrics.
      progress: whether a bar shows rounds and losses.

    Returns:
      the last state, and the metrics of all rounds, stacked: each an array [rounds, …].

    Raises:
      FederatedError: as of `learning.round`, and for no rounds.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jsmpc import federated
      >>> data = {"x": jnp.arange(8.0), "y": 3 * jnp.arange(8.0)}
      >>> clients = federated.Clients.of(data, federated.equal(jax.random.key(0), 8, 4))
      >>> def loss(w, batch):
      ...     return (w * batch["x"] - batch["y"]) ** 2
      >>> work = federated.local_epochs(loss, optax.sgd(0.01), epochs=1, batch=2)
      >>> learning = federated.Federation(work, optax.sgd(1.0), per_round=4, chunk=4)
      >>> state = learning.init(jnp.zeros(()))
      >>> state, metrics = federated.run(learning, jax.random.key(1), state, clients, rounds=20)
      >>> metrics.loss.shape, bool(metrics.loss[-1] < 0.01), metrics.took_part[-1]
      ((20,), True, np.int64(4))
    """
    if rounds < 1:
        raise FederatedError(f"run: there are 1 or more rounds, not {rounds}")
    found = []
    with tqdm(range(rounds), unit="round", leave=False, disable=not progress) as bar:
        for number in bar:
            own = jax.random.fold_in(key, number)
            state, metrics = learning.round(own, state, clients)
            found.append(jax.tree.map(np.asarray, metrics))
            if watch is not None:
                watch(number, state, metrics)
            if progress:
                bar.set_postfix(loss=f"{float(metrics.loss):.4f}", refresh=False)
    return state, jax.tree.map(lambda *x: np.stack(x), *found)
