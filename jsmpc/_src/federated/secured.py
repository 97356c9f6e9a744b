"""Aggregation that nobody sees into: updates are shared, and one vector is revealed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from jsmpc._src.api import sharing
from jsmpc._src.api.secure import secure
from jsmpc._src.federated.aggregation import Aggregate
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf


def securely(aggregate: Aggregate, protocol: Protocol) -> Callable[..., Any]:
    """An aggregation on shares: each client shares its update, and the result alone is revealed.

    Args:
      aggregate: a function of updates and public weights, as `mean` or `trimmed_mean(4)`.
      protocol: whose parties are the aggregators.

    Guarantee: the aggregators learn the result, who took part, and weights; of an update no more
    than that tells, as far as the protocol's secrecy goes. A simulation hides nothing from the
    machine that it runs on.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> from jsmpc import federated
      >>> total = federated.securely(federated.mean, jsmpc.Replicated3())
      >>> total(jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.array([0.5, 0.5]))
      Array([2., 4.], dtype=float32)
    """

    def revealed(updates: Any, weights: Any) -> Any:
        return sharing.reveal(aggregate(updates, weights))

    private = secure(revealed)

    def run(updates: jax.Array, weights: jax.Array) -> jax.Array:
        shared = sharing.share(prf.random_key(), updates, protocol)
        return private(prf.random_key(), shared, weights)

    return run
