"""Aggregation that nobody sees into: updates are shared, and one vector is revealed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax

from jsmpc._src.api import sharing
from jsmpc._src.api.secure import secure
from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.aggregation import Aggregate
from jsmpc._src.federated.privacy.shares import joint_noise
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf


@dataclasses.dataclass(frozen=True)
class Secured:
    """An aggregation on shares; see `securely`."""

    aggregate: Aggregate
    protocol: Protocol
    noise: float = 0.0

    def __call__(self, updates: jax.Array, weights: jax.Array) -> jax.Array:
        shared = sharing.share(prf.random_key(), updates, self.protocol)
        noise = []
        if self.noise:
            result = jax.eval_shape(self.aggregate, updates, weights)
            noise = joint_noise(self.protocol, result.shape, self.noise, result.dtype)
        return self._private(prf.random_key(), shared, weights, noise)

    @functools.cached_property
    def _private(self) -> Callable[..., Any]:
        def revealed(updates: Any, weights: Any, noise: list[Any]) -> Any:
            return sharing.reveal(sum(noise, self.aggregate(updates, weights)))

        return secure(revealed)


def securely(aggregate: Aggregate, protocol: Protocol, *, noise: float = 0.0) -> Secured:
    """An aggregation on shares: each client shares its update, and the result alone is revealed.

    Args:
      aggregate: a function of updates and public weights, as `mean` or `trimmed_mean(4)`.
      protocol: whose parties are the aggregators.
      noise: the standard deviation of noise in each number of the result, which the parties draw
        jointly before it is revealed, so that nobody knows it: see `joint_noise`. It is in the
        result whatever a party does to its own part; how private it makes the result depends on how
        far one update can change that, so a `Federation` takes a `Privacy` instead, which clips.

    Guarantee: the aggregators learn the result, who took part, and weights; of an update no more
    than that tells, as far as the protocol's secrecy goes. A simulation hides nothing from the
    machine that it runs on.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> from jsmpc import federated
      >>> total = federated.securely(federated.mean, jsmpc.Replicated3())
      >>> total(jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.ones(2))
      Array([2., 4.], dtype=float32)
    """
    if not noise >= 0:
        raise FederatedError(f"noise has a standard deviation of 0 or more, not {noise}")
    return Secured(aggregate, protocol, noise)
