"""Federated rounds at workers in processes of their own, one of which is lost and comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import Processes

import jsmpc
from jsmpc import federated

SMPC = jsmpc.Replicated3(parties=("bob", "alice", "james"))
CLIENTS = ("bob", "alice", "olga")
X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
PARTS = [np.arange(6), np.arange(6, 10), np.arange(10, 12)]
KEYS = jax.random.split(jax.random.key(0), 4)


def loss(w: Any, batch: Any) -> Any:
    return ((batch - w) ** 2).sum(axis=-1)


WORK = federated.local_epochs(loss, optax.adam(0.1), epochs=1, batch=2, keeps_state=True)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("federated")
    names = ["bob", "alice", "james", "olga"]
    with Processes(folder, names, ["carol"]) as found:
        for name in names:
            options: list[object] = ["--log", folder / f"{name}.log"]
            if name in CLIENTS:
                np.save(folder / f"{name}.npy", X[PARTS[CLIENTS.index(name)]])
                options += ["--data", folder / f"{name}.npy", "--tags", "#x"]
            found.start(name, *options)
        found.wait(*names)
        yield found


def dataset(asked: Any) -> federated.FederatedDataset:
    found: federated.FederatedDataset
    found = federated.FederatedDataset.found([asked[name] for name in CLIENTS], "#x")
    return found


def test_rounds_are_those_of_a_simulation(workers: Processes) -> None:
    """A stopped worker is late, a killed one is lost; it comes back with what its owner offers."""
    asked: Any = workers.client("carol")
    data, clients = dataset(asked), federated.Clients.of(X, PARTS)
    there = federated.WorkersFederation(
        WORK, optax.sgd(1.0), SMPC, [asked[name] for name in SMPC.parties]
    )
    here = federated.Federation(WORK, optax.sgd(1.0), 3, chunk=3)
    state, expected = there.init(jnp.zeros(3), data), here.init(jnp.zeros(3), clients)
    for key in KEYS[:2]:
        state, metrics = there.round(key, state, data)
        expected, plain = here.round(key, expected, clients)
        np.testing.assert_allclose(state.params, expected.params, atol=3 * 4 * 2**-18)
        np.testing.assert_allclose(metrics.loss, plain.loss, rtol=1e-4)
        np.testing.assert_array_equal(metrics.clients, plain.clients)
    for name in CLIENTS:  # of what happens there, nothing but what is told leaves
        events = [event for event, _ in workers.log(name)]
        assert events.count("get") == events.count("share") == 2 and "refused" not in events

    one = federated.WorkersFederation(WORK, optax.sgd(1.0), SMPC, there.aggregators, deadline=5.0)
    workers.running["olga"].send_signal(signal.SIGSTOP)
    try:
        _, metrics = one.round(KEYS[2], state, data)
    finally:
        workers.running["olga"].send_signal(signal.SIGCONT)
    assert metrics.excluded in ({2: "late"}, {2: "unreachable"})
    workers.end("olga", signal.SIGKILL)
    _, metrics = there.round(KEYS[2], state, data)
    assert metrics.excluded == {2: "unreachable"}
    workers.start("olga")
    workers.wait("olga")
    data = dataset(asked)  # what its owner has offered is there again; its optimizer's state is not
    own = there.init(state.params, data).clients["olga"]
    state = state._replace(clients={**state.clients, "olga": own})
    _, metrics = there.round(KEYS[2], state, data)
    assert metrics.took_part == 3


def test_the_model_goes_from_process_to_process(workers: Processes) -> None:
    asked: Any = workers.client("carol")
    data, clients = dataset(asked), federated.Clients.of(X, PARTS)
    there, here = federated.WorkersSequential(WORK), federated.Sequential(WORK)
    ends = [
        federated.run(way, KEYS[3], way.init(jnp.zeros(3), place), place, 2)
        for way, place in ((there, data), (here, clients))
    ]
    (state, metrics), (expected, plain) = ends
    assert state.params.location is asked["olga"]
    np.testing.assert_allclose(state.params.get(), expected.params, atol=1e-6)
    np.testing.assert_allclose(metrics.loss, plain.loss, rtol=1e-5)
