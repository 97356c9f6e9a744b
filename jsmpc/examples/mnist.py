"""The main job: a network trained in the clear, then evaluated with everything secret.

The network, its training and its score are plain Flax, Optax and JAX. Only `evaluate_private`
knows of secrecy: it shares weights, images and labels and runs the same `count_correct`.
"""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from numpy.typing import NDArray
from tqdm import tqdm

import jsmpc
from jsmpc._src.api.share import is_share
from jsmpc._src.runtime import prf
from jsmpc.examples.datasets.mnist import Mnist, batches, normalize

Array = jax.Array
Params = Any  # the pytree that Flax makes

OPTIMIZERS = {"adam": lambda: optax.adam(0.001), "sgd": lambda: optax.sgd(0.01)}


class Network(nn.Module):
    """784-500-10 with ReLU: from images, float32 (n, 784), to logits, float32 (n, 10)."""

    @nn.compact
    def __call__(self, images: Array) -> Array:
        hidden = nn.relu(nn.Dense(500)(images))
        return nn.Dense(10)(hidden)


MODEL = Network()


def initial_params(seed: int) -> Params:
    """Random weights of the network, of about 1 / sqrt(inputs)."""
    return MODEL.init(jax.random.fold_in(jax.random.key(seed), 0), jnp.zeros((1, 784)))


def train(
    data: Mnist,
    optimizer: str = "adam",
    *,
    epochs: int = 10,
    batch_size: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> Params:
    """Train the network in the clear.

    Args:
      data: its training images and labels are used.
      optimizer: "adam" (learning rate 0.001) or "sgd" (0.01).
      epochs: passes over the training images; 0 leaves the initial weights.
      batch_size: images a step, at most all of them; the rest of an epoch that makes no whole
        batch is left out, another one in each epoch.
      seed: of the initial weights and of the order of the images, below 2^32.
      progress: whether to show a bar.

    Returns:
      the network's parameters, float32.

    Raises:
      ValueError: for another optimizer, a negative number of epochs, batches below 1 image, or
        no training images.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, not {optimizer!r}")
    if epochs < 0:
        raise ValueError(f"epochs must be at least 0, not {epochs}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if len(data.x_train) == 0:
        raise ValueError("there must be at least one training image")
    images, labels = jnp.asarray(normalize(data.x_train)), jnp.asarray(data.y_train, jnp.int32)
    params = initial_params(seed)
    transform = OPTIMIZERS[optimizer]()
    state = transform.init(params)
    orders = jax.random.fold_in(jax.random.key(seed), 1)
    run_epoch = jax.jit(_epoch, static_argnums=0, donate_argnums=(3, 4))
    for epoch in tqdm(range(epochs), desc="training", unit="epoch", disable=_hidden(progress)):
        order = jax.random.permutation(jax.random.fold_in(orders, epoch), len(images))
        steps = _rows(order, min(batch_size, len(images)))
        params, state = run_epoch(transform, (images, labels), steps, params, state)
        jax.block_until_ready(params)
    return params


def _rows(order: Array, size: int) -> Array:
    return order[: len(order) // size * size].reshape(-1, size)


def _epoch(
    transform: optax.GradientTransformation,
    data: tuple[Array, Array],
    steps: Array,
    params: Params,
    state: optax.OptState,
) -> tuple[Params, optax.OptState]:
    """One pass over the data; each row of `steps` holds the indices of a batch."""
    images, labels = data

    def step(carry: tuple[Params, optax.OptState], rows: Array) -> tuple[Any, None]:
        params, state = carry
        gradients = jax.grad(loss)(params, images[rows], labels[rows])
        updates, state = transform.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), None

    carry, _ = jax.lax.scan(step, (params, state), steps)
    return carry


def classify(params: Params, images: Array, model: nn.Module = MODEL) -> Array:
    """The logits, float32 (n, 10), of images, float32 (n, 784)."""
    return cast(Array, model.apply(params, images))


def loss(params: Params, images: Array, labels: Array) -> Array:
    """The mean cross-entropy of the predictions for images (n, 784) and labels (n,), in nats."""
    logits = classify(params, images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def count_correct(params: Params, images: Array, labels: Array, model: nn.Module = MODEL) -> Array:
    """How many of the images (n, 784) a model gives their label (n,): int32 of shape ()."""
    predictions = jnp.argmax(classify(params, images, model), -1)
    return jnp.sum(predictions == labels, dtype=jnp.int32)


def score(params: Params, images: Array, labels: Array) -> Array:
    """`count_correct`, disclosed; plain JAX, which runs in the clear and in `jsmpc.secure`."""
    return jsmpc.reveal(count_correct(params, images, labels))


def evaluate_plain(
    params: Params,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    model: nn.Module = MODEL,
) -> int:
    """The number of correct answers in the clear, for images (n, 28, 28) and labels (n,)."""
    count = jax.jit(count_correct, static_argnums=3)
    cuts = batches(images, labels, size=1000)
    return sum(int(count(params, normalize(x), y.astype(np.int32), model)) for x, y in cuts)


class Evaluation(NamedTuple):
    """What a private evaluation found, and what it took.

    Attributes:
      correct: the number of correct answers, the only value that was revealed.
      total: the number of images.
      first_call: seconds of the first batch, tracing and compiling included.
      per_image: seconds an image in the steady state, all parties on this machine; sharing and
        first calls are left out.
      sharing: seconds spent on sharing weights, images and labels, in all.
      cost: messages of one batch, of the first one's size.
    """

    correct: int
    total: int
    first_call: float
    per_image: float
    sharing: float
    cost: jsmpc.Cost

    @property
    def accuracy(self) -> float:
        """The fraction of correct answers."""
        return self.correct / self.total


def evaluate_private(
    params: Params,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    protocol: jsmpc.Protocol,
    *,
    model: nn.Module = MODEL,
    batch_size: int = 50,
    key: Any = None,
    progress: bool = False,
) -> Evaluation:
    """Count the correct answers with weights, images, labels and predictions secret.

    The count stays secret from batch to batch; only the total is revealed, at the end. Where no
    two batches have the same size, the first runs once more, to time it without compilation.

    Args:
      params: of the model: arrays, or shares of the protocol, as `examples.training` leaves them.
      images: uint8 (n, 28, 28), at least one.
      labels: uint8 (n,).
      protocol: whose parties compute.
      model: from images (n, 784) to logits (n, 10), by default the network of `train`.
      batch_size: images a batch; a last batch of another size is compiled for itself.
      key: for reproducible shares and masks; by default fresh from the operating system. Every
        sharing and every batch has a key of its own, derived from it.
      progress: whether to show a bar.

    Raises:
      ValueError: without images, for another number of labels, or batches below 1 image.
      EncodingError: if a weight or pixel is out of the encoding's range.
      ProtocolError: for parameters shared with another protocol.
    """
    if len(images) == 0:
        raise ValueError("there must be at least one image")
    pixels, digits = normalize(images), labels.astype(np.int32)
    cuts = list(batches(pixels, digits, size=batch_size))
    root = jsmpc.random_key() if key is None else prf.as_key(key)
    add_batch = jsmpc.secure(functools.partial(_add_batch, model))
    clock = _Clock()

    first: tuple[Any, ...] = ()
    shared = any(map(is_share, jax.tree.leaves(params, is_leaf=is_share)))
    owned = (None if shared else params, jnp.int32(0))
    weights, total = clock.share(prf.derive(root, "weights"), owned, protocol)
    weights = params if shared else weights
    for i, cut in enumerate(
        tqdm(cuts, desc="private evaluation", unit="batch", disable=_hidden(progress))
    ):
        batch = clock.share(prf.derive(root, "batch", i), cut, protocol)
        first = first or batch
        total = clock.run(add_batch, prf.derive(root, "run", i), total, weights, *batch)
    if not clock.steady_images:
        clock.run(add_batch, prf.derive(root, "again"), total, weights, *first)
    per_image = clock.steady_seconds / clock.steady_images
    cost = add_batch.cost(total, weights, *first)
    correct = int(jsmpc.reveal(total))
    return Evaluation(correct, len(images), clock.first_call, per_image, clock.sharing, cost)


def _add_batch(
    model: nn.Module, total: Array, params: Params, images: Array, labels: Array
) -> Array:
    return total + count_correct(params, images, labels, model)


class _Clock:
    """Shares and runs, and keeps the seconds of each apart."""

    def __init__(self) -> None:
        self.sharing = self.first_call = self.steady_seconds = 0.0
        self.steady_images = 0
        self._compiled: set[int] = set()

    def share(self, key: Array, tree: Any, protocol: jsmpc.Protocol) -> Any:
        start = time.perf_counter()
        shares = jax.block_until_ready(jsmpc.share(key, tree, protocol))
        self.sharing += time.perf_counter() - start
        return shares

    def run(self, f: jsmpc.SecureFunction, key: Array, *args: Any) -> Any:
        start, size = time.perf_counter(), args[-1].size
        result = jax.block_until_ready(f(key, *args))
        seconds = time.perf_counter() - start
        if size in self._compiled:
            self.steady_seconds += seconds
            self.steady_images += size
        elif not self._compiled:
            self.first_call = seconds
        self._compiled.add(size)
        return result


def _hidden(progress: bool) -> bool | None:
    """tqdm's `disable`: a bar is shown on a terminal only."""
    return None if progress else True
