"""How examples fall to clients: nothing twice, nothing lost, the same for the same key."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import jsmpc
from jsmpc import federated

KEY = jax.random.key(3)
LABELS = np.random.default_rng(0).integers(0, 10, 1000)
SPLITS: dict[str, Any] = {
    "equal": lambda key: federated.equal(key, 1000, 7),
    "sized": lambda key: federated.sized(key, 1000, [500, 300, 0, 200]),
    "dirichlet": lambda key: federated.dirichlet(key, LABELS, 30, 0.1),
    "shards": lambda key: federated.shards(key, LABELS, 10, 2),
}


@pytest.mark.parametrize("split", SPLITS)
def test_each_example_is_one_clients(split: str) -> None:
    parts = SPLITS[split](KEY)
    assert sorted(np.concatenate(parts)) == list(range(1000))
    again, other = SPLITS[split](KEY), SPLITS[split](jax.random.key(4))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(parts, other, strict=True))


def test_sizes() -> None:
    assert [len(part) for part in federated.equal(KEY, 10, 4)] == [3, 3, 2, 2]
    assert [len(part) for part in federated.sized(KEY, 10, [1, 0, 4])] == [1, 0, 4]


def test_labels_are_the_more_unequal_the_smaller_alpha_is() -> None:
    def most(alpha: float) -> float:
        """The mean share of a client's most frequent label."""
        parts = federated.dirichlet(KEY, LABELS, 20, alpha)
        return float(np.mean([np.bincount(LABELS[p]).max() / len(p) for p in parts]))

    assert most(0.05) > 0.7 > most(1.0) > most(1000.0) and most(1000.0) < 0.25
    assert min(map(len, federated.dirichlet(KEY, LABELS, 400, 0.02))) == 1


def test_shards_hold_few_labels() -> None:
    parts = federated.shards(KEY, LABELS, 10, 2)
    assert max(len(np.unique(LABELS[part])) for part in parts) <= 5


def test_what_cannot_be_split() -> None:
    for split, why in (
        (lambda: federated.equal(KEY, 2, 3), "2 examples cannot be split among 3 clients"),
        (lambda: federated.sized(KEY, 5, [3, 3]), "the parts have 6 examples, and there are 5"),
        (lambda: federated.sized(KEY, 5, [3, -1]), "sizes of parts are 0 or more"),
        (lambda: federated.dirichlet(KEY, LABELS, 5, 0.0), "is positive, not 0"),
        (lambda: federated.dirichlet(KEY, LABELS / 2, 5, 1.0), "a vector of integers, not float"),
        (lambda: federated.shards(KEY, LABELS, 600, 2), "cannot be cut into 1200 pieces"),
    ):
        with pytest.raises(jsmpc.FederatedError, match=why):
            split()
