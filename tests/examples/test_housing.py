"""The made-up houses: the same ones every time, and something to learn, at workers too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jsmpc
from jsmpc import federated
from jsmpc.examples.datasets import load_housing
from jsmpc.examples.datasets.housing import FEATURES

HOUSES = load_housing()


def test_the_same_houses_every_time() -> None:
    assert HOUSES.x_train.shape == (404, 13) and HOUSES.y_test.shape == (102, 1)
    assert {x.dtype for x in HOUSES} == {np.dtype(np.float32)}
    again = load_housing()
    assert all(np.array_equal(a, b) for a, b in zip(HOUSES, again, strict=True))
    assert len(set(FEATURES)) == 13 and all(np.isfinite(x).all() for x in HOUSES)
    first = HOUSES.x_train[:3, :2]  # rooms and area
    np.testing.assert_allclose(first, [[4, 89.329], [5, 106.152], [5, 117.939]], rtol=1e-5)


def explained(params: Any, x: Any, y: Any) -> float:
    left = ((x @ params["w"] + params["b"] - y) ** 2).sum()
    return float(1 - left / ((y - y.mean()) ** 2).sum())


def test_two_workers_learn_prices() -> None:
    mean, std = HOUSES.x_train.mean(axis=0), HOUSES.x_train.std(axis=0)
    x, y = (HOUSES.x_train - mean) / std, HOUSES.y_train / 100
    workers = [jsmpc.Worker("bob"), jsmpc.Worker("alice")]
    data = federated.federate({"x": x, "y": y}, workers, tags=["#housing"])

    def loss(params: Any, batch: Any) -> Any:
        return ((batch["x"] @ params["w"] + params["b"] - batch["y"]) ** 2).sum(axis=-1)

    work = federated.local_epochs(loss, optax.adam(0.03), epochs=1, batch=16, keeps_state=True)
    learning = federated.WorkersSequential(work)
    state = learning.init({"w": jnp.zeros((13, 1)), "b": jnp.zeros(1)}, data)
    state, metrics = federated.run(learning, jax.random.key(0), state, data, 15)
    found = explained(jsmpc.get(state.params), (HOUSES.x_test - mean) / std, HOUSES.y_test / 100)
    assert metrics.loss[-1] < 0.1 * metrics.loss[0] and found > 0.75
