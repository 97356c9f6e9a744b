"""Training with images, labels, weights and gradients all secret.

`make_step` turns a Flax model and an Optax optimizer into a train step, which is plain JAX. Only
`train` knows of secrecy: it runs the steps in the clear, or on shares with `jsmpc.secure`.
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
from jsmpc._src.runtime import prf
from jsmpc.examples.datasets.mnist import Mnist, normalize

Array = jax.Array
Params = Any  # the pytree that Flax makes
State = tuple[Params, Any]  # with what the optimizer keeps
Batch = tuple[Any, Any]  # images and one-hot labels
Step = Callable[[State, Batch], tuple[State, Array]]


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


def initial_params(model: nn.Module, seed: int = 0) -> Params:
    """Random weights of a model of images (n, 784), by Flax's initializers."""
    return model.init(jax.random.fold_in(jax.random.key(seed), 0), jnp.zeros((1, 784)))


def make_step(model: nn.Module, optimizer: optax.GradientTransformation) -> Step:
    """One step of training: from a state and a batch to the next state and the mean loss.

    The state is the parameters and the optimizer's state; the batch images (n, 784) and one-hot
    labels (n, 10), float32; the loss the softmax cross-entropy in nats.
    """

    def step(state: State, batch: Batch) -> tuple[State, Array]:
        (params, memory), (images, labels) = state, batch

        def loss(params: Params) -> Array:
            return optax.softmax_cross_entropy(model.apply(params, images), labels).mean()

        value, gradients = jax.value_and_grad(loss)(params)
        updates, memory = optimizer.update(gradients, memory, params)
        return (optax.apply_updates(params, updates), memory), value

    return step


def make_steps(step: Step, reveal_losses: bool = True) -> Callable[[State, Batch], Any]:
    """Several steps: from a state and batches, stacked, to a state and the losses, revealed.

    Without `reveal_losses` there are none: None takes their place.
    """

    def steps(state: State, batches: Batch) -> tuple[State, Array | None]:
        def one(state: State, batch: Batch) -> tuple[State, Array | None]:
            state, loss = step(state, batch)
            return state, jsmpc.reveal(loss) if reveal_losses else None

        return jax.lax.scan(one, state, batches)

    return steps


def schedule(count: int, batch_size: int, steps: int, seed: int = 0) -> NDArray[np.int64]:
    """Which images each step takes: indices below `count`, int64 (steps, batch_size).

    Every epoch takes the images in another order; the rest that makes no whole batch is left out.
    A batch has at most `count` images.

    Raises:
      ValueError: for less than one image, one image a batch, or one step.
    """
    if min(count, batch_size, steps) < 1:
        raise ValueError(
            "there must be at least one image, one image a batch and one step, not "
            f"{count}, {batch_size} and {steps}"
        )
    rng, size = np.random.default_rng(seed), min(batch_size, count)
    each = count // size
    epochs = (rng.permutation(count)[: each * size] for _ in range(-(-steps // each)))
    return np.concatenate([rows.reshape(each, size) for rows in epochs])[:steps]


def load(data: Mnist, rows: NDArray[np.int64]) -> Batch:
    """Training images, float32 (..., 784), and one-hot labels, float32 (..., 10), of indices."""
    images = normalize(data.x_train[rows.ravel()]).reshape(*rows.shape, -1)
    return images, np.eye(10, dtype=np.float32)[data.y_train[rows]]


class Training(NamedTuple):
    """What a training made, and what it took.

    Attributes:
      params: the trained parameters; shares if training was secret.
      losses: the mean loss of each step, float32 (steps,); None if they were not revealed.
      seconds: in all, compiling and sharing included.
      first_call: seconds of the first call, tracing and compiling included.
      per_step: seconds a step in the calls after it, all parties on this machine and sharing left
        out; None where there was no other call.
      sharing: seconds spent on sharing weights, images and labels, in all.
    """

    params: Params
    losses: NDArray[np.float32] | None
    seconds: float
    first_call: float
    per_step: float | None
    sharing: float


def train(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    params: Params,
    data: Mnist,
    order: NDArray[np.int64],
    protocol: jsmpc.Protocol | None = None,
    *,
    reveal_losses: bool = False,
    call_steps: int = 16,
    key: Any = None,
    progress: bool = False,
) -> Training:
    """Train a model, in the clear or with images, labels, weights and gradients secret.

    Images and labels are shared call by call, so that those of one call alone are in memory.
    Parameters and the optimizer's state stay shares from call to call.

    Args:
      model: from images (n, 784) to logits (n, 10).
      optimizer: of Optax; what integers it keeps (counters of steps) are public.
      params: where to start, from `initial_params`.
      data: its training images and labels are used.
      order: the images of each step, from `schedule`; public, as are all shapes.
      protocol: whose parties compute; None trains in the clear.
      reveal_losses: whether everybody learns the loss of each step.
      call_steps: steps a call at most; the largest number is taken that divides all steps and
        leaves a second call, which shows how long a step takes once everything is compiled.
      key: for reproducible shares and masks; by default fresh from the operating system. Every
        sharing and every call has a key of its own, derived from it.
      progress: whether to show a bar.

    Raises:
      EncodingError: if a weight or pixel is out of the encoding's range.

    Guarantee: nothing is revealed but the losses, on demand.
    """
    begin, sharing, seconds, losses = time.perf_counter(), 0.0, [], []
    clear = protocol is None
    root = jsmpc.random_key() if key is None else prf.as_key(key)
    steps = make_steps(make_step(model, optimizer), clear or reveal_losses)
    run = jax.jit(lambda _, *args: steps(*args)) if clear else jsmpc.secure(steps)

    def share(purpose: str, index: int, tree: Any) -> Any:
        nonlocal sharing
        since = time.perf_counter()
        if protocol is not None:
            tree = _share_floats(prf.derive(root, purpose, index), tree, protocol)
        sharing += time.perf_counter() - since
        return tree

    state = share("start", 0, (params, optimizer.init(params)))
    most = min(call_steps, max(len(order) // 2, 1))
    size = max(n for n in range(1, most + 1) if len(order) % n == 0)
    with tqdm(
        total=len(order),
        desc="training" if clear else "private training",
        unit="step",
        disable=None if progress else True,  # None: on a terminal only
    ) as bar:
        for i, rows in enumerate(order.reshape(-1, size, order.shape[1])):
            batches = share("batches", i, load(data, rows))
            since = time.perf_counter()
            state, loss = jax.block_until_ready(run(prf.derive(root, "run", i), state, batches))
            seconds.append(time.perf_counter() - since)
            if loss is not None:
                losses.append(np.asarray(loss))
                bar.set_postfix(loss=f"{losses[-1].mean():.3f}", refresh=False)
            bar.update(size)
    return Training(
        params=state[0],
        losses=np.concatenate(losses) if losses else None,
        seconds=time.perf_counter() - begin,
        first_call=seconds[0],
        per_step=float(np.mean(seconds[1:])) / size if seconds[1:] else None,
        sharing=sharing,
    )


def _share_floats(key: Array, tree: Any, protocol: jsmpc.Protocol) -> Any:
    """Shares of the floating-point arrays of a tree; integers stay public."""

    def is_float(x: Any) -> bool:
        return bool(jnp.issubdtype(x.dtype, jnp.floating))

    floats = jax.tree.map(lambda x: x if is_float(x) else None, tree)
    shares = jax.block_until_ready(jsmpc.share(key, floats, protocol))
    return jax.tree.map(lambda x, share: x if share is None else share, tree, shares)
