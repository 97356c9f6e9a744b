"""What clients keep from round to round: optimizers' states and control variates, each its own."""

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

RNG = np.random.default_rng(2)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = X @ np.float32([1.0, -2.0, 0.5])
PARTS = federated.sized(jax.random.key(0), 40, [20, 10, 6, 4])
CLIENTS = federated.Clients.of({"x": X, "y": Y}, PARTS)
ADAM = optax.adam(0.1)


def loss(w: Any, batch: Any) -> Any:
    return (batch["x"] @ w - batch["y"]) ** 2


def own(number: int) -> dict[str, Any]:
    """A client's examples, without padding."""
    return {"x": X[PARTS[number]], "y": Y[PARTS[number]]}


def test_each_clients_optimizer_goes_on_where_it_was() -> None:
    work = federated.local_epochs(loss, ADAM, epochs=1, batch=4, keeps_state=True)
    learning = federated.Federation(work, optax.sgd(1.0), per_round=2, chunk=2)
    assert isinstance(work, federated.Stateful)
    state = learning.init(jnp.zeros(3), CLIENTS)
    states = [ADAM.init(jnp.zeros(3)) for _ in range(4)]
    for key in jax.random.split(jax.random.key(1), 4):
        who, keys = jax.random.split(key)
        deltas, weights = [], []
        numbers = [int(i) for i in chosen(who, 4, 2)]
        for number, one in zip(numbers, jax.random.split(keys, 2), strict=True):
            count = jnp.asarray(len(PARTS[number]))
            found = work.update(state.params, own(number), count, one, states[number], None)
            states[number] = found.own
            deltas.append(found.delta)
            weights.append(len(PARTS[number]))
        expected = state.params + np.average(deltas, axis=0, weights=weights)
        state, _ = learning.round(key, state, CLIENTS)
        np.testing.assert_allclose(state.params, expected, atol=1e-6)
        for number in range(4):
            kept = jax.tree.map(lambda x, i=number: x[i], state.clients)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), kept, states[number]
            )
    assert len({int(s[0].count) for s in states}) > 1  # some were drawn more often than others


def test_who_takes_part_must_be_known_where_something_is_kept() -> None:
    work = federated.local_steps(loss, ADAM, steps=1, batch=2, keeps_state=True)
    with pytest.raises(jsmpc.FederatedError, match=r"Say who they are: init\(params, clients\)"):
        federated.Federation(work, optax.sgd(1.0), per_round=2).init(jnp.zeros(3))


def test_an_epoch_has_every_example_once() -> None:
    """With a loss that is linear in the parameters the steps add up, whatever their order."""
    rate, count = 0.1, jnp.asarray(7)
    data = jnp.asarray([*range(1, 8), 1000.0, 1000.0])  # seven examples, and padding
    work = federated.local_epochs(lambda w, x: w * x, optax.sgd(rate), epochs=2, batch=1)
    found = work(jnp.zeros(()), data, count, jax.random.key(3))  # type: ignore[operator]
    np.testing.assert_allclose(found.delta, -rate * 2 * 28, rtol=1e-6)
    assert found.weight == 7


def test_epochs_do_not_depend_on_padding() -> None:
    work: Any = federated.local_epochs(loss, optax.adam(0.1), epochs=2, batch=4)
    params, key, count = jnp.zeros(3), jax.random.key(4), jnp.asarray(6)
    padded = {name: np.concatenate([x, 1e6 * np.ones_like(x)]) for name, x in own(2).items()}
    expected, found = (work(params, data, count, key) for data in (own(2), padded))
    for a, b in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def scaffold_in_numpy(keys: Any, rounds: int, steps: int, rate: float) -> Any:
    """Algorithm 1 of the paper, option II, line by line: x, c and all c_i after the rounds."""
    x, c, c_i = np.zeros(3), np.zeros(3), np.zeros((4, 3))
    for key in keys[:rounds]:
        who, work = jax.random.split(key)
        sampled = [int(i) for i in chosen(who, 4, 2)]
        dx, dc = [], []
        for i, client_key in zip(sampled, jax.random.split(work, 2), strict=True):
            y, data = x.copy(), own(i)
            for step in jax.random.split(client_key, steps):
                rows = np.asarray(jax.random.randint(step, (3,), 0, len(PARTS[i])))
                a, b = data["x"][rows].astype(float), data["y"][rows].astype(float)
                g = 2 * a.T @ (a @ y - b) / 3
                y = y - rate * (g - c_i[i] + c)
            plus = c_i[i] - c + (x - y) / (steps * rate)
            dx.append(y - x)
            dc.append(plus - c_i[i])
            c_i[i] = plus
        x = x + np.mean(dx, axis=0)
        c = c + 2 / 4 * np.mean(dc, axis=0)
    return x, c, c_i


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "secure"])
def test_scaffold_is_that_of_the_paper(secure: bool) -> None:
    steps, rate, rounds = 3, 0.05, 6
    work = federated.scaffold(loss, rate, steps=steps, batch=3)
    aggregate: Any = federated.mean
    if secure:
        aggregate = federated.securely(aggregate, jsmpc.Additive())
    learning = federated.Federation(work, optax.sgd(1.0), 2, aggregate, chunk=2)
    keys = jax.random.split(jax.random.key(5), rounds)
    state = learning.init(jnp.zeros(3), CLIENTS)
    for key in keys:
        state, _ = learning.round(key, state, CLIENTS)
    x, c, c_i = scaffold_in_numpy(keys, rounds, steps, rate)
    close = {"atol": 1e-4 if secure else 2e-5}
    np.testing.assert_allclose(state.params, x, **close)
    np.testing.assert_allclose(state.common, c, **close)
    np.testing.assert_allclose(state.clients, c_i, **close)
    assert np.abs(c).max() > 0.1  # so that the comparison says something


def test_scaffold_corrects_what_different_data_do() -> None:
    """Where the optima of clients lie apart, averages of many local steps stop short."""
    a = np.float32([1.0, 10.0])
    data = {"a": a, "b": np.float32([1.0, -1.0])}
    clients = federated.Clients.of(data, [np.array([0]), np.array([1])])
    best = float((a * data["b"]).sum() / a.sum())

    def bowl(w: Any, batch: Any) -> Any:
        return batch["a"] * (w - batch["b"]) ** 2 / 2

    ends = []
    for work in (
        federated.local_steps(bowl, optax.sgd(0.05), steps=10, batch=1),
        federated.scaffold(bowl, 0.05, steps=10, batch=1),
    ):
        learning = federated.Federation(work, optax.sgd(1.0), 2, chunk=2)
        state = learning.init(jnp.zeros(()), clients)
        state, _ = federated.run(learning, jax.random.key(6), state, clients, rounds=60)
        ends.append(abs(float(state.params) - best))
    assert ends[1] < 1e-3 and ends[0] > 0.1
