"""What a client gives to the aggregation: one vector, which it has checked itself."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.local import Stateful


class Reason(enum.IntEnum):
    """Why a client that was drawn has not taken part in a round, or `NONE`.

    Attributes:
      NONE: it has taken part.
      NOT_FINITE: its update held NaN or infinity, or its weight was not positive.
      SHAPE: its update has another shape than the parameters.
      LATE: it was not done by the deadline.
      UNREACHABLE: it could not be reached, or was lost on the way.
      REFUSED: its policy does not permit what it was asked.
      FAILED: it met another error.
      NOT_DRAWN: it was not drawn; see `Privacy`.
    """

    NONE = 0
    NOT_FINITE = 1
    SHAPE = 2
    LATE = 3
    UNREACHABLE = 4
    REFUSED = 5
    FAILED = 6
    NOT_DRAWN = 7


class ShapeError(FederatedError):
    """An update that has another shape than it must have."""


class Given(NamedTuple):
    """A client's update as aggregation takes it.

    Attributes:
      vector: delta and the change of what is common, one after another; zeros if it is not finite.
      weight: how much it counts; 0 if it is not finite.
      loss: of its steps.
      finite: whether it can take part.
      own: what it keeps, which is as before if it cannot.
    """

    vector: Any
    weight: Any
    loss: Any
    finite: Any
    own: Any


def given(
    work: Stateful, params: Any, data: Any, count: Any, key: Any, own: Any, common: Any
) -> Given:
    """One client's work, and what it gives; ShapeError for an update of another shape."""
    found = work.update(params, data, count, key, own, common)
    got, wanted = (
        jax.tree.map(jnp.shape, x) for x in ((found.delta, found.common), (params, common))
    )
    if got != wanted:
        raise ShapeError(f"an update has the shapes {got[0]}, and the parameters {wanted[0]}")
    vector = ravel_pytree((found.delta, found.common))[0]
    weight = jnp.asarray(found.weight, jnp.float32)
    finite = jnp.isfinite(vector).all() & jnp.isfinite(weight) & (weight > 0)
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), found.own, own)
    zero = jnp.zeros((), vector.dtype)
    loss = jnp.asarray(found.loss, jnp.float32)
    return Given(jnp.where(finite, vector, zero), jnp.where(finite, weight, 0), loss, finite, kept)
