"""Many clients' data in arrays of one shape, for one compiled step over all of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.splits import Parts


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clients:
    """What clients have: examples on the second axis, padded to the most that one has.

    Attributes:
      data: a pytree of arrays, [clients, examples, …].
      counts: how many examples of each client there really are, int32[clients].

    Example:
      >>> import jax, numpy as np
      >>> parts = [np.array([0, 2]), np.array([1])]
      >>> clients = Clients.of(np.array([10.0, 20.0, 30.0]), parts)
      >>> clients.data.tolist(), clients.counts.tolist()
      ([[10.0, 30.0], [20.0, 0.0]], [2, 1])
    """

    data: Any
    counts: Any

    @classmethod
    def of(cls, data: Any, parts: Parts) -> Clients:
        """The clients of a data set, a pytree of arrays [examples, …], by the parts of each.

        Raises:
          FederatedError: for arrays of different lengths, and for a client without examples.
        """
        lengths = {len(x) for x in jax.tree.leaves(data)}
        if len(lengths) != 1:
            raise FederatedError(f"a data set's arrays have different lengths: {sorted(lengths)}")
        if empty := [i for i, part in enumerate(parts) if not len(part)]:
            raise FederatedError(f"client {empty[0]} has no examples. Give it one, or leave it out")
        most = max(map(len, parts))

        def padded(x: Any) -> Any:
            x = np.asarray(x)
            out = np.zeros((len(parts), most, *x.shape[1:]), x.dtype)
            for own, part in zip(out, parts, strict=True):
                own[: len(part)] = x[part]
            return jnp.asarray(out)

        counts = jnp.asarray([len(part) for part in parts], jnp.int32)
        return cls(jax.tree.map(padded, data), counts)

    def __len__(self) -> int:
        return int(self.counts.shape[0])

    def take(self, chosen: Any) -> Clients:
        """Some of the clients, by their numbers."""
        return Clients(jax.tree.map(lambda x: x[chosen], self.data), self.counts[chosen])


def chosen(key: Any, clients: int, per_round: int) -> Any:
    """Who takes part in a round: different ones, each as likely as the others."""
    return jax.random.choice(key, clients, (per_round,), replace=False)
