"""Updates that cannot take part in a round: left out, counted, or an error if too few are left."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated

VALUES = np.float32([1.0, 2.0, 4.0, 7.0])
PARTS = [np.array([i]) for i in range(4)]
CLIENTS = federated.Clients.of(VALUES, PARTS)
BAD = federated.Clients.of(np.float32([1.0, np.nan, 4.0, np.inf]), PARTS)


def moves(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
    """A client's update is what it has."""
    return federated.Update(data[0] * jnp.ones(2), count, data[0])


def learning(**changes: Any) -> federated.Federation:
    return federated.Federation(moves, optax.sgd(1.0), **{"per_round": 4, "chunk": 2, **changes})


SECURE = federated.securely(federated.mean, jsmpc.Additive())


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "secure"])
def test_what_is_not_finite_is_left_out_and_counted(secure: bool) -> None:
    one = learning(aggregate=SECURE) if secure else learning()
    state, metrics = one.round(jax.random.key(0), one.init(jnp.zeros(2)), BAD)
    np.testing.assert_allclose(state.params, 2.5, atol=1e-5)
    assert metrics.took_part == 2 and metrics.excluded == {1: "not_finite", 3: "not_finite"}
    assert metrics.loss == 2.5 and sorted(metrics.clients.tolist()) == [0, 1, 2, 3]


def test_it_does_not_count_where_aggregates_do_not_go_by_weights() -> None:
    one = learning(aggregate=federated.median)
    state, _ = one.round(jax.random.key(0), one.init(jnp.zeros(2)), BAD)
    assert state.params.tolist() == [2.5, 2.5]  # of 1 and 4, and of no zeros


def test_a_client_that_is_left_out_keeps_what_it_had() -> None:
    def keeping(p: Any, data: Any, count: Any, key: Any, own: Any, common: Any) -> Any:
        return moves(p, data, count, key)._replace(own=own + 1)

    work = federated.Stateful(keeping, lambda params: jnp.zeros(()))
    one = federated.Federation(work, optax.sgd(1.0), 4, chunk=4)
    state, _ = one.round(jax.random.key(0), one.init(jnp.zeros(2), BAD), BAD)
    assert state.clients.tolist() == [1, 0, 1, 0]


def test_too_few_are_an_error_and_the_round_can_be_repeated() -> None:
    one = learning(at_least=3)
    start = one.init(jnp.zeros(2))
    why = r"2 of 4 updates are left \(2 not_finite\), fewer than at_least=3: nothing was aggregated"
    with pytest.raises(jsmpc.FederatedError, match=why):
        one.round(jax.random.key(0), start, BAD)
    again = [one.round(jax.random.key(0), start, CLIENTS)[0].params for _ in range(2)]
    assert again[0].tolist() == again[1].tolist() == [3.5, 3.5]


def test_nobody_is_never_enough() -> None:
    one = learning(at_least=0)
    nobody = federated.Clients.of(np.full(4, np.nan, np.float32), PARTS)
    with pytest.raises(jsmpc.FederatedError, match="0 of 4 updates are left"):
        one.round(jax.random.key(0), one.init(jnp.zeros(2)), nobody)


def test_many_rounds_are_arrays_that_plot() -> None:
    one, seen = learning(per_round=2), []
    start = one.init(jnp.zeros(2))
    key, watch = jax.random.key(1), lambda number, *_: seen.append(number)
    state, metrics = federated.run(one, key, start, CLIENTS, 5, watch=watch)
    assert metrics.loss.shape == (5,) and metrics.clients.shape == metrics.reasons.shape == (5, 2)
    with pytest.raises(jsmpc.FederatedError, match="of one round, and not of several"):
        _ = metrics.excluded
    assert metrics.took_part.tolist() == [2] * 5 and seen == list(range(5))
    expected = VALUES[metrics.clients].mean(axis=1).sum()
    np.testing.assert_allclose(state.params, expected, rtol=1e-6)
    again, _ = federated.run(one, jax.random.key(1), start, CLIENTS, 5)
    assert again.params.tolist() == state.params.tolist()
    with pytest.raises(jsmpc.FederatedError, match="1 or more rounds, not 0"):
        federated.run(one, jax.random.key(1), start, CLIENTS, 0)


def test_progress_shows_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    one = learning(per_round=2)
    federated.run(one, jax.random.key(1), one.init(jnp.zeros(2)), CLIENTS, 2, progress=True)
    assert "/2 " in capsys.readouterr().err


def test_updates_of_another_shape_or_with_something_that_nobody_keeps() -> None:
    def longer(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
        return moves(params, data, count, key)._replace(delta=jnp.ones(3))

    def keeping(params: Any, data: Any, count: Any, key: Any) -> federated.Update:
        return moves(params, data, count, key)._replace(own=jnp.ones(3))

    for update, why in (
        (longer, r"an update has the shapes \(3,\), and the parameters \(2,\)"),
        (keeping, "Make the client's work a Stateful"),
    ):
        one = federated.Federation(update, optax.sgd(1.0), 4, chunk=4)
        with pytest.raises(jsmpc.FederatedError, match=why):
            one.round(jax.random.key(0), one.init(jnp.zeros(2)), CLIENTS)
