"""Rounds: the same as clients one after another, in the clear and on shares."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.clients import chosen

RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = X @ np.float32([1.0, -2.0, 0.5]) + 0.3
DATA = {"x": X, "y": Y}
PARAMS = {"w": jnp.zeros(3), "b": jnp.zeros(())}
PARTS = federated.sized(jax.random.key(0), 60, [30, 20, 8, 2])
CLIENTS = federated.Clients.of(DATA, PARTS)
SECURE = federated.securely(federated.mean, jsmpc.Replicated3())


def loss(params: Any, batch: Any) -> Any:
    return (batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2


LOCAL = federated.local_steps(loss, optax.sgd(0.1), steps=5, batch=4)


def federation(**changes: Any) -> federated.Federation:
    usual = {"client_update": LOCAL, "server": optax.sgd(1.0), "per_round": 4, "chunk": 2}
    return federated.Federation(**{**usual, **changes})


def test_a_round_is_the_mean_of_what_clients_do_by_themselves() -> None:
    one = federation()
    state, metrics = one.round(jax.random.key(2), one.init(PARAMS), CLIENTS)
    who, work = jax.random.split(jax.random.key(2))
    numbers, keys = chosen(who, 4, 4), jax.random.split(work, 4)
    expected, losses = jax.tree.map(jnp.zeros_like, PARAMS), []
    for number, key in zip(map(int, numbers), keys, strict=True):
        own = {name: jnp.asarray(x[PARTS[number]]) for name, x in DATA.items()}  # not padded
        count = len(PARTS[number])
        found = LOCAL(PARAMS, own, jnp.asarray(count), key)
        assert found.weight == count
        share = count / 60
        expected = jax.tree.map(lambda t, d, w=share: t + w * d, expected, found.delta)
        losses.append(found.loss)
    for name in PARAMS:
        np.testing.assert_allclose(state.params[name], expected[name], atol=1e-6)
    np.testing.assert_allclose(metrics.loss, np.mean(losses), rtol=1e-6)


def test_on_shares_it_is_the_same_to_the_last_place() -> None:
    plain, private = federation(), federation(aggregate=SECURE)
    key, start = jax.random.key(5), plain.init(PARAMS)
    expected, found = plain.round(key, start, CLIENTS)[0], private.round(key, start, CLIENTS)[0]
    for name in PARAMS:
        # weights and updates are each within half a unit, the product within one
        np.testing.assert_allclose(found.params[name], expected.params[name], atol=4 * 2**-18)


@pytest.mark.parametrize(
    "server",
    [optax.sgd(1.0), optax.sgd(1.0, momentum=0.5), optax.adam(0.3), optax.yogi(0.3)],
    ids=["avg", "avgm", "adam", "yogi"],
)
def test_any_optimizer_of_the_server_learns(server: Any) -> None:
    learning = federation(server=server, per_round=2)
    state, losses = learning.init(PARAMS), []
    for key in jax.random.split(jax.random.key(6), 30):
        state, metrics = learning.round(key, state, CLIENTS)
        losses.append(metrics.loss)
    assert np.mean(losses[-5:]) < 0.1 * losses[0]


def test_the_proximal_term_keeps_clients_near() -> None:
    far = federation(client_update=federated.local_steps(loss, optax.sgd(0.1), steps=20, batch=4))
    near = federation(
        client_update=federated.local_steps(loss, optax.sgd(0.1), steps=20, batch=4, proximal=3.0)
    )
    lengths = [
        float(f.round(jax.random.key(7), f.init(PARAMS), CLIENTS)[1].length) for f in (near, far)
    ]
    assert 0 < lengths[0] < 0.7 * lengths[1]


UPDATES = RNG.normal(size=(9, 5)).astype(np.float32)
UPDATES[:2] = 100.0  # two who send garbage
WEIGHTS = np.full(9, 1 / 9, np.float32)
HONEST = UPDATES[2:]


def test_robust_aggregation_follows_those_who_do_not_send_garbage() -> None:
    low, high = HONEST.min(axis=0), HONEST.max(axis=0)
    for robust in (federated.median, federated.trimmed_mean(2)):
        found = np.asarray(robust(UPDATES, WEIGHTS))
        assert ((low <= found) & (found <= high)).all()
    assert (np.asarray(federated.krum(2)(UPDATES, WEIGHTS)) == HONEST).all(axis=1).any()
    clipped = np.asarray(federated.clipped_mean(1.0)(UPDATES, WEIGHTS))
    assert np.linalg.norm(clipped) <= 1.0 + 1e-5
    assert np.abs(federated.mean(UPDATES, WEIGHTS)).min() > 10


@pytest.mark.parametrize("name", ["mean", "median", "trimmed", "clipped", "krum"])
def test_each_aggregation_runs_on_shares(name: str) -> None:
    aggregate = {
        "mean": federated.mean,
        "median": federated.median,
        "trimmed": federated.trimmed_mean(2),
        "clipped": federated.clipped_mean(1.0),
        "krum": federated.krum(2),
    }[name]
    few = UPDATES[:, :2] / 16
    found = federated.securely(aggregate, jsmpc.Replicated3())(few, WEIGHTS)
    np.testing.assert_allclose(found, aggregate(few, WEIGHTS), atol=2e-4)


def test_what_cannot_be_a_round() -> None:
    for learning, why in (
        (federation(per_round=5), "5 of 4 clients cannot take part"),
        (federation(chunk=3), "chunks of 3 do not divide 4 clients"),
    ):
        with pytest.raises(jsmpc.FederatedError, match=why):
            learning.round(jax.random.key(0), learning.init(PARAMS), CLIENTS)
    with pytest.raises(jsmpc.FederatedError, match="client 1 has no examples"):
        federated.Clients.of(DATA, [np.arange(3), np.arange(0)])
    with pytest.raises(jsmpc.FederatedError, match="different lengths: \\[59, 60\\]"):
        federated.Clients.of({"x": X, "y": Y[1:]}, PARTS)
