"""What one client does in a round: its own steps on its own data, as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Loss = Callable[[Any, Any], Any]
"""From parameters and a batch [examples, …] to the loss of each example, [examples]."""


class Update(NamedTuple):
    """What a client gives back.

    Attributes:
      delta: its parameters less those that it was given.
      weight: the number of its examples.
      loss: the mean loss of its steps, for metrics.
      own: what it keeps for the next round: an optimizer's state, or a control variate.
    """

    delta: Any
    weight: Any
    loss: Any
    own: Any = None


ClientUpdate = Callable[..., Update]
"""From (params, data [examples, …], count, key, own) to an `Update`."""


def local_steps(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    batch: int,
    proximal: float = 0.0,
    keeps_state: bool = False,
) -> ClientUpdate:
    """A client that takes some steps of an Optax optimizer on batches of its own examples.

    Batches are drawn from its examples without their order, with replacement, so that clients of
    any size take the same number of steps.

    Args:
      loss: of each example of a batch.
      steps: how many; batch: the examples of each.
      proximal: FedProx's µ: adds µ/2·|w − w0|² to the loss, w0 being what the round began with.
      keeps_state: whether the optimizer's state stays with the client from round to round.

    Source: McMahan and others, AISTATS 2017 (algorithm 1, ClientUpdate); Li and others, Federated
    optimization in heterogeneous networks, MLSys 2020 (FedProx).
    """

    def objective(params: Any, start: Any, examples: Any) -> Any:
        far = optax.tree.norm(optax.tree.sub(params, start), squared=True) if proximal else 0.0
        return loss(params, examples).mean() + 0.5 * proximal * far

    def update(params: Any, data: Any, count: Any, key: Any, own: Any = None) -> Update:
        state = optimizer.init(params) if own is None else own

        def step(carry: Any, key: Any) -> Any:
            now, state = carry
            rows = jax.random.randint(key, (batch,), 0, count)
            examples = jax.tree.map(lambda x: x[rows], data)
            value, gradient = jax.value_and_grad(objective)(now, params, examples)
            changes, state = optimizer.update(gradient, state, now)
            return (optax.apply_updates(now, changes), state), value

        (last, state), losses = jax.lax.scan(step, (params, state), jax.random.split(key, steps))
        delta = optax.tree.sub(last, params)
        kept = state if keeps_state else None
        return Update(delta, count.astype(jnp.float32), losses.mean(), kept)

    return update
