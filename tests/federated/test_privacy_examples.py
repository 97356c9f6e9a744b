"""DP-SGD at the clients: batches, clipped gradients, noise, and what it costs."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.privacy import examples

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = X @ np.float32([1.0, -1.0, 2.0, 0.0])
PARAMS = {"w": jnp.zeros(4)}
DATA = {"x": jnp.asarray(X), "y": jnp.asarray(Y)}


def loss(params: Any, batch: Any) -> Any:
    return (batch["x"] @ params["w"] - batch["y"]) ** 2


def client(**changes: Any) -> federated.Update:
    usual = {"steps": 1, "batch": 60, "clip": 3.0, "noise": 1e-4}
    made = federated.private_steps(loss, optax.sgd(1.0), **{**usual, **changes})
    return jax.jit(made)(PARAMS, DATA, jnp.int32(60), jax.random.key(1))


def test_a_step_is_the_mean_of_clipped_gradients() -> None:
    found = client()
    gradients = -2 * Y[:, None] * X
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    assert (lengths > 3).any() and (lengths < 3).any()
    expected = -(gradients * np.minimum(1, 3 / lengths)).mean(axis=0)
    np.testing.assert_allclose(found.delta["w"], expected, atol=2e-4)
    assert found.weight == 1 and jnp.isnan(found.loss)


def test_the_noise_has_its_variance() -> None:
    wide = {"x": jnp.zeros((3, 20_000)), "y": jnp.zeros(3)}
    made = federated.private_steps(loss, optax.sgd(1.0), steps=2, batch=2, clip=0.5, noise=2.0)
    start = {"w": jnp.zeros(20_000)}
    keys = jax.random.split(jax.random.key(2), 2)
    one, two = jax.jit(jax.vmap(lambda k: made(start, wide, jnp.int32(3), k).delta["w"]))(keys)
    assert abs(one.var() / (2 * (2.0 * 0.5 / 2) ** 2) - 1) < 4 * math.sqrt(2 / 20_000)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.04


def test_examples_join_a_batch_on_their_own() -> None:
    room, counts, seen = examples.room_of(5), [], np.zeros(30)
    draw = jax.jit(lambda key: examples._batch(key, 30, jnp.int32(20), 5, room))
    for key in np.asarray(jax.random.bits(jax.random.key(3), (400, 8))):
        rows, present = map(np.asarray, draw(key))
        taken = rows[present]
        assert len(set(taken.tolist())) == len(taken)
        counts.append(len(taken))
        seen[taken] += 1
    assert seen[20:].sum() == 0  # padding
    assert abs(np.mean(counts) - 5) < 4 * math.sqrt(3.75 / 400)
    assert abs(seen[:20] / 400 - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 400)
    rows, present = examples._batch(np.arange(8, dtype=np.uint32), 30, jnp.int32(4), 5, room)
    assert sorted(np.asarray(rows)[np.asarray(present)].tolist()) == [0, 1, 2, 3]


def test_clients_learn_together() -> None:
    clients = federated.Clients.of(DATA, federated.equal(jax.random.key(0), 60, 4))
    learning = federated.Federation(
        federated.private_steps(loss, optax.sgd(0.1), steps=5, batch=8, clip=2.0, noise=0.5),
        optax.sgd(1.0),
        per_round=4,
        chunk=4,
    )
    state = learning.init(PARAMS)
    for key in jax.random.split(jax.random.key(4), 8):
        state, _ = learning.round(key, state, clients)
    assert np.abs(np.asarray(state.params["w"]) - [1.0, -1.0, 2.0, 0.0]).max() < 0.3


def test_what_it_costs() -> None:
    events = pytest.importorskip("dp_accounting")
    from dp_accounting.pld import PLDAccountant

    cost = federated.examples_epsilon(1.0, batch=10, examples=100, steps=20, delta=1e-5)
    event = events.TruncatedSubsampledGaussianDpEvent(100, 0.1, 26, 1.0)
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    assert cost == pytest.approx(accountant.compose(event, 20).get_epsilon(1e-5), abs=1e-9)


@pytest.mark.parametrize("change", [{"clip": 0.0}, {"noise": 0.0}], ids=str)
def test_steps_that_cannot_be(change: Any) -> None:
    with pytest.raises(jsmpc.FederatedError, match="positive"):
        client(**change)
