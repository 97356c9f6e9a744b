"""From many updates to one: plain JAX functions, which run as they are under `jsmpc.secure`.

Each takes updates as vectors, float[clients, parameters], and the clients' weights, such as their
numbers of examples, and gives one vector. Under `jsmpc.secure` nobody sees an update, and what is
revealed is the result alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp

Aggregate = Callable[[Any, Any], Any]
"""From updates [clients, parameters] and weights [clients] to a vector [parameters]."""


@runtime_checkable
class Running(Protocol):
    """An aggregation that takes updates some at a time, so that no one has to keep them all."""

    def begin(self) -> Any:
        """The total of none."""

    def add(self, total: Any, updates: Any, weights: Any) -> Any:
        """The total with more updates, [clients, parameters], of these weights."""

    def finish(self, total: Any) -> Any:
        """The aggregate, a vector."""


class AtOnce:
    """An aggregation of all updates as a running one, which keeps them."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._aggregate = aggregate

    def begin(self) -> list[tuple[Any, Any]]:
        return []

    def add(self, total: list[tuple[Any, Any]], updates: Any, weights: Any) -> Any:
        return [*total, (updates, weights)]

    def finish(self, total: list[tuple[Any, Any]]) -> Any:
        updates, weights = zip(*total, strict=True)
        if len(total) == 1:
            return self._aggregate(updates[0], weights[0])
        return self._aggregate(jnp.concatenate(updates), jnp.concatenate(weights))


def running(aggregate: Aggregate | Running) -> Running:
    """Any aggregation as a running one."""
    return aggregate if isinstance(aggregate, Running) else AtOnce(aggregate)


def mean(updates: Any, weights: Any) -> Any:
    """The mean by weights that are public: no message but to reveal it.

    Example:
      >>> import jax.numpy as jnp
      >>> mean(jnp.array([[1.0], [4.0]]), jnp.array([1.0, 3.0]))
      Array([3.25], dtype=float32)
    """
    return (weights / weights.sum()) @ updates


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
        return mean(updates * jnp.minimum(1.0, most / lengths), weights)

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
