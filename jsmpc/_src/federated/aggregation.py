"""From many updates to one: plain JAX functions, which run as they are under `jsmpc.secure`.

Each takes updates as vectors, float[clients, parameters], and the clients' weights, and gives one
vector. Under `jsmpc.secure` nobody sees an update, and what is revealed is the result alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

Aggregate = Callable[[Any, Any], Any]
"""From updates [clients, parameters] and weights [clients] to a vector [parameters]."""


def mean(updates: Any, weights: Any) -> Any:
    """The mean by weights that are public and sum to one: no message but to reveal it.

    Example:
      >>> import jax.numpy as jnp
      >>> mean(jnp.array([[1.0], [4.0]]), jnp.array([0.25, 0.75]))
      Array([3.25], dtype=float32)
    """
    return weights @ updates


def total(updates: Any, weights: Any) -> Any:
    """The sum, exact to the last place on shares; weights do not count."""
    return updates.sum(axis=0)


def median(updates: Any, weights: Any) -> Any:
    """The median of each coordinate; weights do not count.

    Source: Yin and others, Byzantine-robust distributed learning, ICML 2018.
    """
    return jnp.median(updates, axis=0)


def trimmed_mean(trimmed: int) -> Aggregate:
    """The mean of each coordinate without its largest and its least values, so many of each.

    It follows the other clients as long as no more than so many send anything else.

    Source: Yin and others, Byzantine-robust distributed learning, ICML 2018.
    """

    def aggregate(updates: Any, weights: Any) -> Any:
        ordered = jnp.sort(updates, axis=0)
        return ordered[trimmed : updates.shape[0] - trimmed].mean(axis=0)

    return aggregate


def clipped_mean(most: float) -> Aggregate:
    """The mean of updates that are scaled down to a length of at most `most`; weights as `mean`."""

    def aggregate(updates: Any, weights: Any) -> Any:
        lengths = jnp.sqrt((updates * updates).sum(axis=1, keepdims=True))
        return weights @ (updates * jnp.minimum(1.0, most / lengths))

    return aggregate


def krum(bad: int) -> Aggregate:
    """The update that is nearest to its neighbours, of which there are clients − bad − 2.

    Source: Blanchard and others, Machine learning with adversaries, NIPS 2017, section 3.
    """

    def aggregate(updates: Any, weights: Any) -> Any:
        count = updates.shape[0]
        squares = (updates * updates).sum(axis=1)
        distances = squares[:, None] + squares[None] - 2 * updates @ updates.T
        apart = jnp.where(jnp.eye(count, dtype=bool), jnp.inf, distances)
        scores = jnp.sort(apart, axis=1)[:, : count - bad - 2].sum(axis=1)
        best = jnp.argmin(scores)
        return (jnp.arange(count) == best).astype(updates.dtype) @ updates

    return aggregate
