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
REPLICATED, PLAIN = jsmpc.Replicated3(), jsmpc.testing.InsecurePlain()
FINER = jsmpc.Replicated3(encoding=jsmpc.FixedPoint(precision_fractional=24))
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


def drawn(abstract):
    """Parameters of these shapes, none of them as initialization leaves it: no gradient is zero."""
    numbers = np.random.default_rng(1)
    return jax.tree.map(lambda p: 0.4 * numbers.normal(size=p.shape).astype(p.dtype), abstract)


def secretly(f, *args, smpc=REPLICATED, public=()):
    """f with secret arguments and further public ones, its results revealed."""
    return jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, smpc), *public))


def plainly(f, *args):
    """f in plain JAX, compiled as a whole."""
    return jax.jit(f)(*args)


def agree(ours, theirs, tolerance=5e-4):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    leaves = (map(jnp.asarray, jax.tree.leaves(tree)) for tree in (ours, theirs))
    for a, b in zip(*leaves, strict=True):
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
    [*((name, PLAIN) for name in OPTIMIZERS), ("momentum", REPLICATED), ("adam", REPLICATED)],
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
    "smpc, weight, scale", [(PLAIN, 1e-3, 1e3), (FINER, 0.1, 1.0)], ids=["scaled", "finer"]
)
def test_adam_with_small_gradients(smpc, weight, scale):
    """The second moment of a gradient g starts at g²/1000, which must not vanish.

    Scaled gradients, which leave Adam's updates as they are, or a finer encoding prevent it.
    """
    optimizer = optax.chain(optax.scale(scale), optax.adam(0.05))
    train, args = thirty_steps(optimizer, weight)
    with warns_of_epsilon():
        ours = secretly(train, *args, smpc=smpc)
    plain, args = thirty_steps(optax.adam(0.05), weight)
    assert difference(ours, plain(*args)) < ROOTED


# Losses.


def test_losses():
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
    agree(secretly(losses, *args), plainly(losses, *args), 1e-4)


# Layers, forward and backward.

SEQUENCES, IMAGES = normal(2, 5, 4), normal(2, 6, 6, 2)
IDS = np.array([[1, 0, 4], [2, 2, 3]], np.int32)
CAUSAL = np.tril(np.ones((1, 1, 5, 5), bool))


def graded(outputs):
    return sum(jnp.mean((y - 0.3) ** 2) for y in jax.tree.leaves(outputs))


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


LINEN = {
    "dense": (nn.Dense(3), SEQUENCES),
    "einsum": (nn.Einsum((4, 2, 2), "btd,dhk->bthk"), SEQUENCES),
    "conv": (nn.Conv(4, (3, 3), strides=2, feature_group_count=2), IMAGES),
    "conv_dilated": (nn.Conv(2, (2, 2), kernel_dilation=2, padding="VALID"), IMAGES),
    "conv_transpose": (nn.ConvTranspose(2, (3, 3), strides=(2, 2)), IMAGES),
    "pools": (Pools(), IMAGES),
    "layer_norm": (nn.LayerNorm(epsilon=1e-5), SEQUENCES),
    "group_norm": (nn.GroupNorm(2, epsilon=1e-5), IMAGES),
    "rms_norm": (nn.RMSNorm(epsilon=1e-5), SEQUENCES),
    "embed": (nn.Embed(5, 3), IDS),
    "attention": (SelfAttention(), SEQUENCES),
    "causal_attention": (SelfAttention(CAUSAL), SEQUENCES),
    "lstm": (nn.RNN(nn.LSTMCell(3)), SEQUENCES),
    "gru": (nn.RNN(nn.GRUCell(3)), SEQUENCES),
    "dropout": (nn.Sequential([nn.Dense(3), nn.Dropout(0.5, deterministic=True)]), SEQUENCES),
}


@pytest.mark.parametrize("name", LINEN)
def test_a_linen_layer_and_its_gradients(name):
    model, x = LINEN[name]
    params = drawn(jax.eval_shape(model.init, KEY, x))

    def forward_and_backward(params, x):
        def loss(p):
            outputs = model.apply(p, x)
            return graded(outputs), outputs

        return jax.value_and_grad(loss, has_aux=True)(params)

    ours = secretly(forward_and_backward, params, x, smpc=PLAIN)
    agree(ours, plainly(forward_and_backward, params, x))


def test_batch_norm_updates_its_running_statistics():
    model = nn.BatchNorm(momentum=0.9)
    variables = model.init(jax.random.key(0), SEQUENCES, use_running_average=False)

    def train_and_infer(variables, x):
        def loss(params):
            y, updates = model.apply(
                {**variables, "params": params}, x, use_running_average=False, mutable="batch_stats"
            )
            return graded(y), (y, updates)

        result = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        (_, (_, updates)), _ = result
        return result, model.apply({**variables, **updates}, x, use_running_average=True)

    args = variables, SEQUENCES + 1
    agree(secretly(train_and_infer, *args), plainly(train_and_infer, *args))


def test_a_normalization_whose_epsilon_is_lost_warns():
    model = nn.LayerNorm()
    params = model.init(KEY, SEQUENCES)
    with pytest.warns(jsmpc.EncodingWarning, match=r"1e-06 is rounded .* that works is 1\.91e-06"):
        ours = secretly(model.apply, params, SEQUENCES)
    agree(ours, model.apply(params, SEQUENCES))


def test_dropout_with_a_public_key():
    """The mask is public, what it hides is not."""

    def dropped(x, key):
        return nn.Dropout(0.5, deterministic=False).apply({}, x, rngs={"dropout": key})

    key = jax.random.key(5)
    agree(secretly(dropped, SEQUENCES, public=(key,)), plainly(dropped, SEQUENCES, key))


class NnxAttention(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(2, 4, decode=False, rngs=rngs)

    def __call__(self, x):
        return self.attention(x)


class NnxPools(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 2, (2, 2), rngs=rngs)

    def __call__(self, x):
        x = self.conv(x)
        return nnx.max_pool(x, (2, 2), (2, 2)), nnx.avg_pool(x, (2, 2), (2, 2))


class NnxDropout(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(4, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=False, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.linear(x))


# Each computes what the layer of Linen does, here among parties: those with a state of their own,
# and one of each kind.
NNX = {
    "linear": (lambda r: nnx.Linear(4, 3, rngs=r), SEQUENCES),
    "conv": (lambda r: nnx.Conv(2, 3, (3, 3), strides=2, rngs=r), IMAGES),
    "pools": (NnxPools, IMAGES),
    "batch_norm": (lambda r: nnx.BatchNorm(4, rngs=r), SEQUENCES),
    "layer_norm": (lambda r: nnx.LayerNorm(4, epsilon=1e-5, rngs=r), SEQUENCES),
    "embed": (lambda r: nnx.Embed(5, 3, rngs=r), IDS),
    "attention": (NnxAttention, SEQUENCES),
    "lstm": (lambda r: nnx.RNN(nnx.LSTMCell(4, 3, rngs=r)), SEQUENCES),
    "dropout": (NnxDropout, SEQUENCES),
}


@pytest.mark.parametrize("name", NNX)
def test_an_nnx_layer_and_its_gradients(name):
    """The parameters and the running statistics are secret, random generators are public."""
    make, x = NNX[name]
    graphdef, secret, public = jax.jit(
        lambda: nnx.split(make(nnx.Rngs(0)), (nnx.Param, nnx.BatchStat), ...)
    )()

    def forward_and_backward(secret, x, public):
        model = nnx.merge(graphdef, secret, public)

        def loss(model, x):
            outputs = model(x)
            return graded(outputs), outputs

        result = nnx.value_and_grad(loss, has_aux=True)(model, x)
        return result, nnx.state(model, nnx.BatchStat)

    ours = secretly(forward_and_backward, secret, x, public=(public,))
    agree(ours, plainly(forward_and_backward, secret, x, public))


# Training steps and whole loops.

LABELS = np.array([0, 2, 1, 0, 1, 2, 2, 0], np.int32)


@pytest.mark.parametrize(
    "optimizer",
    [optax.sgd(0.1, momentum=0.9), optax.chain(optax.scale(1e3), optax.adam(0.05, eps=1e-4))],
    ids=["momentum", "adam"],
)
def test_a_train_state_is_shared_as_a_whole(optimizer):
    model = nn.Dense(3)
    params = freeze(drawn(jax.eval_shape(model.init, KEY, INPUTS)))
    plain = TrainState.create(apply_fn=model.apply, params=params, tx=optimizer)
    traces = []

    def train_step(state, x, labels):
        def loss(p):
            logits = state.apply_fn(p, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        traces.append(1)
        value, grads = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=grads), jsmpc.reveal(value)

    step = jsmpc.secure(train_step)
    secret, x, labels = jsmpc.share(KEY, (plain, INPUTS, LABELS), REPLICATED)
    for i in range(3):
        secret, value = step(jax.random.fold_in(KEY, i), secret, x, labels)
    assert len(traces) == 1
    step = jax.jit(train_step)
    for _ in range(3):
        plain, expected = step(plain, INPUTS, LABELS)
    agree((jsmpc.reveal(secret), value), (plain, expected), 2e-3)


def test_an_nnx_model_and_its_optimizer():
    model = nnx.Linear(4, 3, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
    graphdef, state = nnx.split((model, optimizer))

    def train_step(state, x, labels):
        model, optimizer = nnx.merge(graphdef, state)

        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return nnx.state((model, optimizer)), value

    agree(secretly(train_step, state, INPUTS, LABELS), plainly(train_step, state, INPUTS, LABELS))


class Perceptron(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(3)(x)))[..., 0]


def test_epochs_of_batches_whose_loss_is_revealed():
    """Scans in a scan, per-example gradients that are clipped, checkpoints, and jit around."""
    model = Perceptron()
    params = drawn(jax.eval_shape(model.init, KEY, INPUTS))

    @jax.checkpoint
    def loss(p, x, y):
        return (model.apply(p, x) - y) ** 2

    def clipped(p, x, y):
        value, grads = jax.value_and_grad(loss)(p, x, y)
        factor = jnp.minimum(1.0, 2.0 / optax.global_norm(grads))
        return value, jax.tree.map(lambda g: factor * g, grads)

    def train(params, x, y):
        def step(p, batch):
            values, grads = jax.vmap(clipped, (None, 0, 0))(p, *batch)
            p = jax.tree.map(lambda w, g: w - 0.1 * jnp.mean(g, 0), p, grads)
            return p, jsmpc.reveal(jnp.mean(values))

        def epoch(p, _):
            return lax.scan(step, p, (x.reshape(2, 4, 4), y.reshape(2, 4)))

        return lax.scan(epoch, params, None, length=3)

    shared = jsmpc.share(KEY, (params, INPUTS, TARGETS), REPLICATED)
    ours, losses = jax.jit(jsmpc.secure(train))(KEY, *shared)
    theirs, expected = plainly(train, params, INPUTS, TARGETS)
    assert isinstance(losses, jax.Array)
    agree(losses, expected)
    agree(jsmpc.reveal(ours), theirs)


def test_gradient_accumulation():
    """Over microbatches by a loop, and over steps by Optax, whose counters are secret."""
    optimizer = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=2)

    def loss(p, x, y):
        return jnp.mean((x @ p["w"] + p["b"] - y) ** 2)

    def train(params, state, x, y):
        def step(_, carry):
            params, state = carry

            def add(i, total):
                part = (lax.dynamic_slice_in_dim(v, 4 * i, 4) for v in (x, y))
                return jax.tree.map(jnp.add, total, jax.grad(loss)(params, *part))

            grads = lax.fori_loop(0, 2, add, jax.tree.map(jnp.zeros_like, params))
            updates, state = optimizer.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        return lax.fori_loop(0, 4, step, (params, state))

    args = START, optimizer.init(START), INPUTS, TARGETS
    agree(secretly(train, *args), plainly(train, *args))
