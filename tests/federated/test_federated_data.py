"""Data sets at workers: sent or found, and cut into batches where they lie."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import jsmpc
from jsmpc import federated

KEY = jax.random.key(1)
X = np.arange(22, dtype=np.float32).reshape(11, 2)
Y = np.arange(11, dtype=np.int32)
DATA = {"x": X, "y": Y}


def workers(*names: str) -> list[jsmpc.Worker]:
    return [jsmpc.Worker(name) for name in names or ("bob", "alice", "james")]


def test_each_worker_has_its_part_and_the_rest_is_pointers() -> None:
    places = workers()
    parts = federated.sized(KEY, 11, [5, 4, 2])
    data = federated.federate(DATA, places, parts, tags=["#toy"], description="eleven pairs")
    assert data.counts == (5, 4, 2) and len(data) == 11
    assert repr(data) == "FederatedDataset(5 at bob, 4 at alice, 2 at james)"
    for worker, part in zip(places, parts, strict=True):
        (found,) = worker.search("#toy", "eleven")
        assert isinstance(data[worker.name], jsmpc.Pointer)
        for name, x in found.copy().items():
            np.testing.assert_array_equal(x, DATA[name][part])


def test_equal_parts_by_default() -> None:
    data = federated.federate(DATA, workers())
    expected = federated.equal(jax.random.key(0), 11, 3)
    for name, part in zip(("bob", "alice", "james"), expected, strict=True):
        np.testing.assert_array_equal(data[name].copy()["y"], Y[part])


def epoch(loader: Any) -> list[tuple[dict[str, list[int]], str]]:
    """The labels of each batch and where it is, as its pointers and its loader say."""
    found = []
    for batch, location in loader:
        assert {x.location for x in batch.values()} == {location}
        x, y = jsmpc.get(batch["x"]), jsmpc.get(batch["y"])
        np.testing.assert_array_equal(x, X[np.asarray(y)])
        found.append((y.tolist(), location.name))
    return found


def test_batches_from_one_worker_at_a_time() -> None:
    data = federated.federate(DATA, workers())
    first = epoch(federated.batches(KEY, data, 3))
    assert [name for _, name in first] == ["bob"] * 2 + ["alice"] * 2 + ["james"]
    assert [len(y) for y, _ in first] == [3, 1, 3, 1, 3]
    assert sorted(i for y, _ in first for i in y) == list(range(11))
    assert epoch(federated.batches(KEY, data, 3)) == first
    assert epoch(federated.batches(jax.random.key(2), data, 3)) != first


def test_batches_from_each_worker_are_the_same_side_by_side() -> None:
    data = federated.federate(DATA, workers(), federated.sized(KEY, 11, [6, 4, 1]))
    one_by_one = epoch(federated.batches(KEY, data, 2))
    together, names = [], []
    for batch in federated.batches_of_each(KEY, data, 2):
        names.append(list(batch))
        together += epoch((own, own["x"].location) for own in batch.values())
    assert names == [["bob", "alice", "james"], ["bob", "alice"], ["bob"]]
    assert sorted(together) == sorted(one_by_one)


def test_batches_are_cut_where_they_are() -> None:
    (bob,) = workers("bob")
    data = federated.federate(DATA, [bob])
    list(federated.batches(KEY, data, 4))
    assert {entry.event for entry in bob.log} <= {"put", "plan", "run", "drop"}  # nothing was got


def test_batches_are_not_cut_before_they_are_asked_for() -> None:
    (bob,) = workers("bob")
    loader = federated.batches(KEY, federated.federate(DATA, [bob]), 4)
    before = len(bob.log)
    next(loader)
    assert [e.event for e in bob.log[before:]].count("run") == 1


def test_data_are_found_by_their_tags() -> None:
    bob, alice, james = workers()
    bob.offer(X[:4], tags=["#toy", "#data"])
    bob.offer(Y[:4], tags=["#toy", "#target"])
    alice.offer(X[4:], tags=["#toy", "#data"])
    alice.offer(Y[4:], tags=["#toy", "#target"])
    james.offer(X, tags=["#other", "#data"])
    tags = {"x": ["#toy", "#data"], "y": ["#toy", "#target"]}
    data = federated.FederatedDataset.found([bob, alice, james], tags)
    assert repr(data) == "FederatedDataset(4 at bob, 7 at alice)"
    np.testing.assert_array_equal(jsmpc.get(data["alice"])["y"], Y[4:])
    whole = federated.FederatedDataset.found([bob, alice, james], "#other")
    assert whole.counts == (11,) and whole.workers == (james,)
    some = data.at(["alice"])
    assert some.workers == (alice,) and some["alice"] == data["alice"]


def test_what_is_no_data_set() -> None:
    bob, alice, _ = workers()
    twice = [bob, bob]
    for make, why in (
        (lambda: federated.federate(DATA, twice), "bob has two parts"),
        (lambda: federated.federate({"x": X, "y": Y[1:]}, [bob]), r"different lengths: \[10, 11\]"),
        (lambda: federated.federate(DATA, [bob], [Y, Y]), "2 parts for 1 workers"),
        (lambda: federated.federate(DATA, [bob, alice], [Y, Y[:0]]), "alice gets no examples"),
        (lambda: federated.FederatedDataset((), ()), "not 0 for 0 workers"),
        (lambda: federated.federate(Y, [alice])["bob"], "bob has no part of FederatedDataset"),
        (lambda: federated.FederatedDataset.found([bob, alice], "#x"), "none of bob, alice has"),
        (lambda: federated.batches(KEY, federated.federate(Y, [bob]), 0), "1 or more examples"),
    ):
        with pytest.raises(jsmpc.FederatedError, match=why):
            make()
    assert not bob.objects  # nothing was half sent


def test_parts_that_do_not_belong_together() -> None:
    bob, alice, _ = workers()
    bob.offer(X, tags=["#x"]), bob.offer(X, tags=["#x"]), alice.offer(X, tags=["#x"])
    kept = [bob.send({"x": X}), alice.send(X), alice.send({"x": X, "y": Y[:3]}), bob.send(1.0)]
    for make, why in (
        (lambda: federated.FederatedDataset.found([bob], "#x"), "bob has 2 objects with #x"),
        (
            lambda: federated.FederatedDataset.found([alice], {"x": "#x", "y": "#y"}),
            "alice has nothing for y",
        ),
        (lambda: federated.FederatedDataset((bob, alice), kept[:2]), "the same containers"),
        (lambda: federated.FederatedDataset((alice,), kept[2:3]), "one and the same number"),
        (lambda: federated.FederatedDataset((bob,), kept[3:]), "one and the same number"),
    ):
        with pytest.raises(jsmpc.FederatedError, match=why):
            make()
