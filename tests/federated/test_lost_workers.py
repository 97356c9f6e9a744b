"""Workers that cannot take part in a round: left out with the reason, or too few are left."""

from __future__ import annotations

import logging
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.workers.policy import Policy

SMPC = jsmpc.Additive(parties=("ann", "ben"), dealer="cat")
AGGREGATORS = [jsmpc.Worker(name) for name in SMPC.endpoints]
START = jnp.zeros(3)


def moves(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
    """A client's update is the mean of its rows."""
    return federated.Update(data.mean(axis=0), count, data.mean())


class Troubled(jsmpc.Worker):
    """A worker that cannot be reached for some request, or does not answer until it may."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.what, self.waits, asked = "", False, self.servant.handle
        self.may = threading.Event()

        def handle(caller: str, request: dict[str, Any]) -> dict[str, Any]:
            if request["do"] == self.what:
                if not self.waits:
                    raise jsmpc.LinkError(f"{name}: nobody answers")
                self.may.wait(60)
            return asked(caller, request)

        self.servant.handle = handle  # type: ignore[method-assign]


def dataset(*workers: Any, rows: Any = None) -> federated.FederatedDataset:
    """Worker i has two rows of i + 1, but where `rows` says otherwise."""
    values = [np.full((2, 3), i + 1.0, np.float32) for i in range(len(workers))]
    for i, value in (rows or {}).items():
        values[i] = value
    parts = [worker.offer(x, tags=["#x"]) for worker, x in zip(workers, values, strict=True)]
    return federated.FederatedDataset(workers, tuple(parts))


def learning(**changes: Any) -> federated.WorkersFederation:
    usual = {"server": optax.sgd(1.0), "protocol": SMPC, "aggregators": AGGREGATORS}
    return federated.WorkersFederation(**{"client_update": moves, **usual, **changes})


def excluded(one: Any, data: Any, state: Any = None) -> tuple[Any, dict[int, str]]:
    state, metrics = one.round(jax.random.key(0), one.init(START, data), data)
    return state.params.round(4).tolist(), metrics.excluded


@pytest.fixture
def bob() -> jsmpc.Worker:
    return jsmpc.Worker("bob")


@pytest.fixture
def alice() -> jsmpc.Worker:
    return jsmpc.Worker("alice")


@pytest.mark.parametrize("what", ["run", "get", "split"])
def test_one_that_is_lost(bob: Any, alice: Any, what: str, caplog: Any) -> None:
    """Before it learns, before it tells of it, or before it shares."""
    james = Troubled("james")
    data = dataset(bob, alice, james)
    james.what = what
    with caplog.at_level(logging.INFO, "jsmpc"):
        assert excluded(learning(), data) == ([1.5] * 3, {2: "unreachable"})
    assert "james: james: nobody answers" in caplog.text
    james.what = ""
    assert excluded(learning(), data) == ([2.0] * 3, {})  # the round again, with all of them


@pytest.mark.parametrize("what", ["run", "split"])
def test_one_that_is_late_does_not_hold_up_the_others(bob: Any, alice: Any, what: str) -> None:
    james = Troubled("james")
    data = dataset(bob, alice, james)
    excluded(learning(), data)  # compiles
    james.what, james.waits = what, True
    assert excluded(learning(deadline=3.0), data) == ([1.5] * 3, {2: "late"})
    assert not james.may.is_set()
    james.may.set()


def test_one_with_nan_and_one_with_infinity(bob: Any, alice: Any) -> None:
    others = jsmpc.Worker("james"), jsmpc.Worker("kate")
    rows = {2: np.full((2, 3), np.nan, np.float32), 3: np.float32([[1, 2, np.inf]])}
    data = dataset(bob, alice, *others, rows=rows)
    assert excluded(learning(), data) == ([1.5] * 3, {2: "not_finite", 3: "not_finite"})
    for worker in others:
        assert "share" not in [entry.event for entry in worker.log]


def test_one_of_another_shape(bob: Any, alice: Any) -> None:
    data = dataset(bob, alice, jsmpc.Worker("james"), rows={2: np.ones((2, 5), np.float32)})
    assert excluded(learning(), data) == ([1.5] * 3, {2: "shape"})


class Lying(jsmpc.Worker):
    """A worker that does not give what the plan says."""

    def run(self, plan: Any, leaves: Any) -> list[Any]:
        found = super().run(plan, leaves)
        return [self.send(np.ones(5)), *found[1:]] if plan.name == "train" else found


def test_one_that_gives_something_else_than_its_plan(bob: Any, alice: Any) -> None:
    data = dataset(bob, alice, Lying("james"))
    assert excluded(learning(), data) == ([1.5] * 3, {2: "shape"})


def test_one_on_whose_data_it_cannot_be_computed(bob: Any, alice: Any) -> None:
    def linear(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
        return federated.Update(params + data[0] * (data @ params + 1).mean(), count, 0.0)

    data = dataset(bob, alice, jsmpc.Worker("james"), rows={2: np.ones((2, 5), np.float32)})
    assert excluded(learning(client_update=linear), data) == ([1.5] * 3, {2: "failed"})


def test_one_that_does_not_permit_it(bob: Any, alice: Any) -> None:
    data = dataset(bob, alice, jsmpc.Worker("james", policy=Policy(run=[])))
    assert excluded(learning(), data) == ([1.5] * 3, {2: "refused"})


def test_robust_aggregates_run_at_the_aggregators(bob: Any, alice: Any) -> None:
    data = dataset(bob, alice, jsmpc.Worker("james"), rows={2: np.full((1, 3), 1e4, np.float32)})
    assert excluded(learning(aggregate=federated.median), data) == ([2.0] * 3, {})


def test_an_update_that_shares_cannot_hold(bob: Any, alice: Any) -> None:
    data = dataset(bob, alice, jsmpc.Worker("james"), rows={2: np.full((1, 3), 1e20, np.float32)})
    assert excluded(learning(), data) == ([1.5] * 3, {2: "failed"})


def test_a_worker_twice_is_an_error(bob: Any, alice: Any) -> None:
    with pytest.raises(jsmpc.FederatedError, match="bob has two parts"):
        dataset(bob, alice, bob)


def test_too_few_are_an_error_and_nothing_is_revealed(bob: Any) -> None:
    james = Troubled("james")
    data = dataset(bob, james)
    james.what = "run"
    one = learning()
    state = one.init(START, data)
    before = [len(worker.log) for worker in AGGREGATORS]
    why = r"1 of 2 updates are left \(1 unreachable\), fewer than at_least=2: nothing was aggre"
    with pytest.raises(jsmpc.FederatedError, match=why) as raised:
        one.round(jax.random.key(0), state, data)
    assert "james: james: nobody answers" in str(raised.value)
    after = [e.event for w, n in zip(AGGREGATORS, before, strict=True) for e in w.log[n:]]
    assert "run" not in after and "get" not in after
    james.what = ""
    found, metrics = one.round(jax.random.key(0), state, data)
    assert metrics.took_part == 2 and found.params.round(4).tolist() == [1.5] * 3


def test_rounds_have_some_workers(bob: Any, alice: Any) -> None:
    with pytest.raises(jsmpc.FederatedError, match="3 of 2 workers cannot take part"):
        excluded(learning(per_round=3), dataset(bob, alice))


def test_in_turn_the_model_goes_on_without_those_who_are_lost(bob: Any, alice: Any) -> None:
    james, kate = Troubled("james"), jsmpc.Worker("kate")
    data = dataset(bob, james, alice, kate, rows={3: np.full((1, 3), np.nan, np.float32)})
    james.what = "run"
    one = federated.WorkersSequential(moves)
    state, metrics = one.round(jax.random.key(0), one.init(START, data), data)
    assert metrics.excluded == {1: "unreachable", 3: "not_finite"}
    assert state.params.location is alice
    assert state.params.copy().tolist() == [4.0] * 3  # 1 of bob's and 3 of alice's
    james.what = "put"  # so that the model does not come there at all
    again, _ = one.round(jax.random.key(0), state, data)
    assert again.params.copy().tolist() == [8.0] * 3
    assert state.params.copy().tolist() == [4.0] * 3  # a round can be repeated


def test_in_turn_somebody_must_take_part() -> None:
    james = Troubled("james")
    data = dataset(james)
    james.what = "run"
    one = federated.WorkersSequential(moves)
    with pytest.raises(jsmpc.FederatedError, match="0 of 1 updates are left"):
        one.round(jax.random.key(0), one.init(START, data), data)
    work = federated.scaffold(lambda p, x: x, 0.1, steps=1, batch=1)
    with pytest.raises(jsmpc.FederatedError, match="no server that keeps what is common"):
        federated.WorkersSequential(work).init(START, data)


def test_states_and_control_variates_stay_at_workers_as_in_a_simulation() -> None:
    x = np.random.default_rng(3).normal(size=(12, 3)).astype(np.float32)
    parts = [np.arange(6), np.arange(6, 10), np.arange(10, 12)]
    workers = [jsmpc.Worker(name) for name in ("bob", "alice", "james")]
    data, clients = federated.federate(x, workers, parts), federated.Clients.of(x, parts)

    def loss(w: Any, batch: Any) -> Any:
        return ((batch - w) ** 2).sum(axis=-1)

    for work in (
        federated.scaffold(loss, 0.1, steps=2, batch=2),
        federated.local_epochs(loss, optax.adam(0.1), epochs=2, batch=4, keeps_state=True),
    ):
        there = learning(client_update=work, per_round=2)
        here = federated.Federation(work, optax.sgd(1.0), 2, chunk=2)
        ends = [
            federated.run(way, jax.random.key(0), way.init(START, place), place, 4)
            for way, place in ((there, data), (here, clients))
        ]
        (found, metrics), (expected, plain) = ends
        np.testing.assert_array_equal(metrics.clients, plain.clients)
        np.testing.assert_allclose(metrics.loss, plain.loss, rtol=1e-4)
        np.testing.assert_allclose(found.params, expected.params, atol=4 * 4 * 2**-18)
        for number, worker in enumerate(workers):
            own = jsmpc.get(found.clients[worker.name])
            for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(expected.clients), strict=True):
                np.testing.assert_allclose(a, b[number], atol=1e-3)


def test_a_lost_aggregator_ends_the_round_which_can_be_repeated(bob: Any, alice: Any) -> None:
    places: list[Any] = [Troubled(name) for name in SMPC.endpoints]
    data, one = dataset(bob, alice), learning(aggregators=places)
    state = one.init(START, data)
    places[1].what = "put"
    with pytest.raises(jsmpc.FederatedError, match=r"\(2 unreachable\)"):
        one.round(jax.random.key(0), state, data)
    places[1].what = ""
    found, _ = one.round(jax.random.key(0), state, data)
    assert found.params.round(4).tolist() == [1.5] * 3
