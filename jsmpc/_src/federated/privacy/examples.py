"""Differential privacy of single examples, by what each client does at home: DP-SGD."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from jsmpc._src import kernels
from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.local import ClientUpdate, Loss, Update
from jsmpc._src.federated.privacy import accounting, clipping
from jsmpc._src.federated.privacy.accounting import Mechanism
from jsmpc._src.federated.privacy.clipping import UNITS
from jsmpc._src.federated.privacy.gaussian import discrete_gaussian
from jsmpc._src.federated.privacy.shares import part
from jsmpc._src.jaxprs import compat
from jsmpc._src.runtime import prf


def private_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    batch: int,
    clip: float,
    noise: float,
) -> ClientUpdate:
    """A client whose update is differentially private for each of its examples, before it leaves.

    1. Each example joins a step's batch on its own, with a probability of `batch` over how many
       the client has.
    2. Each one's gradient is clipped, and to their sum the client adds discrete Gaussian noise.
    3. The optimizer gets the sum over `batch`.

    Args:
      loss, optimizer, steps: as of `local_steps`.
      batch: how many examples are expected in a batch.
      clip: the largest Euclidean length of an example's gradient.
      noise: the noise multiplier, the noise's standard deviation in the sum over the clip.

    Raises:
      FederatedError: unless clip and noise are positive.

    Guarantee: (ε, δ) of `examples_epsilon` for each example of a client, against everyone, the
    aggregators too; a client as a whole, with all its examples, is protected by a `Privacy`. All
    clients count alike, and tell no loss. The noise is from ChaCha20 under the client's key of the
    round: in a simulation whoever knows the round's key knows it.

    Source: Abadi and others, Deep learning with differential privacy, CCS 2016 (algorithm 1).
    """
    clipping.require_length(clip)
    if not 0 < noise < math.inf:
        raise FederatedError(f"a noise multiplier is positive, not {noise}")
    deviation, room = part(noise * UNITS, 1), room_of(batch)

    def update(params: Any, data: Any, count: Any, key: Any, own: Any = None) -> Update:
        seed = prf.as_key(key)
        start, back = ravel_pytree(params)

        def gradients(now: Any, rows: Any) -> Any:
            def of_one(row: Any) -> Any:
                one = jax.tree.map(lambda x: x[row][None], data)
                return jax.grad(lambda flat: loss(back(flat), one)[0])(now)

            return jax.vmap(of_one)(rows)

        def step(carry: Any, number: Any) -> Any:
            now, state = carry
            examples = jax.tree.leaves(data)[0].shape[0]
            rows, present = _batch(prf.derive(seed, "batch", number), examples, count, batch, room)
            found = _noised(
                prf.derive(seed, "noise", number), gradients(now, rows), present, clip, deviation
            )
            changes, state = optimizer.update(back(found / batch), state, back(now))
            return (ravel_pytree(optax.apply_updates(back(now), changes))[0], state), None

        state = optimizer.init(params)
        (last, _), _ = jax.lax.scan(step, (start, state), jnp.arange(steps, dtype=jnp.uint32))
        return Update(back(last - start), jnp.float32(1.0), jnp.float32(jnp.nan))

    return update


def examples_epsilon(noise: float, *, batch: int, examples: int, steps: int, delta: float) -> float:
    """ε of `private_steps` for one example, at δ.

    Args:
      noise, batch: of the steps; examples: how many the client has.
      steps: of the client, in all rounds that it takes part in.

    Raises:
      FederatedError: without dp-accounting.

    Example:
      >>> from jsmpc import federated
      >>> round(federated.examples_epsilon(1.0, batch=10, examples=600, steps=60, delta=1e-5), 1)
      1.0
    """
    most = min(room_of(batch), examples)
    mechanism = Mechanism(noise, min(1.0, batch / examples), examples, most)
    return accounting.epsilon(((mechanism, steps),), delta)


def room_of(batch: int) -> int:
    """Of how many examples a batch has room: five standard deviations more than are expected."""
    return batch + math.ceil(5 * math.sqrt(batch))


def _batch(key: Any, examples: int, count: Any, batch: int, room: int) -> tuple[Any, Any]:
    """The examples of a batch, and which of these places are taken."""
    with compat.protocol_mode():
        words = kernels.draw(key, 0, (examples,), np.uint64)
        own = jnp.arange(examples) < count
        rate = jnp.minimum(batch / count.astype(jnp.float64), 1.0)
        below = jnp.minimum(rate * 2.0**64, 2.0**64 - 2048).astype(jnp.uint64)
        joins = own & ((words < below) | (rate == 1.0))
        rows = jnp.argsort(jnp.where(joins, words >> np.uint64(1), np.uint64(1 << 63)))[:room]
        return rows.astype(jnp.int32), joins[rows]


def _noised(key: Any, gradients: Any, present: Any, clip: float, deviation: float) -> Any:
    """The noised sum of the clipped gradients of those present."""
    with compat.protocol_mode():
        units, _ = clipping.in_units(gradients, jnp.float64(clip))
        total = jnp.where(present[:, None], units, 0).sum(axis=0)
        total = total + discrete_gaussian(key, total.shape, deviation)
        return (total * (clip / UNITS)).astype(jnp.float32)
