"""Workloads that are networks and steps of training as users write them, in Flax and Optax."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jsmpc.bench.workloads import Inputs, Workload
from jsmpc.examples.sentences.encoder import Layers

Array = jax.Array
Products = tuple[tuple[int, int, int], ...]


class Vae(nn.Module):
    """784-400-20-400-784: the loss of images, (n, 784), with normal noise, (n, 20)."""

    @nn.compact
    def __call__(self, images: Array, noise: Array) -> Array:
        hidden = nn.relu(nn.Dense(400)(images))
        mean, log_variance = nn.Dense(20)(hidden), nn.Dense(20)(hidden)
        code = mean + jnp.exp(log_variance / 2) * noise
        logits = nn.Dense(784)(nn.relu(nn.Dense(400)(code)))
        error = optax.sigmoid_binary_cross_entropy(logits, images).sum(-1)
        divergence = (mean * mean + jnp.exp(log_variance) - log_variance - 1).sum(-1) / 2
        return (error + divergence).mean() / 784


class Mlp(nn.Module):
    """784-128-10: the mean cross-entropy for images, (n, 784), and one-hot labels, (n, 10)."""

    @nn.compact
    def __call__(self, images: Array, labels: Array) -> Array:
        logits = nn.Dense(10)(nn.relu(nn.Dense(128)(images)))
        return optax.softmax_cross_entropy(logits, labels).mean()


def _norm() -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=True)


class Residual(nn.Module):
    """Two 3×3 convolutions around which the input goes; its own is 1×1 where sizes change."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        strides = (self.stride, self.stride)
        out = nn.Conv(self.channels, (3, 3), strides, padding=1, use_bias=False)(x)
        out = nn.Conv(self.channels, (3, 3), padding=1, use_bias=False)(nn.relu(_norm()(out)))
        if x.shape != out.shape:
            x = _norm()(nn.Conv(self.channels, (1, 1), strides, use_bias=False)(x))
        return nn.relu(_norm()(out) + x)


class ResNet18(nn.Module):
    """From images, (n, 224, 224, 3), to logits, (n, 1000)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(_norm()(nn.Conv(64, (7, 7), (2, 2), padding=3, use_bias=False)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for channels in (64, 128, 256, 512):
            for stride in (1 if channels == 64 else 2, 1):
                x = Residual(channels, stride)(x)
        return nn.Dense(1000)(x.mean((1, 2)))


@dataclasses.dataclass(frozen=True)
class Network:
    """A model of Flax, its weights and its inputs given as arrays one after another."""

    model: Any
    inputs: tuple[tuple[int, ...], ...]

    @functools.cached_property
    def weights(self) -> Any:
        """The shapes of the weights."""
        given = [jax.ShapeDtypeStruct(shape, np.float32) for shape in self.inputs]
        return jax.eval_shape(self.model.init, jax.random.key(0), *given)

    def split(self, arrays: tuple[Array, ...]) -> tuple[Any, tuple[Array, ...]]:
        """The weights, and what comes after them."""
        leaves, structure = jax.tree.flatten(self.weights)
        count = len(leaves)
        return jax.tree.unflatten(structure, arrays[:count]), arrays[count:]

    def apply(self, *arrays: Array) -> Any:
        """What the model gives."""
        weights, inputs = self.split(arrays)
        return self.model.apply(weights, *inputs)

    def drawn(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Weights: kernels of variance 1 / fan-in, scales and variances 1, all else 0."""

        def draw(path: Any, x: Any) -> np.ndarray:
            kind, of = path[-1].key, path[-2].key
            if kind != "kernel":
                return np.full(x.shape, kind in ("scale", "var"), np.float32)
            inputs = x.shape[:1] if of in ("query", "key", "value") else x.shape[:-1]
            return (rng.standard_normal(x.shape) / math.sqrt(math.prod(inputs))).astype(np.float32)

        return jax.tree.leaves(jax.tree_util.tree_map_with_path(draw, self.weights))


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _of_layers(name: str, about: str, layers: Layers, tokens: int, width: int) -> Workload:
    network = Network(layers, ((tokens, width),))
    head = width // layers.heads
    attention = ((tokens, head, tokens), (tokens, tokens, head)) * layers.heads
    dense = ((tokens, width, width),) * 4
    mlp = (tokens, width, layers.hidden), (tokens, layers.hidden, width)
    return Workload(
        name,
        f"{about}, {tokens} tokens, their mean",
        network.apply,
        lambda rng: (*network.drawn(rng), _normal(rng, tokens, width)),
        products=(*attention, *dense, *mlp) * layers.count,
    )


def _encoder(tokens: int) -> Workload:
    about = "the six layers of MiniLM (width 384, 12 heads, MLP 1536)"
    return _of_layers(f"encoder_{tokens}", about, Layers(), tokens, 384)


def _layers(count: int) -> Workload:
    about = f"{count} layers of an encoder (width 64, 4 heads, MLP 256)"
    layers = Layers(count=count, heads=4, hidden=256)
    return _of_layers(f"layers_{count}", about, layers, 16, 64)


def _resnet18() -> Workload:
    network = Network(ResNet18(), ((1, 224, 224, 3),))
    products: list[tuple[int, int, int]] = [(112 * 112, 147, 64)]
    before = 64
    for channels, side in ((64, 56), (128, 28), (256, 14), (512, 7)):
        sides = side * side
        products += [(sides, 9 * before, channels), *[(sides, 9 * channels, channels)] * 3]
        products += [(sides, before, channels)] if channels != before else []
        before = channels
    return Workload(
        "resnet18_b1",
        "ResNet-18, an image of 224×224, 1,000 classes; inference with batch norm",
        network.apply,
        lambda rng: (*network.drawn(rng), _normal(rng, 1, 224, 224, 3)),
        products=(*products, (1, 512, 1000)),
    )


def _forward_and_back(batch: int, *sizes: tuple[int, int]) -> Products:
    """Of dense layers one after another; the first has no gradient of its inputs."""
    forward = [(batch, k, n) for k, n in sizes]
    weights = [(k, batch, n) for k, n in sizes]
    return *forward, *weights, *((batch, n, k) for k, n in sizes[1:])


def _adam_step() -> Workload:
    network = Network(Mlp(), ((128, 784), (128, 10)))
    optimizer = optax.chain(optax.scale(1000.0), optax.adam(0.001))
    count = 4  # arrays of weights, of first and of second moments

    def step(*arrays: Array) -> Any:
        weights, rest = network.split(arrays)
        structure = jax.tree.structure(weights)
        mean, square = (jax.tree.unflatten(structure, rest[i : i + count]) for i in (0, count))
        adam = optax.ScaleByAdamState(jnp.asarray(1, jnp.int32), mean, square)
        state = optimizer.init(weights)
        state = (state[0], (adam, *state[1][1:]))
        gradients = jax.grad(network.model.apply)(weights, *rest[2 * count :])
        updates, after = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), after[1][0].mu, after[1][0].nu

    def generate(rng: np.random.Generator) -> Inputs:
        weights = network.drawn(rng)
        mean = [_normal(rng, *x.shape) for x in weights]
        square = [rng.random(x.shape).astype(np.float32) + 0.5 for x in weights]
        images = rng.random((128, 784)).astype(np.float32)
        labels = np.eye(10, dtype=np.float32)[rng.integers(0, 10, 128)]
        return (*weights, *mean, *square, images, labels)

    return Workload(
        "adam_step",
        "784-128-10, cross-entropy, the second step of Optax's adam, gradients scaled; batch 128",
        step,
        generate,
        products=_forward_and_back(128, (784, 128), (128, 10)),
    )


def _vae_step() -> Workload:
    batch = 64
    network = Network(Vae(), ((batch, 784), (batch, 20)))

    def step(*arrays: Array) -> Any:
        weights, inputs = network.split(arrays)
        gradients = jax.grad(network.model.apply)(weights, *inputs)
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients)

    def generate(rng: np.random.Generator) -> Inputs:
        images = rng.random((batch, 784)).astype(np.float32)
        return (*network.drawn(rng), images, _normal(rng, batch, 20))

    return Workload(
        "vae_step",
        f"variational autoencoder 784-400-20-400-784, one step of SGD at 0.1; batch {batch}",
        step,
        generate,
        products=_forward_and_back(batch, (784, 400), (400, 40), (20, 400), (400, 784)),
    )


NETWORKS = (
    *(_encoder(16), _encoder(64), _layers(3), _layers(12)),
    *(_adam_step(), _vae_step(), _resnet18()),
)
