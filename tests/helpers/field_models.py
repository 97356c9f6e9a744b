"""Train steps as the field's examples write them, small: models of Flax, optimizers of Optax.

Each is a function of parameters and public or secret data that takes several steps of an optimizer
in a loop, and returns the parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax import nnx


@dataclasses.dataclass(frozen=True)
class Example:
    """A training.

    Attributes:
      train: of the parameters and the batches, the parameters after all steps.
      params: at the start.
      batches: a leading axis of steps; secret but for keys.
    """

    train: Callable[..., Any]
    params: Any
    batches: tuple[Any, ...]


def training(loss: Callable[..., Any], params: Any, batches: Any, rate: float = 1e-3) -> Example:
    """Adam on a loss of parameters and a batch."""
    optimizer = optax.adam(rate)

    def train(params: Any, *batches: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            params, opt_state = state
            grads = jax.grad(loss)(params, *batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), batches)[0][0]

    return Example(train, params, batches)


def _images(steps: int, batch: int, side: int) -> tuple[jax.Array, jax.Array]:
    """Blurred strokes of two kinds, between 0 and 1, and which they are."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 4, (steps, batch))
    images = rng.uniform(0, 0.2, (steps, batch, side, side, 1))
    for i in np.ndindex(steps, batch):
        images[i][labels[i] :: 4] += 0.8
    return jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.int32)


class _NnxCNN(nnx.Module):
    """Two convolutions with normalization and pooling and two dense layers, as Flax's MNIST."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 4, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(4, rngs=rngs)
        self.conv2 = nnx.Conv(4, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(8, rngs=rngs)
        self.linear1 = nnx.Linear(32, 16, rngs=rngs)
        self.linear2 = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        x = nnx.avg_pool(nnx.relu(self.norm1(self.conv1(x))), (2, 2), (2, 2))
        x = nnx.avg_pool(nnx.relu(self.norm2(self.conv2(x))), (2, 2), (2, 2))
        return self.linear2(nnx.relu(self.linear1(x.reshape(x.shape[0], -1))))


def nnx_mnist(steps: int) -> Example:
    images, labels = _images(steps, 4, 8)
    graph, params, rest = nnx.split(_NnxCNN(nnx.Rngs(0)), nnx.Param, ...)

    def loss(params: Any, images: Any, labels: Any) -> Any:
        logits = nnx.merge(graph, params, rest, copy=True)(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return training(loss, params, (images, labels))


class _VAE(nn.Module):
    """A variational autoencoder, as Flax's."""

    @nn.compact
    def __call__(self, x: Any, key: Any) -> Any:
        hidden = nn.relu(nn.Dense(16, name="encoder")(x))
        mean, log_var = nn.Dense(4, name="mean")(hidden), nn.Dense(4, name="log_var")(hidden)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        hidden = nn.relu(nn.Dense(16, name="decoder")(z))
        return nn.Dense(x.shape[-1])(hidden), mean, log_var


def vae(steps: int) -> Example:
    images, _ = _images(steps, 4, 6)
    images = images.reshape(steps, 4, -1)
    keys = jax.vmap(jax.random.key_data)(jax.random.split(jax.random.key(5), steps))
    model = _VAE()

    def loss(params: Any, images: Any, key: Any) -> Any:
        logits, mean, log_var = model.apply(params, images, jax.random.wrap_key_data(key))
        logits = nn.log_sigmoid(logits)
        cross = -jnp.sum(images * logits + (1.0 - images) * jnp.log(-jnp.expm1(logits)), -1)
        divergence = -0.5 * jnp.sum(1 + log_var - jnp.square(mean) - jnp.exp(log_var), -1)
        return cross.mean() + divergence.mean()

    params = model.init(jax.random.key(0), images[0], jax.random.key(1))
    return training(loss, params, (images, keys))


class _Seq2seq(nn.Module):
    """An LSTM that reads a question, and one that writes the answer, as Flax's."""

    @nn.compact
    def __call__(self, questions: Any, answers: Any) -> Any:
        state, _ = nn.RNN(nn.LSTMCell(12), return_carry=True, name="encoder")(questions)
        hidden = nn.RNN(nn.LSTMCell(12), name="decoder")(answers[:, :-1], initial_carry=state)
        return nn.Dense(answers.shape[-1])(hidden)


def seq2seq(steps: int) -> Example:
    rng = np.random.default_rng(4)
    questions = rng.integers(0, 6, (steps, 4, 4))
    answers = np.concatenate([np.zeros((steps, 4, 1), int), questions[..., ::-1][..., :2]], -1)
    model = _Seq2seq()

    def loss(params: Any, questions: Any, answers: Any) -> Any:
        q, a = jax.nn.one_hot(questions, 6), jax.nn.one_hot(answers, 6)
        logits = nn.log_softmax(model.apply(params, q, a))
        return -jnp.mean(jnp.sum(a[:, 1:] * logits, -1))

    batches = jnp.asarray(questions, jnp.int32), jnp.asarray(answers, jnp.int32)
    hot = (jax.nn.one_hot(b[0], 6) for b in batches)
    return training(loss, model.init(jax.random.key(0), *hot), batches)


class _Transformer(nn.Module):
    """A language model of one block, as Flax's lm1b."""

    @nn.compact
    def __call__(self, tokens: Any) -> Any:
        x = nn.Embed(8, 8)(tokens)
        x = x + self.param("positions", nn.initializers.normal(0.1), x.shape[1:])
        mask = nn.make_causal_mask(tokens)
        x = x + nn.SelfAttention(2, use_bias=False)(nn.LayerNorm()(x), mask=mask)
        x = x + nn.Dense(8)(nn.gelu(nn.Dense(16)(nn.LayerNorm()(x))))
        return nn.Dense(8)(nn.LayerNorm()(x))


def transformer(steps: int) -> Example:
    rng = np.random.default_rng(5)
    tokens = (rng.integers(0, 8, (steps, 4, 1)) + np.arange(6) * 3) % 8
    model = _Transformer()

    def loss(params: Any, tokens: Any) -> Any:
        logits = model.apply(params, tokens[:, :-1])
        targets = tokens[:, 1:]
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    batches = jnp.asarray(tokens, jnp.int32)
    return training(loss, model.init(jax.random.key(0), batches[0, :, :-1]), (batches,))


class _ResNet(nn.Module):
    """A block with a shortcut and batch normalization, as Flax's ImageNet."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        def norm(x: Any) -> Any:
            return nn.BatchNorm(use_running_average=False)(x)

        x = nn.relu(norm(nn.Conv(4, (3, 3), use_bias=False)(x)))
        y = nn.relu(norm(nn.Conv(8, (3, 3), (2, 2), use_bias=False)(x)))
        y = norm(nn.Conv(8, (3, 3), use_bias=False)(y))
        x = nn.relu(norm(nn.Conv(8, (1, 1), (2, 2), use_bias=False)(x)) + y)
        return nn.Dense(4)(x.mean((1, 2)))


def resnet(steps: int) -> Example:
    images, labels = _images(steps, 4, 6)
    model = _ResNet()
    variables = model.init(jax.random.key(0), images[0])
    statistics = variables["batch_stats"]

    def loss(params: Any, images: Any, labels: Any) -> Any:
        variables = {"params": params, "batch_stats": statistics}
        logits, _ = model.apply(variables, images, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return training(loss, variables["params"], (images, labels))


EXAMPLES = {f.__name__: f for f in (nnx_mnist, vae, seq2seq, transformer, resnet)}
