"""Training as plain JAX under secrecy: optimizers, losses, layers of Flax, whole loops."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.core import freeze
from flax.training.train_state import TrainState
from jax import lax

import jsmpc

KEY = jax.random.key(11)
REPLICATED, ADDITIVE = jsmpc.Replicated3(), jsmpc.Additive()
FINER = jsmpc.Replicated3(encoding=jsmpc.FixedPoint(precision_fractional=24))
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def secretly(f, *args, smpc=REPLICATED, public=()):
    """f with secret arguments and further public ones, its results revealed."""
    return jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, smpc), *public))


def agree(ours, theirs, tolerance=5e-4):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def difference(ours, theirs):
    """‖ours - theirs‖ / ‖theirs‖ over all leaves."""
    a, b = (
        np.concatenate([np.ravel(x).astype(np.float64) for x in jax.tree.leaves(tree)])
        for tree in (ours, theirs)
    )
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# Optimizers.

INPUTS = normal(8, 4)
TARGETS = INPUTS @ np.float32([1, -2, 0.5, 0.75]) + 0.3 + 0.1 * normal(8)
START = {"w": jnp.full(4, 0.1), "b": jnp.zeros(())}

# Each with the bound of the relative difference after 30 steps: 1 % at most.
LINEAR, ROOTED = 1e-4, 5e-3
OPTIMIZERS = {
    "sgd": (optax.sgd(0.1), LINEAR),
    "momentum": (optax.sgd(0.05, momentum=0.9), LINEAR),
    "nesterov": (optax.sgd(0.05, momentum=0.9, nesterov=True), LINEAR),
    "lion": (optax.lion(0.05), LINEAR),
    "exponential_decay": (optax.sgd(optax.exponential_decay(0.1, 10, 0.5)), LINEAR),
    "cosine": (optax.sgd(optax.cosine_decay_schedule(0.1, 30)), LINEAR),
    "warmup": (optax.sgd(optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 30)), LINEAR),
    "adam": (optax.adam(0.05), ROOTED),
    "adamw": (optax.adamw(0.05), ROOTED),
    "rmsprop": (optax.rmsprop(0.05), ROOTED),
    "clipped": (optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.05)), ROOTED),
}


def thirty_steps(optimizer, weight=1.0):
    """30 steps on a linear regression, from parameters and the state of the optimizer."""

    def loss(p, x, y):
        return weight * jnp.mean((x @ p["w"] + p["b"] - y) ** 2)

    def train(params, state, x, y):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, x, y), state, params)
            return (optax.apply_updates(params, updates), state), None

        return lax.scan(step, (params, state), None, length=30)[0][0]

    return train, (START, optimizer.init(START), INPUTS, TARGETS)


def warns_of_epsilon():
    """Optax adds 1e-8 to roots, which the encoding rounds to zero."""
    return pytest.warns(
        jsmpc.EncodingWarning,
        match=r"add at .*optax.*\.py:\d+.* 1e-08 is rounded to zero.*smallest one that works is",
    )


@pytest.mark.parametrize(
    "name, smpc",
    [*((name, REPLICATED) for name in OPTIMIZERS), ("momentum", ADDITIVE), ("adam", ADDITIVE)],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_thirty_steps_of_an_optimizer(name, smpc):
    """All of the optimizer's state is secret, its counters too."""
    optimizer, bound = OPTIMIZERS[name]
    train, args = thirty_steps(optimizer)
    with warns_of_epsilon() if bound == ROOTED else contextlib.nullcontext():
        ours = secretly(train, *args, smpc=smpc)
    assert difference(ours, train(*args)) < bound


@pytest.mark.parametrize(
    "weight, smpc, scale", [(0.1, FINER, 1.0), (0.01, REPLICATED, 100.0)], ids=["finer", "scaled"]
)
def test_adam_with_small_gradients(weight, smpc, scale):
    """The second moment of a gradient g starts at g²/1000, which must be some ulp large.

    A finer encoding, or scaled gradients, which leave Adam's updates as they are, keep it so.
    """
    plain, args = thirty_steps(optax.adam(0.05), weight)
    train, (_, _, *data) = thirty_steps(optax.chain(optax.scale(scale), optax.adam(0.05)), weight)
    state = optax.chain(optax.scale(scale), optax.adam(0.05)).init(START)
    with pytest.warns(jsmpc.EncodingWarning, match="1e-08 is rounded to zero"):
        ours = secretly(train, START, state, *data, smpc=smpc)
    assert difference(ours, plain(*args)) < 0.01


# Losses.


@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=["replicated", "additive"])
def test_losses(smpc):
    def losses(logits, labels, ones):
        hot = jax.nn.one_hot(labels, 3)
        functions = (
            lambda v: optax.squared_error(v, hot),
            lambda v: optax.huber_loss(v, hot),
            lambda v: optax.sigmoid_binary_cross_entropy(v, ones),
            lambda v: optax.softmax_cross_entropy(v, hot),
            lambda v: optax.softmax_cross_entropy_with_integer_labels(v, labels),
        )
        return [jax.value_and_grad(lambda v: jnp.mean(f(v)))(logits) for f in functions]

    args = 3 * normal(4, 3), jnp.array([2, 0, 1, 1]), (normal(4, 3) > 0).astype(np.float32)
    agree(secretly(losses, *args, smpc=smpc), losses(*args), 1e-4)


# Layers, forward and backward.

SEQUENCES, IMAGES = normal(2, 5, 4), normal(2, 6, 6, 2)
IDS = np.array([[1, 0, 4], [2, 2, 3]], np.int32)
CAUSAL = np.tril(np.ones((1, 1, 5, 5), bool))


def graded(outputs):
    return sum(jnp.mean(y * y / 2 - 0.3 * y) for y in jax.tree.leaves(outputs))


class Apply(nn.Module):
    """Layers and functions in a row; the outputs of all those from `first` on."""

    parts: tuple
    first: int = 0

    def __call__(self, x):
        outputs = []
        for part in self.parts:
            outputs.append(x := part(x))
        return outputs[self.first :]


class SelfAttention(nn.Module):
    mask: object = None

    @nn.compact
    def __call__(self, x):
        return nn.MultiHeadDotProductAttention(2)(x, mask=self.mask)


class Pools(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Conv(2, (2, 2))(x)
        return (
            nn.max_pool(x, (2, 2), (2, 2)),
            nn.max_pool(x, (3, 3), (2, 2), padding="SAME"),
            nn.avg_pool(x, (2, 2), (2, 2)),
            nn.avg_pool(x, (3, 3), padding="SAME"),
        )
