"""Rounds with one server: the exact mean of who is there, and a record of who is not."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.masked.letters import Step
from masked import LIKE, PRIVATE, PUBLIC, RULE, SIZE, UPDATES, WEIGHTS, Round, expected, full

SPARSE = federated.OneServer.sparse(
    clients=40, quantization=RULE, like=LIKE, dropping=4, corrupt=2, seed=b"seed"
)
STEPS = ("advertise", "share", "mask", "agree", "unmask")


def simulated(setup: federated.OneServer, **options: Any) -> federated.RoundResult:
    n = setup.clients
    identities = PRIVATE[:n] if setup.is_active else ()
    found = federated.simulate(setup, UPDATES[:n], WEIGHTS[:n], identities=identities, **options)
    return found.result


FOLLOWED = tuple(step for step in STEPS if step != "agree")
PAIRS = [
    (first, second, signed)
    for signed, steps in ((False, FOLLOWED), (True, STEPS))
    for first, second in itertools.combinations_with_replacement(steps, 2)
]


@pytest.mark.parametrize("first, second, signed", PAIRS)
def test_with_drop_outs_at_any_steps(first: str, second: str, signed: bool) -> None:
    setup = full(6, dropping=2, corrupt=0, signed=signed)
    result = simulated(setup, dropped={1: first, 4: second})
    counted = {"agree", "unmask"}
    survivors = [u for u in range(6) if {1: first, 4: second}.get(u, "unmask") in counted]
    assert result.record.survivors == tuple(survivors)
    assert result.record.dropped == {1: first, 4: second}
    assert result.weight == sum(WEIGHTS[u] for u in survivors)
    np.testing.assert_array_equal(result.mean, expected(tuple(survivors)))


def test_without_drop_outs() -> None:
    result = simulated(full(2, dropping=0))
    np.testing.assert_array_equal(result.mean, expected((0, 1)))
    assert not result.record.dropped and not result.record.refused


@pytest.mark.parametrize("number", [0, 1])
def test_in_the_sparse_graph(number: int) -> None:
    assert SPARSE.neighbours == 8
    gone = {3: "advertise", 9: "share", 11: "mask", 30: "unmask"}
    result = simulated(SPARSE, dropped=gone, round_number=number)
    assert len(result.record.survivors) == 37
    np.testing.assert_array_equal(result.mean, expected(result.record.survivors))


def test_who_has_lost_its_neighbours_is_left_out() -> None:
    setup = federated.OneServer(
        **{"clients": 40, "threshold": 3, "neighbours": 8, "quorum": 20, "corrupt": 2},
        **{"dropping": 4, "seed": b"seed", "quantization": RULE, "like": LIKE},
    )
    around = sorted(setup.neighbours_of(5, 1))
    gone = dict.fromkeys(around[:7], "share")
    result = simulated(setup, dropped=gone, round_number=1)
    assert result.record.excluded == {5: "too few neighbours"}
    assert result.record.dropped == gone and len(result.record.survivors) == 32
    np.testing.assert_array_equal(result.mean, expected(result.record.survivors))
    late = dict.fromkeys(around[:7], "unmask")
    with pytest.raises(federated.RoundError, match="2 valid shares of client 5's secret are"):
        simulated(setup, dropped=late, round_number=1)
    play = Round(setup, change=lambda s, u, x: None if gone.get(u) == s.label else x)
    play.until(Step.MASK)
    assert 5 not in play.asked and not play.server.collect(
        play.clients[5]._context.write(Step.MASK, 5, {})
    )
    assert play.server.record.refused[-1] == ("mask", 5, "excluded")


def test_in_the_sparse_graph_with_signatures() -> None:
    setup = federated.OneServer.sparse(
        **{"clients": 40, "quantization": RULE, "like": LIKE, "dropping": 2, "corrupt": 1},
        **{"seed": b"", "identities": PUBLIC},
    )
    assert setup.neighbours is not None and setup.neighbours < 39
    result = simulated(setup, dropped={9: "mask", 30: "agree"})
    np.testing.assert_array_equal(result.mean, expected(result.record.survivors))


def test_in_the_ring_of_64_bits() -> None:
    rule = federated.Quantization(clip=1.0, bits=32, most_weight=50)
    setup = full(4, quantization=rule, dropping=1)
    assert setup.dtype == np.uint64
    result = simulated(setup, dropped={2: "mask"})
    np.testing.assert_array_equal(result.mean, expected((0, 1, 3), rule))


def test_a_pytree_comes_back_as_it_was() -> None:
    like = {"w": jnp.zeros((2, 3), jnp.bfloat16), "b": np.zeros((), np.float32)}
    setup = full(3, like=like, quantization=federated.Quantization(clip=1.0))
    updates = [jax.tree.map(lambda x, i=i: np.full_like(x, i / 4), like) for i in range(3)]
    mean = federated.simulate(setup, updates).result.mean
    assert jax.tree.map(lambda x: (x.shape, x.dtype), mean) == {
        "w": ((2, 3), jnp.bfloat16),
        "b": ((), np.float32),
    }
    client = Round(setup).until(Step.MASK).clients[0]
    for wrong in ({"w": updates[0]["w"], "c": updates[0]["b"]}, updates[0]["w"], {}):
        with pytest.raises(federated.UpdateError, match=r"those of the set-up: float32\[\], bfl"):
            client.mask(b"", wrong)
    assert float(mean["b"]) == pytest.approx(0.25, abs=2e-5) and float(mean["w"][0, 0]) == 0.25


def test_noise_is_added_in_units() -> None:
    rule = federated.Quantization(clip=1.0, room=100, most_weight=50)
    setup = full(3, quantization=rule)
    noise = np.random.default_rng(0).integers(-100, 101, (3, SIZE))
    found = simulated(setup, noise=lambda u: noise[u])
    added = (found.mean - expected((0, 1, 2), rule)) * found.weight / rule.unit
    np.testing.assert_allclose(added, noise.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize(
    "step, signed", [*((s, False) for s in FOLLOWED), *((s, True) for s in STEPS)]
)
def test_too_few_are_an_error_and_the_round_can_be_repeated(step: str, signed: bool) -> None:
    setup = full(6, dropping=1, corrupt=0, signed=signed)
    with pytest.raises(federated.RoundError, match=r"Repeat the round under the next n") as caught:
        simulated(setup, dropped={1: step, 2: step})
    assert caught.value.reason == "too few"
    np.testing.assert_array_equal(simulated(setup, round_number=1).mean, expected(tuple(range(6))))


def test_after_a_failure_there_is_no_result() -> None:
    play = Round(full(3, dropping=0), change=lambda step, u, letter: letter if u else None)
    with pytest.raises(federated.RoundError, match="round 1: advertise: 2 clients are there"):
        play.until(None)
    for call in (play.server.result, play.server.close):
        with pytest.raises(federated.RoundError, match="round 1: it"):
            call()
    assert play.server.step is None
    assert not play.server.collect(play.letters[Step.ADVERTISE, 0])
    assert play.server.record.refused[-1] == ("over", None, "late")


BAD = {
    "not finite": (np.full(SIZE, np.nan), 1),
    "beyond the clip": (np.full(SIZE, 2.0), 1),
    "wrong shape or dtype": (np.zeros(SIZE + 1), 1),
    "weight out of range": (np.zeros(SIZE), 51),
}


@pytest.mark.parametrize("reason", BAD)
def test_an_update_that_is_none_is_excluded_and_recorded(reason: str) -> None:
    updates, weights = list(UPDATES[:4]), WEIGHTS[:4]
    updates[1], weights[1] = BAD[reason]
    result = federated.simulate(full(4, dropping=1), updates, weights).result
    assert result.record.declined == {1: reason} and result.record.dropped == {1: "mask"}
    np.testing.assert_array_equal(result.mean, expected((0, 2, 3)))


def test_a_client_with_a_bad_update_may_give_another_one() -> None:
    play = Round(full(3, dropping=1)).until(Step.MASK)
    client = play.clients[0]
    with pytest.raises(federated.UpdateError, match="NaN or infinity"):
        client.mask(play.asked[0], np.full(SIZE, np.nan), 1)
    assert play.server.collect(client.mask(play.asked[0], UPDATES[0], WEIGHTS[0]))


def test_stragglers_duplicates_and_strangers_are_recorded() -> None:
    play = Round(full(4, dropping=1)).until(Step.MASK)
    letters = {u: play.answer(Step.MASK, u) for u in range(4)}
    assert play.server.waiting == {0, 1, 2, 3} and play.server.step == "mask"
    collected = [play.server.collect(letters[u]) for u in (0, 1, 1, 2)]
    assert collected == [True, True, False, True] and play.server.waiting == {3}
    play.asked = play.server.close()
    assert not play.server.collect(letters[3])  # past the deadline
    assert not play.server.collect(letters[0])
    assert not play.server.collect(b"no letter")
    assert not play.server.collect(Round(play.setup, 2).clients[0].advertise())
    play.step(Step.UNMASK)
    assert [tuple(r) for r in play.server.record.refused] == [
        ("mask", 1, "duplicate"),
        ("unmask", 3, "late"),
        ("unmask", 0, "duplicate"),
        ("unmask", None, "malformed"),
        ("unmask", None, "another round"),
    ]
    assert play.server.record.dropped == {3: "mask"}
    np.testing.assert_array_equal(play.server.result().mean, expected((0, 1, 2)))


def test_a_client_goes_on_in_another_process() -> None:
    play = Round(full(4, dropping=1, corrupt=0, signed=True))
    for step in play.setup.steps:
        play.clients = [play.copy(u) for u in range(4)]
        assert {c.next_step for c in play.clients} == {step.label}
        play.step(step)
    np.testing.assert_array_equal(play.server.result().mean, expected((0, 1, 2, 3)))
    saved = play.clients[0].save()
    with pytest.raises(jsmpc.FederatedError, match="saved client is of another round"):
        federated.RoundClient.restore(play.setup, 0, 2, saved, identity=PRIVATE[0])
    held = bytes(play.clients[0].save())
    assert play.clients[0].next_step is None and len(held) < 3000


@pytest.mark.parametrize(
    "setup", [full(6), full(6, signed=True), SPARSE], ids=["full", "signed", "sparse"]
)
def test_messages_are_no_longer_than_the_stated_cost(setup: federated.OneServer) -> None:
    n = setup.clients
    identities = PRIVATE[:n] if setup.is_active else ()
    found = federated.simulate(setup, UPDATES[:n], identities=identities)
    for measured, stated in ((found.sent, setup.cost.sent), (found.received, setup.cost.received)):
        assert 0.6 * stated < measured.min() and measured.max() <= stated
    assert setup.cost.rounds == len(setup.steps)
    k, w = setup.neighbours or 0, 4 * setup.words
    assert abs(setup.cost.sent - (w + 176 * k)) < 1500
    signatures = 64 * (k + n) if setup.is_active else 0
    assert abs(setup.cost.received - (456 * k + n / 4 + signatures)) < 1500


def test_it_takes_the_place_of_a_mean_in_a_federation() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 3)).astype(np.float32)
    clients = federated.Clients.of(
        {"x": x, "y": x @ np.float32([1, -2, 0.5])},
        federated.sized(jax.random.key(0), 60, [30, 20, 8, 2]),
    )

    def loss(params: Any, batch: Any) -> Any:
        return (batch["x"] @ params - batch["y"]) ** 2

    seen: list[federated.Simulated] = []
    setup = full(
        4,
        dropping=1,
        like=jax.ShapeDtypeStruct((3,), np.float32),
        quantization=federated.Quantization(clip=4.0, bits=20, most_weight=30),
    )
    masked = federated.by_one_server(
        setup, dropped=lambda number: {2: "mask"} if number else {}, watch=seen.append
    )
    states = []
    for aggregate in (federated.mean, masked):
        federation = federated.Federation(
            federated.local_steps(loss, optax.sgd(0.1), steps=5, batch=4),
            server=optax.sgd(1.0),
            per_round=4,
            chunk=4,
            aggregate=aggregate,
        )
        states.append(federation.init(jnp.zeros(3)))
        states[-1] = federation.round(jax.random.key(2), states[-1], clients)[0]
    np.testing.assert_allclose(states[0].params, states[1].params, atol=2 * setup.quantization.unit)
    federation.round(jax.random.key(3), states[1], clients)
    assert seen[0].result.weight == 60
    assert seen[1].result.record.survivors == (0, 1, 3)


def test_what_cannot_be_simulated() -> None:
    setup = full(3)
    for wrong in ({"weights": [1, 2]}, {"dropped": {0: "agree"}}):
        with pytest.raises(jsmpc.FederatedError, match="simulate: "):
            federated.simulate(setup, UPDATES[:3], **wrong)
    with pytest.raises(jsmpc.FederatedError, match="simulate: there are 3 clients"):
        federated.simulate(setup, UPDATES[:2])
