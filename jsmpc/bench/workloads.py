"""The workloads of the benchmark: plain JAX functions and the NumPy generators of their inputs.

This file imports JAX and NumPy only, so that a peer's Python can load it by its path.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Inputs = tuple[np.ndarray, ...]
SEED = 2024


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the benchmark.

    Attributes:
      name: what the command line calls it.
      about: one line for people.
      function: a function of plain JAX arrays.
      generate: its inputs, from a generator of NumPy.
      public: positions of the inputs that are not secret; all others are.
      products: the matrix products (m, k, n) that the function consists of, for its share of
        the GEMM ceiling.
      elementwise: whether moving its inputs and outputs once bounds it from below.
    """

    name: str
    about: str
    function: Callable[..., Any]
    generate: Callable[[np.random.Generator], Inputs]
    public: tuple[int, ...] = ()
    products: tuple[tuple[int, int, int], ...] = ()
    elementwise: bool = False

    def inputs(self, seed: int = SEED) -> Inputs:
        """The inputs, the same for the same seed."""
        return self.generate(np.random.default_rng(seed))

    @property
    def multiply_adds(self) -> int:
        """Of the function in plain arithmetic."""
        return sum(m * k * n for m, k, n in self.products)


# Inputs.


def _normal(*shapes: tuple[int, ...], scale: float = 1.0) -> Callable[..., Inputs]:
    def generate(rng: np.random.Generator) -> Inputs:
        return tuple((scale * rng.standard_normal(s)).astype(np.float32) for s in shapes)

    return generate


def _grid(*shapes: tuple[int, ...], scale: float = 3.0) -> Callable[..., Inputs]:
    """Multiples of 2^-10, so that no comparison is decided by the rounding of the encoding."""

    def generate(rng: np.random.Generator) -> Inputs:
        exact = (np.round(scale * 1024 * rng.standard_normal(s)) / 1024 for s in shapes)
        return tuple(x.astype(np.float32) for x in exact)

    return generate


def _uniform(*ranges: tuple[float, float], size: int = 100_000) -> Callable[..., Inputs]:
    def generate(rng: np.random.Generator) -> Inputs:
        return tuple(rng.uniform(*r, size).astype(np.float32) for r in ranges)

    return generate


def _weight(rng: np.random.Generator, *shape: int) -> np.ndarray:
    fan_in = int(np.prod(shape[:-1]))
    return (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)


def _bias(rng: np.random.Generator, size: int) -> np.ndarray:
    return (0.1 * rng.standard_normal(size)).astype(np.float32)


def _dense_inputs(batch: int, *sizes: int) -> Callable[[np.random.Generator], list[np.ndarray]]:
    def generate(rng: np.random.Generator) -> list[np.ndarray]:
        layers = []
        for rows, columns in itertools.pairwise(sizes):
            layers += [_weight(rng, rows, columns), _bias(rng, columns)]
        return [*layers, rng.random((batch, sizes[0])).astype(np.float32)]

    return generate


# Functions.


def _dense_relu(w1: Array, b1: Array, w2: Array, b2: Array, x: Array) -> Array:
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


def mlp_infer(w1: Array, b1: Array, w2: Array, b2: Array, images: Array, labels: Array) -> Array:
    """How many predictions are right."""
    predictions = jnp.argmax(_dense_relu(w1, b1, w2, b2, images), axis=-1)
    return jnp.sum(predictions == labels)


def mlp_train(w1: Array, b1: Array, w2: Array, b2: Array, images: Array, one_hot: Array) -> Any:
    """One step of SGD with softmax cross-entropy; returns the new parameters."""

    def loss(parameters: tuple[Array, Array, Array, Array]) -> Array:
        logs = jax.nn.log_softmax(_dense_relu(*parameters, images), axis=-1)
        return -jnp.mean(jnp.sum(logs * one_hot, axis=-1))

    parameters = (w1, b1, w2, b2)
    gradients = jax.grad(loss)(parameters)
    return tuple(p - 0.1 * g for p, g in zip(parameters, gradients, strict=True))


def _conv(x: Array, w: Array, b: Array) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=numbers) + b


def _max_pool(x: Array) -> Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def lenet(
    c1: Array,
    d1: Array,
    c2: Array,
    d2: Array,
    w1: Array,
    b1: Array,
    w2: Array,
    b2: Array,
    images: Array,
) -> Array:
    """Two convolutions and two dense layers; returns the logits."""
    x = _max_pool(jax.nn.relu(_conv(images, c1, d1)))
    x = _max_pool(jax.nn.relu(_conv(x, c2, d2)))
    return _dense_relu(w1, b1, w2, b2, x.reshape(x.shape[0], -1))


def _layer_norm(x: Array, gain: Array, offset: Array) -> Array:
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * lax.rsqrt(variance + 1e-3) * gain + offset


def transformer_block(
    x: Array,
    qkv: Array,
    out: Array,
    g1: Array,
    o1: Array,
    w1: Array,
    b1: Array,
    w2: Array,
    b2: Array,
    g2: Array,
    o2: Array,
) -> Array:
    """Pre-norm self-attention with four heads, and an MLP with GELU."""
    length, width = x.shape
    heads = 4
    split = (_layer_norm(x, g1, o1) @ qkv).reshape(length, 3, heads, width // heads)
    q, k, v = (split[:, i].transpose(1, 0, 2) for i in range(3))
    scores = (q @ k.transpose(0, 2, 1)) * (width // heads) ** -0.5
    mixed = jax.nn.softmax(scores, axis=-1) @ v
    x = x + mixed.transpose(1, 0, 2).reshape(length, width) @ out
    hidden = jax.nn.gelu(_layer_norm(x, g2, o2) @ w1 + b1)
    return x + hidden @ w2 + b2


# The table.


def _infer(batch: int) -> Workload:
    dense = _dense_inputs(batch, 784, 500, 10)

    def generate(rng: np.random.Generator) -> Inputs:
        *layers, images = dense(rng)
        w1, b1, w2, b2 = layers
        predictions = np.argmax(np.maximum(images @ w1 + b1, 0) @ w2 + b2, axis=-1)
        labels = np.where(np.arange(batch) % 4 == 3, rng.integers(0, 10, batch), predictions)
        return (*layers, images, labels.astype(np.int32))

    return Workload(
        f"mlp_infer_b{batch}",
        f"784-500-10 with ReLU, argmax, equality with secret labels, their sum; batch {batch}",
        mlp_infer,
        generate,
        products=((batch, 784, 500), (batch, 500, 10)),
    )


def _train(batch: int) -> Workload:
    dense = _dense_inputs(batch, 784, 128, 10)

    def generate(rng: np.random.Generator) -> Inputs:
        one_hot = np.eye(10, dtype=np.float32)[rng.integers(0, 10, batch)]
        return (*dense(rng), one_hot)

    forward = ((batch, 784, 128), (batch, 128, 10))
    backward = ((784, batch, 128), (128, batch, 10), (batch, 10, 128))
    return Workload(
        f"mlp_train_b{batch}",
        f"784-128-10, softmax cross-entropy, one step of SGD at 0.1; batch {batch}",
        mlp_train,
        generate,
        products=forward + backward,
    )


def _lenet(batch: int) -> Workload:
    dense = _dense_inputs(0, 800, 500, 10)

    def generate(rng: np.random.Generator) -> Inputs:
        first = _weight(rng, 5, 5, 1, 20), _bias(rng, 20)
        second = _weight(rng, 5, 5, 20, 50), _bias(rng, 50)
        images = rng.random((batch, 28, 28, 1)).astype(np.float32)
        return (*first, *second, *dense(rng)[:-1], images)

    return Workload(
        f"lenet_b{batch}",
        "conv 5×5×20, ReLU, pool, conv 5×5×50, ReLU, pool, dense 500, ReLU, dense 10; "
        f"inference, batch {batch}",
        lenet,
        generate,
        products=(
            (batch * 576, 25, 20),
            (batch * 64, 500, 50),
            (batch, 800, 500),
            (batch, 500, 10),
        ),
    )


def _transformer() -> Workload:
    length, width, hidden = 64, 128, 512

    def generate(rng: np.random.Generator) -> Inputs:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return (
            rng.standard_normal((length, width)).astype(np.float32),
            _weight(rng, width, 3 * width),
            _weight(rng, width, width),
            ones,
            zeros,
            _weight(rng, width, hidden),
            _bias(rng, hidden),
            _weight(rng, hidden, width),
            _bias(rng, width),
            ones,
            zeros,
        )

    attention = ((length, 32, length), (length, length, 32)) * 4
    dense = ((length, 128, 384), (length, 128, 128), (length, 128, 512), (length, 512, 128))
    return Workload(
        "transformer_block",
        "d_model 128, 4 heads, sequence 64, MLP 512 with GELU, layer norm",
        transformer_block,
        generate,
        products=attention + dense,
    )


def _matmul(name: str, m: int, k: int, n: int) -> Workload:
    about = f"{m}×{k} @ {k}×{n}, standard normal"
    shapes = ((m, k), (k, n))
    return Workload(name, about, jnp.matmul, _normal(*shapes), products=((m, k, n),))


def _unary(name: str, function: Callable[..., Any], *ranges: tuple[float, float]) -> Workload:
    about = f"100,000 values in {' and '.join(f'[{low:g}, {high:g}]' for low, high in ranges)}"
    return Workload(name, about, function, _uniform(*ranges), elementwise=True)


_MILLION = 1_000_000

_TABLE = (
    _matmul("matmul_128x784x500", 128, 784, 500),
    _matmul("matmul_1024", 1024, 1024, 1024),
    Workload(
        "mul_1m",
        "product of two arrays of 1,000,000",
        jnp.multiply,
        _normal((_MILLION,), (_MILLION,), scale=3.0),
        elementwise=True,
    ),
    Workload(
        "relu_1m",
        "ReLU of 1,000,000 values",
        jax.nn.relu,
        _normal((_MILLION,), scale=3.0),
        elementwise=True,
    ),
    Workload(
        "less_1m",
        "x < y for two arrays of 1,000,000",
        jnp.less,
        _grid((_MILLION,), (_MILLION,)),
        elementwise=True,
    ),
    Workload(
        "argmax_1000x10",
        "argmax of 1,000 rows of 10",
        lambda x: jnp.argmax(x, axis=-1),
        _grid((1000, 10)),
        elementwise=True,
    ),
    _infer(1),
    _infer(50),
    _infer(128),
    _train(128),
    _lenet(32),
    _transformer(),
    _unary("exp", jnp.exp, (-4, 4)),
    _unary("reciprocal", lambda x: 1 / x, (0.1, 10)),
    _unary("div", jnp.divide, (-10, 10), (0.1, 10)),
    _unary("sqrt", jnp.sqrt, (0.1, 10)),
    _unary("rsqrt", lax.rsqrt, (0.1, 10)),
    _unary("log", jnp.log, (0.1, 10)),
    _unary("sigmoid", jax.nn.sigmoid, (-8, 8)),
    _unary("tanh", jnp.tanh, (-4, 4)),
    _unary("erf", lax.erf, (-4, 4)),
    _unary("gelu", jax.nn.gelu, (-4, 4)),
    Workload(
        "softmax_1000x10",
        "softmax of 1,000 rows of 10",
        lambda x: jax.nn.softmax(x, axis=-1),
        _normal((1000, 10), scale=2.0),
        elementwise=True,
    ),
)

WORKLOADS: dict[str, Workload] = {w.name: w for w in _TABLE}
