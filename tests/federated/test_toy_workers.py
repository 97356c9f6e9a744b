"""The tutorials' toy model at bob and alice: in the clear, one after the other, and averaged."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.workers.policy import Policy, Rule

X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [0], [1], [1]], np.float32)
DATA = {"x": X, "y": Y}
HALVES = [np.array([0, 2]), np.array([1, 3])]  # each has one example of either kind
START: Any = {"w": jnp.zeros((2, 1)), "b": jnp.zeros(1)}
SMPC = jsmpc.Replicated3(parties=("ann", "ben", "cat"))
ROUNDS = 10


def loss(params: Any, batch: Any) -> Any:
    """Of each example, twice its square: so that a batch's mean is the tutorials' sum."""
    out = batch["x"] @ params["w"] + params["b"]
    return 2 * ((out - batch["y"]) ** 2).sum(axis=-1)


def total(params: Any) -> float:
    """The tutorials' loss: the sum of squares over all four."""
    return float(loss(params, DATA).sum() / 2)


ADAM = federated.local_epochs(loss, optax.adam(0.1), epochs=1, batch=2, keeps_state=True)
SGD = federated.local_epochs(loss, optax.sgd(0.1), epochs=5, batch=2)


def placed() -> tuple[list[Any], federated.FederatedDataset]:
    clients = [jsmpc.Worker("bob"), jsmpc.Worker("alice")]
    return clients, federated.federate(DATA, clients, HALVES)


def averaging(**changes: Any) -> federated.WorkersFederation:
    aggregators = [jsmpc.Worker(name) for name in SMPC.parties]
    usual = {"server": optax.sgd(1.0), "protocol": SMPC, "aggregators": aggregators}
    return federated.WorkersFederation(**{"client_update": SGD, **usual, **changes})


def test_in_the_clear() -> None:
    params, state, sgd = START, optax.sgd(0.1).init(START), optax.sgd(0.1)
    for _ in range(ROUNDS * 5):
        gradient = jax.grad(lambda p: loss(p, DATA).sum() / 2)(params)
        changes, state = sgd.update(gradient, state)
        params = optax.apply_updates(params, changes)
    assert total(params) < 0.05


def one_after_the_other() -> tuple[list[Any], list[float]]:
    """The parameters after each round, in plain JAX; and the last round's mean losses."""
    adam, params, found = optax.adam(0.1), START, []
    states = [adam.init(START), adam.init(START)]
    for _ in range(ROUNDS):
        losses = []
        for i, half in enumerate(HALVES):
            batch = {"x": X[half], "y": Y[half]}
            value, gradient = jax.value_and_grad(lambda p, b=batch: loss(p, b).mean())(params)
            changes, states[i] = adam.update(gradient, states[i])
            params = optax.apply_updates(params, changes)
            losses.append(float(value))
        found.append(params)
    return found, losses


@pytest.mark.parametrize("at_workers", [False, True], ids=["arrays", "workers"])
def test_one_after_the_other_with_an_optimizer_each(at_workers: bool) -> None:
    expected, losses = one_after_the_other()
    if at_workers:
        _, data = placed()
        learning: Any = federated.WorkersSequential(ADAM)
    else:
        data = federated.Clients.of(DATA, HALVES)
        learning = federated.Sequential(ADAM)
    state = learning.init(START, data)
    state, metrics = federated.run(learning, jax.random.key(0), state, data, ROUNDS)
    np.testing.assert_allclose(metrics.loss[-1], np.mean(losses), rtol=1e-4)
    assert metrics.took_part.tolist() == [2] * ROUNDS
    for name, found in jsmpc.get(state.params).items():
        np.testing.assert_allclose(found, expected[-1][name], atol=1e-5)
    assert total(expected[-1]) < 0.5 < total(START)


def test_the_model_goes_from_worker_to_worker_and_stays_there() -> None:
    (bob, alice), data = placed()
    learning = federated.WorkersSequential(ADAM)
    start = learning.init(START, data)
    state, _ = learning.round(jax.random.key(0), start, data)
    state, _ = learning.round(jax.random.key(1), state, data)
    assert {x.location for x in state.params.values()} == {alice}
    for worker, moves in ((bob, 4), (alice, 2)):  # two arrays: twice to alice, once back
        log = [(e.event, e.fields) for e in worker.log]
        assert [f["to"] for event, f in log if event == "move"] == [
            {"bob": "alice", "alice": "bob"}[worker.name]
        ] * moves
        assert [event for event, _ in log].count("get") == 2  # what is told of each round


def test_averaged_it_is_the_plain_average_to_the_last_place() -> None:
    _, data = placed()
    learning, update = averaging(), jax.jit(SGD)
    state = learning.init(START, data)
    for key in jax.random.split(jax.random.key(0), ROUNDS):
        before = state.params
        state, metrics = learning.round(key, state, data)
        ends = []
        for half in HALVES:
            own = {name: x[half] for name, x in DATA.items()}
            ends.append(update(before, own, jnp.asarray(2), key).delta)
        for name, found in state.params.items():
            plain = (ends[0][name] + ends[1][name]) / 2
            # each update is within half a unit in the last place, their halved sum within one
            np.testing.assert_allclose(found - before[name], plain, atol=2**-17)
    assert total(state.params) < 0.05
    assert metrics.took_part == 2 and not metrics.excluded


def test_nothing_but_the_average_is_ever_outside() -> None:
    """Every reply of bob and alice to anybody, and every request that they make, is looked at."""
    clients, data = placed()
    learning = averaging()
    told: list[Any] = []
    for worker in clients:
        asked = worker.servant.handle

        def handle(caller: str, request: Any, asked: Any = asked) -> Any:
            reply = asked(caller, request)
            told.extend(jax.tree.leaves(reply.get("leaves", [])))
            return reply

        worker.servant.handle = handle  # type: ignore[method-assign]
    sent = {worker.name: list[Any]() for worker in learning.aggregators}
    for worker in learning.aggregators:
        kept = worker.servant.handle  # type: ignore[attr-defined]

        def receive(caller: str, request: Any, kept: Any = kept, name: str = worker.name) -> Any:
            if caller in ("bob", "alice"):
                sent[name] += jax.tree.leaves(request.get("leaves", []))
            return kept(caller, request)

        worker.servant.handle = receive  # type: ignore[attr-defined]
    state = learning.init(START, data)
    state, _ = learning.round(jax.random.key(0), state, data)
    assert [x.shape for x in told] == [(3,), (3,)]  # weight, loss, whether it is finite
    for x in told:
        assert x[0] == 2 and x[2] == 1
    for rows in sent.values():  # each aggregator got two of three parts of both updates
        assert [x.shape for x in rows] == [(3,)] * 4
        assert {x.dtype for x in rows} == {np.dtype(np.uint64)}
    kinds = {"put", "plan", "run", "get", "share"}
    for worker in clients:
        assert {entry.event for entry in worker.log} - {"drop"} == kinds
        assert {e.fields["to"][0] for e in worker.log if e.event == "share"} == {"ann"}


def test_owners_permit_what_runs_and_what_leaves() -> None:
    """With policies that name the two plans, a round works; the update itself may not leave."""
    _, rehearsal = placed()
    learning = averaging()
    trains, tells = learning.plans(learning.init(START, rehearsal), rehearsal)["bob"]
    policy = Policy(
        run=[Rule(trains.hash), Rule(tells.hash)],
        get=[Rule(tells.hash, who=("me",))],
        share=[Rule(trains.hash, who=("ann", "ben", "cat"))],
    )
    clients = [jsmpc.Worker(name, policy=policy) for name in ("bob", "alice")]
    for worker, half in zip(clients, HALVES, strict=True):
        worker.offer({name: x[half] for name, x in DATA.items()}, tags=["#toy"])
    data = federated.FederatedDataset.found(clients, "#toy")
    state, metrics = learning.round(jax.random.key(0), learning.init(START, data), data)
    assert metrics.took_part == 2
    found = jsmpc.run(trains, state.params, None, None, np.zeros(2, np.uint32), data["bob"])
    with pytest.raises(jsmpc.JsmpcError, match="does not permit"):
        found.vector.get()
    with pytest.raises(jsmpc.JsmpcError, match="does not permit"):
        data["bob"].get()
