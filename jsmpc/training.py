"""Training with images, labels, weights and gradients secret: a train step in plain JAX.

`make_steps` makes the function of a Flax model and an Optax optimizer; it knows nothing of secrecy
but the `jsmpc.reveal` of the losses, the identity in plain JAX. `train` runs it, in the clear or
with `jsmpc.secure`, from the same start on the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from numpy.typing import NDArray
from tqdm import tqdm

import jsmpc
from jsmpc import prf
from jsmpc.datasets import Mnist, normalize

Array = jax.Array
Params = Any  # the pytree that Flax makes
State = tuple[Params, optax.OptState]
Batch = tuple[Any, Any]  # images and one-hot labels


class MLP(nn.Module):
    """784-128-10 with ReLU: from images, float32 (n, 784), to logits, float32 (n, 10)."""

    @nn.compact
    def __call__(self, images: Array) -> Array:
        hidden = nn.relu(nn.Dense(128)(images))
        return nn.Dense(10)(hidden)


class LeNet(nn.Module):
    """Two convolutions with max-pools, two dense layers; from (n, 784) to logits (n, 10)."""

    @nn.compact
    def __call__(self, images: Array) -> Array:
        x = images.reshape(-1, 28, 28, 1)
        for features in (20, 50):
            x = nn.relu(nn.Conv(features, (5, 5), padding="VALID")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        hidden = nn.relu(nn.Dense(500)(x.reshape(-1, 800)))
        return nn.Dense(10)(hidden)


MODELS: dict[str, nn.Module] = {"mlp": MLP(), "lenet": LeNet()}


def initial_params(model: nn.Module, seed: int) -> Params:
    """Random weights of a model of images (n, 784), by Flax's initializers."""
    return model.init(jax.random.fold_in(jax.random.key(seed), 0), jnp.zeros((1, 784)))


def schedule(count: int, batch_size: int, steps: int, seed: int) -> NDArray[np.int64]:
    """The images of each step, int64 (steps, batch_size).

    Every epoch takes the `count` images in another order; the rest that makes no whole batch is
    left out. Batches have at most `count` images.
    """
    rng, size = np.random.default_rng(seed), min(batch_size, count)
    epochs = -(-steps * size // (count // size * size))
    rows = [rng.permutation(count)[: count // size * size].reshape(-1, size) for _ in range(epochs)]
    return np.concatenate([*rows, np.empty((0, size), np.int64)])[:steps]


def make_step(
    model: nn.Module, optimizer: optax.GradientTransformation
) -> Callable[[State, Batch], tuple[State, Array]]:
    """One step of training, plain JAX: from a state and a batch to a state and the mean loss.

    The state is the parameters and the optimizer's state, the batch images (n, 784) and one-hot
    labels (n, 10), the loss the softmax cross-entropy in nats.
    """

    def step(state: State, batch: Batch) -> tuple[State, Array]:
        params, memory = state
        images, labels = batch

        def loss(params: Params) -> Array:
            return optax.softmax_cross_entropy(model.apply(params, images), labels).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, memory = optimizer.update(gradients, memory, params)
        return (optax.apply_updates(params, updates), memory), value

    return step
