"""A committee's running sum: exact, of no fewer than is said, of no more than fit."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated

LIKE = {"w": jax.ShapeDtypeStruct((3, 2), np.float32), "b": jax.ShapeDtypeStruct((), np.float32)}
RNG = np.random.default_rng(3)
UPDATES = [
    {"w": RNG.uniform(-1, 1, (3, 2)).astype(np.float32), "b": np.float32(RNG.uniform(-1, 1))}
    for _ in range(5)
]
WEIGHTS = [1, 7, 100, 3, 42]
RULE = federated.Quantization(clip=1.0, most_weight=100)


def committee(**changes: Any) -> federated.Committee:
    given: dict[str, Any] = {
        "protocol": jsmpc.Replicated3(bits=32),
        "quantization": RULE,
        "clients": 5,
        "like": LIKE,
        **changes,
    }
    return federated.Committee(**given)


def total_of(members: federated.Committee, numbers: range = range(5)) -> federated.Total:
    total = federated.Total()
    for i in numbers:
        sent = members.share(jsmpc.random_key(), UPDATES[i], WEIGHTS[i])
        total = members.add(total, sent)
    return total


def weighted(name: str, numbers: range = range(5)) -> Any:
    whole = sum(WEIGHTS[i] for i in numbers)
    return sum(WEIGHTS[i] / whole * np.float64(UPDATES[i][name]) for i in numbers)


@pytest.mark.parametrize(
    "protocol",
    [jsmpc.Replicated3(bits=32), jsmpc.Additive(2, bits=32), jsmpc.Additive(4, bits=64)],
    ids=["replicated", "additive", "additive-64"],
)
@pytest.mark.parametrize("rows", [range(5), range(1, 4)], ids=["all", "some"])
def test_the_mean_is_the_plain_one(protocol: jsmpc.Protocol, rows: range) -> None:
    members = committee(protocol=protocol)
    mean, weight = members.open(total_of(members, rows))
    assert weight == sum(WEIGHTS[i] for i in rows)
    for name in LIKE:
        np.testing.assert_allclose(mean[name], weighted(name, rows), atol=RULE.error + 2**-24)


def test_extremes_do_not_wrap() -> None:
    members = committee(clients=600)  # 600·100·(2^15 - 1) is just below 2^31
    total = federated.Total()
    sent = [
        members.share(jax.random.key(i), {"w": np.full((3, 2), s), "b": s}, 100)
        for i, s in enumerate(np.float32([1.0, -1.0]))
    ]
    for _ in range(600):
        total = members.add(total, sent[0])
    mean, weight = members.open(total)
    assert (mean["w"] == 1.0).all() and weight == 60_000
    with pytest.raises(jsmpc.FederatedError, match="more than 600 clients may wrap"):
        members.add(total, sent[1])
    with pytest.raises(
        jsmpc.FederatedError, match="need a ring of 64 bits, and Replicated3 has 32"
    ):
        committee(clients=700)


def test_at_workers() -> None:
    names = ("ann", "ben", "cat")
    workers = [jsmpc.Worker(name) for name in names]
    members = committee(protocol=jsmpc.Replicated3(parties=names, bits=32), workers=workers)
    mean, _ = members.open(total_of(members))
    np.testing.assert_allclose(mean["w"], weighted("w"), atol=RULE.error + 2**-24)


def test_what_is_refused() -> None:
    members = committee(at_least=3)
    with pytest.raises(jsmpc.FederatedError, match="2 clients have sent their updates, and 3 are"):
        members.open(total_of(members, range(2)))
    with pytest.raises(jsmpc.FederatedError, match="0 clients have sent"):
        members.open(federated.Total())
    broken = {**UPDATES[0], "b": np.float32(np.nan)}
    for update, weight, why in (
        (broken, 1, "NaN or infinity"),
        (UPDATES[0], 101, "from 1 to 100"),
        ({"w": UPDATES[0]["w"]}, 1, "not those of the set-up"),
        ({**UPDATES[0], "b": np.float32(1.5)}, 1, "1 of 7 coordinates are beyond the clip"),
    ):
        with pytest.raises(federated.UpdateError, match=why):
            members.share(jsmpc.random_key(), update, weight)
    other = committee(like=jax.ShapeDtypeStruct((2,), np.float32))
    sent = other.share(jsmpc.random_key(), np.zeros(2, np.float32), 1)
    with pytest.raises(jsmpc.FederatedError, match="shares of 8 words are summed"):
        members.add(federated.Total(), sent)
    with pytest.raises(jsmpc.FederatedError, match="Take 2 or more"):
        committee(at_least=1)


def test_rounds_in_bounded_memory_are_those_of_the_mean() -> None:
    """A chunk of clients after the other, each with what it keeps."""
    x = RNG.normal(size=(24, 2)).astype(np.float32)
    data = {"x": x, "y": x @ np.float32([1.0, -2.0])}
    clients = federated.Clients.of(data, federated.equal(jax.random.key(0), 24, 6))

    def loss(w: Any, batch: Any) -> Any:
        return (batch["x"] @ w - batch["y"]) ** 2

    work = federated.local_steps(loss, optax.adam(0.1), steps=3, batch=2, keeps_state=True)
    like = jax.ShapeDtypeStruct((2,), np.float32)
    by = federated.by_committee(committee(clients=6, like=like))
    states = []
    for aggregate in (federated.mean, by):
        learning = federated.Federation(work, optax.sgd(1.0), 6, aggregate, chunk=2)
        state = learning.init(jnp.zeros(2), clients)
        for key in jax.random.split(jax.random.key(1), 3):
            state, metrics = learning.round(key, state, clients)
        assert metrics.took_part == 6
        states.append(state)
    np.testing.assert_allclose(states[0].params, states[1].params, atol=3e-4)
    found = jax.tree.map(lambda a, b: np.abs(a - b).max(), states[0].clients, states[1].clients)
    assert max(jax.tree.leaves(found)) < 1e-2
