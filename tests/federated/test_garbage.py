"""Some clients send garbage: a trimmed mean on shares learns all the same, the mean does not."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated

RNG = np.random.default_rng(4)
X = RNG.normal(size=(200, 2)).astype(np.float32)
TRUTH = np.float32([1.0, -2.0])
PARTS = federated.equal(jax.random.key(0), 200, 20)
BAD = np.zeros(200, bool)
BAD[np.concatenate(PARTS[:4])] = True
CLIENTS = federated.Clients.of({"x": X, "y": X @ TRUTH, "bad": BAD}, PARTS)


def loss(w: Any, batch: Any) -> Any:
    return (batch["x"] @ w - batch["y"]) ** 2


HONEST: Any = federated.local_steps(loss, optax.sgd(0.1), steps=5, batch=5)


def some_send_garbage(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
    update = HONEST(params, data, count, key)
    garbage = -5 * update.delta + 3 * jax.random.normal(key, (2,))
    return update._replace(delta=jnp.where(data["bad"][0], garbage, update.delta))


@pytest.mark.parametrize("name", ["trimmed", "mean"])
def test_four_of_twenty(name: str) -> None:
    aggregate = {"trimmed": federated.trimmed_mean(4), "mean": federated.mean}[name]
    secretly = federated.securely(aggregate, jsmpc.Replicated3())
    learning = federated.Federation(some_send_garbage, optax.sgd(1.0), 20, secretly)
    state = learning.init(jnp.zeros(2))
    state, metrics = federated.run(learning, jax.random.key(1), state, CLIENTS, 8)
    far = float(np.abs(state.params - TRUTH).max())
    assert far < 0.1 if name == "trimmed" else far > 0.5
    assert metrics.took_part.tolist() == [20] * 8  # nobody is told from the others


@pytest.mark.parametrize("protocol", [jsmpc.Replicated3(), jsmpc.Additive()], ids=repr)
@pytest.mark.parametrize(
    "aggregate",
    [
        federated.mean,
        federated.median,
        federated.trimmed_mean(4),
        federated.clipped_mean(1.0),
        federated.krum(4),
    ],
    ids=["mean", "median", "trimmed", "clipped", "krum"],
)
def test_no_update_is_seen(protocol: jsmpc.Protocol, aggregate: Any) -> None:
    """Proved for each set of aggregators that may be corrupt, and the one opening is the result."""

    def revealed(updates: Any, weights: Any) -> Any:
        return jsmpc.reveal(aggregate(updates, weights))

    updates = jsmpc.share(jax.random.key(0), np.ones((20, 3), np.float32), protocol)
    proof = jsmpc.verify(jsmpc.secure(revealed))(updates, np.ones(20, np.float32))
    assert proof.verdict == "proved"
    (opening,) = proof.openings
    assert "a revealed value, 3 numbers" in opening
