"""`jsmpc.secure` on whole JAX functions: structure, control flow, transformations, training."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax

import jsmpc

KEY = jax.random.key(7)
REPLICATED, ADDITIVE = jsmpc.Replicated3(), jsmpc.Additive(("bob", "alice"), dealer="james")
X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6)
ULP = 1 / REPLICATED.encoding.scale


def run(f, *args, smpc=REPLICATED):
    return jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, smpc)))


def close(ours, theirs, units=4):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=units * ULP
        )


def structure(x):
    y = jnp.concatenate([x.T, -x.T], 1).reshape(3, 16)
    pieces = jnp.split(y, 4, axis=1)
    return (
        jnp.flip(y, 0)[:, 2:9:3],
        jnp.pad(x, 1, constant_values=0.5),
        pieces[1] + pieces[2],
        x.at[1, 2:4].set(7.0).at[0].add(1.0),
        lax.dynamic_slice(x, (1, 2), (2, 3)),
        x[jnp.array([3, 0]), :],
        jnp.cumsum(x, 1),
        jnp.where(jnp.arange(6) > 2, x, 0.25),
        jnp.sum(x, 0) + jnp.mean(x),
        jnp.einsum("ij,kj->ik", x, x),
        x / 7 + x / 0.3 - 2 * x,
        (x**3) * 0.001,
        jnp.tile(x[:1], (2, 1)) @ np.ones((6, 2), np.float32),
    )


def order(x):
    above = x > 0.3
    return (
        jnp.max(x, 0),
        jnp.min(x, 1),
        jnp.argmax(x, 1),
        jnp.argmin(x * x, 0),
        jnp.clip(x, -1.0, 2.0),
        jnp.abs(x),
        jnp.sign(x),
        above & (x < 2) | (x == X[0, 0]) ^ ~above,
        jnp.sum(above),
        jnp.any(above, 1),
        jnp.all(above, 0),
        (above).astype(jnp.float32) * 2,
        x.astype(jnp.int32),
        jnp.maximum(x, -jnp.inf),
        jnp.isfinite(x),
    )


@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=["replicated", "additive"])
@pytest.mark.parametrize("f", [structure, order])
def test_a_secure_function_computes_what_jax_does(f, smpc):
    close(run(f, X, smpc=smpc), jax.tree.map(jnp.asarray, f(jnp.asarray(X))), units=8)


def control(x):
    def step(carry, row):
        return carry * 0.5 + jnp.sum(row), carry

    carry, rows = lax.scan(step, 0.0, x, reverse=True)
    looped = lax.fori_loop(0, 3, lambda i, c: c + x[i] * 0.5, x[0])
    public = lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * 0.5), (0, x[2]))[1]
    chosen = lax.cond(x[0, 0] > 0, lambda a: a + 1, lambda a: a - 1, x[1])
    switched = lax.switch(1, [lambda a: a, lambda a: a * 2], x[1])
    return carry, rows, looped, public, chosen, switched, jax.checkpoint(jnp.square)(x)


@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=["replicated", "additive"])
def test_control_flow(smpc):
    close(run(control, X, smpc=smpc), control(jnp.asarray(X)), units=16)


def test_the_material_of_a_loop_is_dealt_beforehand():
    def f(x):
        return lax.scan(lambda c, row: (c * 0.5 + row, jnp.maximum(c, row)), x[0], x)

    shared = jsmpc.share(KEY, X, ADDITIVE)
    secure = jsmpc.secure(f)
    together = secure(KEY, shared)
    apart = secure.online(secure.offline(KEY, shared), shared)
    for one, two in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.components[0], two.components[0])
    close(jsmpc.reveal(apart), f(jnp.asarray(X)))


def test_public_values_stay_public_and_reveal_makes_them_so():
    def f(x, n):
        revealed = jsmpc.reveal(x[0])
        return revealed, n * 2, jnp.exp(revealed), x + n

    shared = jsmpc.share(KEY, X, REPLICATED)
    revealed, public, exp, secret = jsmpc.secure(f)(KEY, shared, 3.0)
    assert isinstance(secret, jsmpc.Share) and not isinstance(public, jsmpc.Share)
    close([revealed, public, exp], [jnp.asarray(X[0]), jnp.asarray(6.0), jnp.exp(X[0])], units=99)
    np.testing.assert_array_equal(f(jnp.asarray(X), 3.0)[0], X[0])
    np.testing.assert_array_equal(jax.grad(lambda v: jsmpc.reveal(v * v))(3.0), 6.0)


def test_reveal_to_one_party_by_name_or_rank():
    shared = jsmpc.share(KEY, X, ADDITIVE)
    for party in ("alice", 0):
        close(jsmpc.reveal(shared, to=party), jnp.asarray(X), units=1)


def test_composes_with_jit_and_vmap_and_is_traced_once():
    traces = []

    def f(x):
        traces.append(1)
        return x * jnp.max(x)

    secure = jsmpc.secure(f)
    shared = jsmpc.share(KEY, X, REPLICATED)
    first, second = secure(KEY, shared), secure(jax.random.key(8), shared)
    assert len(traces) == 1
    assert not np.array_equal(first.components[0], second.components[0])
    close(jsmpc.reveal(jax.jit(secure)(KEY, shared)), f(jnp.asarray(X)), units=16)
    rows = jax.vmap(secure, in_axes=(None, 1), out_axes=1)(KEY, shared)
    close(jsmpc.reveal(rows), jax.vmap(f)(jnp.asarray(X)), units=16)


def test_vmap_gives_each_element_masks_of_its_own():
    """With one key for all, equal secrets must not show in equal shares of their products."""
    same = np.ones((5, 3), np.float32)
    shared = jsmpc.share(KEY, same, REPLICATED)
    out = jax.vmap(jsmpc.secure(lambda v: v * v), in_axes=(None, 1), out_axes=1)(KEY, shared)
    words = np.asarray(out.components[0]).reshape(-1)
    assert np.unique(words).size == words.size


def test_exports():
    secure, shared = jsmpc.secure(lambda x: x * x), jsmpc.share(KEY, X, REPLICATED)
    targets = ("jsmpc_program", "jsmpc_keystream", "jsmpc_matmul")
    checks = [jax.export.DisabledSafetyCheck.custom_call(t) for t in targets]
    key = jsmpc.random_key()
    with jax.enable_x64(True):
        exported = jax.export.export(jax.jit(secure), disabled_checks=checks)(key, shared)
        out = exported.call(key, shared)
    close(jsmpc.reveal(out), jnp.asarray(X * X))


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize("bits", [32, 64])
def test_words_keep_their_width_in_both_modes(x64, bits):
    smpc = jsmpc.Replicated3(bits=bits)
    with jax.enable_x64(x64):
        shared = jsmpc.share(KEY, np.arange(4) * 1.5, smpc)
        out = jsmpc.secure(lambda x: x * 2.0 + x)(KEY, shared)
        assert shared.components[0].dtype == out.components[0].dtype == np.dtype(f"uint{bits}")
        value = jsmpc.reveal(out)
        assert value.dtype == (np.float64 if x64 else np.float32)
        np.testing.assert_allclose(value, np.arange(4) * 4.5, atol=0.01)
        assert jax.config.read("jax_enable_x64") == x64


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (2, 2))(x[..., None]))
        return nn.Dense(2)(x.reshape(x.shape[0], -1))


def test_trains_an_unmodified_flax_model_with_optax():
    model, optimizer = Network(), optax.sgd(0.05, momentum=0.9)
    images, targets = X.reshape(2, 3, 4), np.float32([[1, 0], [0, 1]])
    params = model.init(jax.random.key(0), images)

    def train(params, images, targets):
        def loss(p):
            return jnp.mean((model.apply(p, images) - targets) ** 2)

        def step(state, _):
            params, opt_state = state
            value, grads = jax.value_and_grad(loss)(params)
            updates, opt_state = optimizer.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), value

        (params, _), losses = lax.scan(step, (params, optimizer.init(params)), None, length=3)
        return params, losses

    close(run(train, params, images, targets), train(params, images, targets), units=200)


def test_a_constant_that_the_encoding_loses_is_a_warning_that_names_the_line():
    with pytest.warns(jsmpc.EncodingWarning, match=r"add at .*test_secure.py:\d+.*smallest one"):
        run(lambda x: x + 1e-8, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close(run(lambda x: x * 1e-4, X), jnp.asarray(X * np.float32(1e-4)), units=1)
