"""Shares at workers: each keeps its part alone, and takes its part of what runs on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import Processes

import jsmpc
from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.links import native
from jsmpc._src.workers.policy import Policy, Rule

NAMES = ("bob", "alice", "james", "server")
PROTOCOLS = {
    "replicated": jsmpc.Replicated3(parties=("bob", "alice", "james")),
    "additive": jsmpc.Additive(parties=("bob", "alice"), dealer="james"),
    "securenn": jsmpc.SecureNN(parties=("bob", "alice"), helper="james"),
}
X = np.array([1.5, -2.0, 0.25, 3.0], np.float32)
needs_native = pytest.mark.skipif(not native.available(), reason="without native links")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("shares"), list(NAMES), ["carol", "dave"]) as found:
        for name in NAMES:
            found.start(name)
        found.wait(*NAMES)
        yield found


@pytest.fixture(params=["here", pytest.param("processes", marks=needs_native)])
def four(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The workers by name: three who compute and one who owns something."""
    if request.param == "here":
        yield {name: jsmpc.Worker(name) for name in NAMES}
        return
    found = request.getfixturevalue("started").client("carol")
    for worker in found.values():
        worker.clear()
    yield dict(found)


def parties(workers: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(workers[name] for name in NAMES[:3])


def score(x: Any, n: Any) -> Any:
    return {
        "square": (x * x).sum(),
        "positive": x > 0,
        "count": jsmpc.reveal(n.sum()),
        "first": jsmpc.reveal(x[0] * 2, to="alice"),
    }


SCORE = jsmpc.secure(score)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_function_of_shares_runs_at_the_workers(four: dict[str, Any], protocol: str) -> None:
    smpc = PROTOCOLS[protocol]
    values = {"x": X, "n": np.array([1, 2], np.int32)}
    shares = jsmpc.share(jsmpc.random_key(), values, smpc, workers=parties(four))
    found = SCORE(jsmpc.random_key(), shares["x"], shares["n"])
    assert found["count"] == 3
    assert found["first"].location is four["alice"] and found["first"].get() == 3.0
    revealed = jsmpc.reveal({name: found[name] for name in ("square", "positive")})
    np.testing.assert_array_equal(revealed["positive"], X > 0)
    assert abs(revealed["square"] - (X * X).sum()) < 1e-4
    # What came out goes in again, and to one party.
    again = jsmpc.secure(lambda s: s * 2)(jsmpc.random_key(), found["square"])
    told = jsmpc.reveal(again, to="bob")
    assert told.location is four["bob"]
    assert abs(told.get() - 2 * (X * X).sum()) < 1e-4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_worker_has_its_own_rows_and_nothing_else(four: dict[str, Any], protocol: str) -> None:
    smpc = PROTOCOLS[protocol]
    shared = jsmpc.share(jsmpc.random_key(), X, smpc, workers=parties(four))
    held = {}
    for rank, name in enumerate(smpc.endpoints):
        objects = four[name].search()
        assert len(objects) == (rank < smpc.size)
        held.update({rank: objects[0].copy()} if objects else {})
    assert [len(rows) for rows in held.values()] == [len(smpc.holds(i)) for i in range(smpc.size)]
    rows = {row: x for i, own in held.items() for row, x in zip(smpc.holds(i), own, strict=True)}
    total = sum(np.asarray(x) for x in rows.values()).astype(np.int64)
    np.testing.assert_array_equal(total / 2**18, X)
    assert not four["server"].objects
    del shared, objects
    assert not any(four[name].objects for name in NAMES)


def test_an_owner_shares_what_lies_there_from_there(four: dict[str, Any]) -> None:
    smpc, server = PROTOCOLS["additive"], four["server"]
    tree = {"w": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.float32([1, -1])}
    there = server.send(tree, tags=["#model"])
    asked = Recorded(server)
    shared = jsmpc.share(jsmpc.random_key(), there, smpc, workers=parties(four))
    assert asked.events == ["split", "split"]  # and nothing that brings it here
    x = jsmpc.share(jsmpc.random_key(), np.ones((1, 3), np.float32), smpc, workers=parties(four))
    out = jsmpc.secure(lambda p, x: x @ p["w"] + p["b"])(jsmpc.random_key(), shared, x)
    np.testing.assert_allclose(jsmpc.reveal(out), [[7.0, 8.0]], atol=1e-4)
    np.testing.assert_array_equal(there["b"].copy(), tree["b"])  # it is there still


class Recorded:
    """What a worker is asked from now on."""

    def __init__(self, worker: Any) -> None:
        self.events: list[str] = []
        ask = worker.ask

        def recorded(request: dict[str, Any]) -> dict[str, Any]:
            self.events.append(request["do"])
            found: dict[str, Any] = ask(request)
            return found

        worker.ask = recorded


def test_training_keeps_everything_at_the_workers(four: dict[str, Any]) -> None:
    smpc = PROTOCOLS["replicated"]
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    y = np.array([[0], [0], [1], [1]], np.float32)

    def step(w: Any, x: Any, y: Any) -> Any:
        return w - 0.1 * jax.grad(lambda w: ((x @ w - y) ** 2).mean())(w)

    start = np.full((2, 1), 0.1, np.float32)
    w, sx, sy = jsmpc.share(jsmpc.random_key(), (start, x, y), smpc, workers=parties(four))
    plain, private = start, jsmpc.secure(step)
    for _ in range(3):
        w, plain = private(jsmpc.random_key(), w, sx, sy), step(plain, x, y)
    np.testing.assert_allclose(jsmpc.reveal(w), plain, atol=1e-4)


def test_the_results_are_those_of_the_simulation_with_the_same_key() -> None:
    smpc, workers = PROTOCOLS["replicated"], [jsmpc.Worker(name) for name in NAMES[:3]]
    key, half = jax.random.key(1), jsmpc.secure(lambda x: x / 3)
    here = half(key, jsmpc.share(jax.random.key(0), X, smpc))
    there = half(key, jsmpc.share(jax.random.key(0), X, smpc, workers=workers))
    np.testing.assert_array_equal(jsmpc.reveal(here), jsmpc.reveal(there))


def test_wrong_uses_are_refused(four: dict[str, Any]) -> None:
    smpc, key = PROTOCOLS["additive"], jsmpc.random_key()
    shared = jsmpc.share(key, X, smpc, workers=parties(four))
    with pytest.raises(jsmpc.PointerError, match=r"workers are bob, alice\. Give each its own"):
        jsmpc.share(key, X, smpc, workers=parties(four)[:2])
    with pytest.raises(jsmpc.PointerError, match="Give each its own"):
        jsmpc.share(key, X, smpc, workers=(four["bob"],) * 3)
    with pytest.raises(jsmpc.EncodingError, match="NaN"):
        jsmpc.share(key, np.float32("nan"), smpc, workers=parties(four))
    with pytest.raises(jsmpc.ProtocolError, match="cannot go through a JAX transformation"):
        jax.jit(lambda: jnp.sin(shared))()
    with pytest.raises(jsmpc.ProtocolError, match="two sessions, or of a session and a sim"):
        SCORE(key, shared, jsmpc.share(key, X, smpc))
    with pytest.raises(jsmpc.ProtocolError, match="these shares lie at the workers bob, alice"):
        jsmpc.secure(lambda x: x * x).offline(key, shared)
    with pytest.raises(jsmpc.ProtocolError, match="shares are stored, and material is numbered"):
        jsmpc.save(shared, "nowhere")
    with pytest.raises(jsmpc.ProtocolError, match="shares that lie at workers"):
        SCORE.plans(jsmpc.share(key, X, smpc), jsmpc.share(key, X, smpc))
    with pytest.raises(jsmpc.PointerError, match="a share goes to all of its parties"):
        four["bob"].send(jsmpc.share(key, X, smpc))
    if isinstance(four["bob"], jsmpc.Worker):
        return
    with pytest.raises(jsmpc.PointerError, match="cannot reach each other"):
        jsmpc.share(key, X, smpc, workers=(four["bob"], four["alice"], jsmpc.Worker("james")))


def restricted(hashes: dict[str, str]) -> dict[str, Any]:
    """Workers here whose owners permit one program, and its results to leave."""
    workers: dict[str, Any] = {
        name: jsmpc.Worker(name, policy=Policy(run=[Rule(h)], get=[Rule(h, who=("me",))]))
        for name, h in hashes.items()
    }
    share = [Rule(objects=("#model",), who=("bob", "alice"))]
    return {**workers, "server": jsmpc.Worker("server", Policy(run=[], get=[], share=share))}


def test_owners_permit_a_program_by_its_plans() -> None:
    smpc, key = PROTOCOLS["additive"], jsmpc.random_key()
    predict = jsmpc.secure(lambda w, x: x * w)
    free = {name: jsmpc.Worker(name) for name in NAMES}
    pair = jsmpc.share(key, (X, X), smpc, workers=parties(free))
    plans = predict.plans(*pair)
    assert list(plans) == ["bob", "alice", "james"] and plans == predict.plans(*pair)
    four = restricted({name: plan.hash for name, plan in plans.items()})
    with pytest.raises(PolicyError, match=r"get at server: .* raw, to leave to me"):
        four["server"].offer(X, tags=["#model"]).get()
    (model,) = four["server"].search("#model")
    w = jsmpc.share(key, model, smpc, workers=parties(four))
    x = jsmpc.share(key, 2 * X, smpc, workers=parties(four))
    np.testing.assert_allclose(jsmpc.reveal(predict(key, w, x)), 2 * X * X, atol=1e-4)
    np.testing.assert_array_equal(jsmpc.reveal(x), 2 * X)  # one's own
    with pytest.raises(PolicyError, match=r"raw, to leave to me: none of its 1"):
        jsmpc.reveal(w)
    with pytest.raises(PolicyError, match=r"does not permit the plan"):
        jsmpc.secure(lambda w, x: x + w)(key, w, x)
    other = jsmpc.Additive(parties=("bob", "james"), dealer="alice")
    with pytest.raises(PolicyError, match=r"to be shared among bob, james: none"):
        jsmpc.share(key, model, other, workers=(four["bob"], four["james"], four["alice"]))
    refused = [e for e in four["bob"].log if e.event == "refused"]
    assert len(refused) == 2


def test_a_policy_of_what_may_leave_alone_knows_results_by_their_plans() -> None:
    smpc, double = PROTOCOLS["additive"], jsmpc.secure(lambda x: x * x)
    free = [jsmpc.Worker(name) for name in NAMES[:3]]
    plans = double.plans(jsmpc.share(jsmpc.random_key(), X, smpc, workers=free))
    four = {n: jsmpc.Worker(n, Policy(get=[Rule(plan.hash)])) for n, plan in plans.items()}
    owner = jsmpc.Worker("server")
    x = jsmpc.share(jsmpc.random_key(), owner.offer(X), smpc, workers=tuple(four.values()))
    found = jsmpc.reveal(double(jsmpc.random_key(), x))
    np.testing.assert_allclose(found, X * X, atol=1e-4)
    with pytest.raises(PolicyError, match="raw, to leave to me"):
        jsmpc.reveal(x)


def test_masks_are_fresh_in_each_run_and_sharing(four: dict[str, Any]) -> None:
    smpc, there = PROTOCOLS["replicated"], four["server"].send(X)
    private = jsmpc.secure(lambda x: x * x)
    shared = [jsmpc.share(jsmpc.random_key(), there, smpc, workers=parties(four)) for _ in range(2)]
    runs = [private(jsmpc.random_key(), shared[0]) for _ in range(2)]
    for first, second in (shared, runs):
        for a, b in zip(first.parts, second.parts, strict=True):
            for x, y in zip(a.copy(), b.copy(), strict=True):
                assert (np.asarray(x) != np.asarray(y)).all()


def test_plans_are_the_same_in_this_process_and_in_others(started: Processes) -> None:
    smpc, hashes = PROTOCOLS["additive"], []
    for workers in ({name: jsmpc.Worker(name) for name in NAMES}, started.client("carol")):
        x = jsmpc.share(jsmpc.random_key(), X, smpc, workers=parties(workers))
        n = jsmpc.share(jsmpc.random_key(), np.int32([1]), smpc, workers=parties(workers))
        plans = SCORE.plans(x, n)
        hashes.append({name: plan.hash for name, plan in plans.items()})
        text = str(plans["alice"])
        assert "1 number to alice, at test_shares.py" in text and "jsmpc_exchange" in text
    assert hashes[0] == hashes[1] and len(set(hashes[0].values())) == 3


@needs_native
def test_a_worker_that_dies_ends_the_run_and_may_come_back(tmp_path: Path) -> None:
    smpc, key = PROTOCOLS["additive"], jsmpc.random_key()
    with Processes(tmp_path, ["bob", "alice", "james"], ["carol"]) as found:
        for name in NAMES[:3]:
            found.start(name)
        found.wait(*NAMES[:3])
        workers = found.client("carol")

        def long(x: Any) -> Any:  # some ten seconds of rounds
            return jax.lax.fori_loop(0, 100_000, lambda i, x: x * 0.5 + x, x)

        shared = jsmpc.share(key, X, smpc, workers=parties(workers))
        errors: list[BaseException] = []

        def run() -> None:
            try:
                jsmpc.secure(long)(key, shared)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while "run" not in [event for event, _ in found.log("alice")]:
            time.sleep(0.05)
        time.sleep(0.5)
        found.running["alice"].kill()
        start = time.monotonic()
        thread.join(20)
        assert time.monotonic() - start < 5
        assert isinstance(errors[0], jsmpc.LinkError) and "alice" in str(errors[0])
        found.running.pop("alice").communicate()
        found.start("alice")
        found.wait("alice")
        with pytest.raises(jsmpc.PointerError, match="alice: it has no object"):
            jsmpc.secure(lambda x: x * x)(key, shared)
        again = jsmpc.share(key, X, smpc, workers=parties(workers))
        squares = jsmpc.reveal(jsmpc.secure(lambda x: x * x)(key, again))
        np.testing.assert_allclose(squares, X * X, atol=1e-4)
