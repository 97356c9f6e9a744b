"""Private rounds: how far one client can move them, how noisy they are, what they cost."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.privacy import accounting, clipping, private
from jsmpc._src.jaxprs import compat
from jsmpc.testing import InsecurePlain

RNG = np.random.default_rng(4)
UPDATES = RNG.normal(size=(6, 50)).astype(np.float32) * np.float32([[9], [3], [1], [0.1], [0], [5]])
ALL = jnp.ones(6, bool)
SECURE = federated.securely(federated.mean, jsmpc.Replicated3())
EXACT = private.Spent(jnp.float32(2.0))


def privacy(**changes: Any) -> federated.Privacy:
    return federated.Privacy(**{"noise": 1.0, "clip": 2.0, "delta": 1e-5, **changes})


def units(updates: Any, clip: float) -> tuple[np.ndarray, np.ndarray]:
    with compat.protocol_mode():
        found, within = clipping.in_units(updates, jnp.float32(clip))
        return np.asarray(found), np.asarray(within)


@pytest.mark.parametrize("clip", [1e-3, 2.0, 500.0])
def test_clipped_updates_are_no_longer_than_the_clip(clip: float) -> None:
    found, within = units(UPDATES, clip)
    lengths = np.sqrt((found.astype(object) ** 2).sum(axis=1).astype(float))
    assert (lengths <= clipping.UNITS).all()
    original = np.linalg.norm(UPDATES, axis=1)
    assert (within == (original <= clip)).all()
    assert (lengths[original > clip] > 0.99999 * clipping.UNITS).all()
    inside = original < 0.999 * clip
    np.testing.assert_allclose(
        found[inside] * clip / clipping.UNITS, UPDATES[inside], atol=clip / clipping.UNITS
    )


def test_rounding_does_not_lengthen_beyond_the_clip() -> None:
    # all coordinates just beyond half a unit: rounded to the nearest they are twice as long
    long = np.full((1, 10_000), 1.0, np.float32)
    found, _ = units(long, 100.0)
    assert math.sqrt((found.astype(float) ** 2).sum()) <= clipping.UNITS
    tiny = np.full((1, 10_000), 0.5001 * 100 / clipping.UNITS, np.float32)
    assert (units(tiny, 100.0)[0] == 1).all()


def test_updates_with_nan_or_infinity_are_zeros() -> None:
    bad = UPDATES.copy()
    bad[1, 3], bad[2, 4], bad[5, 0] = np.nan, np.inf, 3e38
    found, within = units(bad, 2.0)
    assert (found[[1, 2]] == 0).all() and not within[[1, 2, 5]].any()
    assert abs(found[5]).max() > 0.9 * clipping.UNITS


def test_one_client_moves_the_sum_by_the_clip_at_most() -> None:
    others = UPDATES.copy()
    others[0] = RNG.normal(size=50) * 1e6
    for half in (0, 300_000):
        rows = [
            np.asarray(private._rows(u, jnp.float32(2.0), p, half, 1), np.float64).sum(axis=0)
            for u, p in ((UPDATES, ALL), (others, ALL), (UPDATES, ALL.at[0].set(False)))
        ]
        most = math.hypot(clipping.UNITS, half)
        assert np.linalg.norm(rows[0] - rows[2]) <= most  # there or not
        assert np.linalg.norm(rows[1] - rows[2]) <= most
        assert np.linalg.norm(rows[0] - rows[2]) > 0.999 * most


@pytest.mark.parametrize("aggregate", [federated.mean, SECURE], ids=["clear", "secure"])
def test_the_mean_is_that_of_clipped_updates_and_its_noise_the_stated_one(aggregate: Any) -> None:
    wide = np.zeros((6, 20_000), np.float32)
    wide[:, :50] = UPDATES
    found, _ = privacy(noise=0.5).mean(aggregate, wide, ALL.at[1].set(False), EXACT, 4)
    protocol = private.protocol_of(aggregate)
    parts = protocol.size / (protocol.size - protocol.corruptions)
    stated = (0.5 * 2.0 / 4) ** 2 * parts
    noise = np.asarray(found)[50:]
    assert abs(noise.mean()) < 4 * math.sqrt(stated / noise.size)
    assert abs(noise.var() / stated - 1) < 4 * math.sqrt(2 / noise.size)
    lengths = np.linalg.norm(UPDATES, axis=1, keepdims=True)
    clipped = UPDATES * np.minimum(1, 2.0 / np.maximum(lengths, 1e-9))
    quiet, _ = privacy(noise=1e-5).mean(aggregate, UPDATES, ALL.at[1].set(False), EXACT, 4)
    np.testing.assert_allclose(quiet, np.delete(clipped, 1, 0).sum(axis=0) / 4, atol=1e-4)


def test_noise_is_another_one_each_time() -> None:
    one, two = (privacy().mean(SECURE, UPDATES, ALL, EXACT, 6)[0] for _ in range(2))
    assert (np.asarray(one) != np.asarray(two)).all()


def test_an_adaptive_clip_comes_to_the_quantile() -> None:
    lengths = np.exp(RNG.normal(size=200)).astype(np.float32)
    updates = np.zeros((200, 3), np.float32)
    updates[:, 0] = lengths
    adaptive = privacy(clip=federated.AdaptiveClip(20.0, quantile=0.7, rate=0.5))
    spent, clips = adaptive.init(), []
    for _ in range(60):
        _, spent = adaptive.mean(federated.mean, updates, jnp.ones(200, bool), spent, 200)
        clips.append(float(spent.clip))
    within = (lengths <= np.mean(clips[-20:])).mean()
    assert abs(within - 0.7) < 0.05
    assert clips[0] < 20.0


def test_bit_and_update_share_the_noise_multiplier() -> None:
    deviation, half = privacy(clip=federated.AdaptiveClip(1.0))._deviations(100)
    assert deviation / math.hypot(clipping.UNITS, half) == pytest.approx(1.0)
    of_count, of_update = deviation / (2 * half), deviation / clipping.UNITS
    assert of_count == pytest.approx(5.0, rel=1e-5)  # a twentieth of 100
    # Andrew and others, theorem 1
    assert of_update == pytest.approx((1.0**-2 - (2 * of_count) ** -2) ** -0.5, rel=1e-9)
    with pytest.raises(jsmpc.FederatedError, match="count_noise"):
        privacy(clip=federated.AdaptiveClip(1.0))._deviations(8)


def test_the_sample_is_of_each_client_on_its_own() -> None:
    counts, seen = [], np.zeros(40)
    for i in range(400):
        numbers, present = private.sample(jax.random.key(i), 40, 0.25, 20)
        numbers, present = np.asarray(numbers), np.asarray(present)
        assert len(set(numbers.tolist())) == 20
        assert (present[: present.sum()]).all()  # they come first
        counts.append(present.sum())
        seen[numbers[present]] += 1
    assert abs(np.mean(counts) - 10) < 4 * math.sqrt(7.5 / 400)
    assert abs(np.var(counts) / 7.5 - 1) < 4 * math.sqrt(2 / 400)
    assert abs(seen / 400 - 0.25).max() < 4 * math.sqrt(0.25 * 0.75 / 400)
    assert np.asarray(private.sample(jax.random.key(0), 40, 1.0, 40)[1]).all()
    assert np.asarray(private.sample(jax.random.key(0), 40, 0.9, 12)[1]).all()  # cut to the room


@pytest.mark.parametrize(
    "mechanism, kind",
    [
        (federated.Mechanism(1.1), "GaussianDpEvent"),
        (federated.Mechanism(1.1, 0.2, 10, 10), "PoissonSampledDpEvent"),
        (federated.Mechanism(1.1, 0.2, 100, 42), "TruncatedSubsampledGaussianDpEvent"),
    ],
    ids=["everyone", "sampled", "cut"],
)
def test_epsilon_is_that_of_dp_accounting(mechanism: Any, kind: str) -> None:
    events = pytest.importorskip("dp_accounting")
    from dp_accounting.pld import PLDAccountant

    assert type(mechanism.event()).__name__ == kind
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    expected = accountant.compose(mechanism.event(), 7).get_epsilon(1e-5)
    found = accounting.epsilon(((mechanism, 7),), 1e-5)
    assert found == pytest.approx(expected, abs=1e-9)
    if kind == "GaussianDpEvent":  # for which there is a closed form
        exact = events.get_epsilon_gaussian(1.1 / math.sqrt(7), 1e-5)
        assert exact - 1e-9 <= found < exact + 1e-3


def test_different_mechanisms_compose() -> None:
    pytest.importorskip("dp_accounting")
    from dp_accounting.pld import PLDAccountant

    one, two = federated.Mechanism(1.0), federated.Mechanism(2.0)
    ledger = accounting.entered(accounting.entered(accounting.entered((), one), two), one)
    assert ledger == ((one, 2), (two, 1))
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    expected = accountant.compose(one.event(), 2).compose(two.event()).get_epsilon(1e-6)
    assert accounting.epsilon(ledger, 1e-6) == pytest.approx(expected, abs=1e-9)
    assert accounting.epsilon((), 1e-6) == 0


def test_noise_for_a_budget() -> None:
    noise = federated.noise_for(3.0, 1e-5, 4)
    assert accounting.epsilon(((federated.Mechanism(noise), 4),), 1e-5) <= 3.0
    assert accounting.epsilon(((federated.Mechanism(0.99 * noise), 4),), 1e-5) > 3.0
    assert federated.noise_for(1e4, 1e-5, 1) == 0.3


X = RNG.normal(size=(160, 3)).astype(np.float32)
DATA = {"x": X, "y": X @ np.float32([1.0, -2.0, 0.5])}
CLIENTS = federated.Clients.of(DATA, federated.equal(jax.random.key(0), 160, 40))
PARAMS = {"w": jnp.zeros(3)}


def loss(params: Any, batch: Any) -> Any:
    return (batch["x"] @ params["w"] - batch["y"]) ** 2


def federation(**changes: Any) -> federated.Federation:
    usual = {
        "client_update": federated.local_steps(loss, optax.sgd(0.1), steps=3, batch=4),
        "server": optax.sgd(1.0),
        "per_round": 40,
        "chunk": 20,
        "aggregate": SECURE,
        "privacy": privacy(clip=1.0),
    }
    return federated.Federation(**{**usual, **changes})


def test_a_private_run_learns_and_tells_what_it_costs() -> None:
    learning = federation()
    state, costs = learning.init(PARAMS), []
    for key in jax.random.split(jax.random.key(1), 12):
        state, metrics = learning.round(key, state, CLIENTS)
        costs.append(metrics.epsilon)
        assert np.isnan(metrics.loss)
    assert np.abs(np.asarray(state.params["w"]) - [1.0, -2.0, 0.5]).max() < 0.3
    expected = [
        accounting.epsilon(((federated.Mechanism(1.0, 1.0, 40, 40), i),), 1e-5)
        for i in range(1, 13)
    ]
    assert costs == expected and state.privacy.ledger[0][1] == 12


def test_a_spent_budget_stops_before_anything_is_computed() -> None:
    costs = [accounting.epsilon(((federated.Mechanism(2.0), i),), 1e-5) for i in (2, 3)]
    asked = []

    def counted(*args: Any) -> federated.Update:
        jax.debug.callback(lambda: asked.append(1))  # once for each chunk
        return federated.local_steps(loss, optax.sgd(0.1), steps=1, batch=2)(*args)

    budget = privacy(noise=2.0, epsilon=(costs[0] + costs[1]) / 2, sample_secret=False)
    learning = federation(client_update=counted, privacy=budget, aggregate=federated.mean)
    state = learning.init(PARAMS)
    for key in jax.random.split(jax.random.key(2), 2):
        state, metrics = learning.round(key, state, CLIENTS)
    jax.effects_barrier()
    before = len(asked)
    assert before == 4 and metrics.epsilon == pytest.approx(costs[0])
    with pytest.raises(jsmpc.BudgetError, match=f"bring ε to {costs[1]:.3f}") as caught:
        learning.round(jax.random.key(3), state, CLIENTS)
    jax.effects_barrier()
    assert len(asked) == before
    assert isinstance(caught.value, jsmpc.FederatedError)


def test_a_known_sample_costs_as_much_as_everyone() -> None:
    known, secret = privacy(sample_secret=False), privacy()
    costs = [
        p.spent(p.charged(p.init(), clients=1000, per_round=50, chunk=10)) for p in (known, secret)
    ]
    assert costs[0] == accounting.epsilon(((federated.Mechanism(1.0), 1),), 1e-5)
    assert costs[1] < costs[0] / 3


def test_fewer_clients_than_there_are_take_part() -> None:
    learning = federation(per_round=8, chunk=4, aggregate=federated.mean)
    assert learning.privacy is not None
    assert learning.privacy.slots(40, 8, 4) == 24
    state, metrics = learning.round(jax.random.key(4), learning.init(PARAMS), CLIENTS)
    ((mechanism, uses),) = state.privacy.ledger
    assert (mechanism.rate, mechanism.most, uses) == (0.2, 24, 1)
    assert 0 < metrics.epsilon < math.inf


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"noise": 0.0}, "noise multiplier is positive"),
        ({"noise": math.nan}, "noise multiplier is positive"),
        ({"clip": -1.0}, "positive length"),
        ({"delta": 0.0}, "between 0 and 1"),
        ({"epsilon": 0.0}, "positive ε"),
    ],
    ids=str,
)
def test_privacy_that_cannot_be(change: Any, problem: str) -> None:
    with pytest.raises(jsmpc.FederatedError, match=problem):
        privacy(**change)


def test_an_adaptive_clip_that_cannot_be() -> None:
    with pytest.raises(jsmpc.FederatedError, match="quantile"):
        federated.AdaptiveClip(1.0, quantile=1.0)
    with pytest.raises(jsmpc.FederatedError, match="positive length"):
        federated.AdaptiveClip(0.0)


@pytest.mark.parametrize(
    "aggregate",
    [federated.median, federated.securely(federated.median, InsecurePlain()), lambda u, w: u[0]],
    ids=["median", "secure", "own"],
)
def test_privacy_of_something_else_than_a_mean(aggregate: Any) -> None:
    learning = federation(aggregate=aggregate)
    with pytest.raises(jsmpc.FederatedError, match="privacy is of means"):
        learning.round(jax.random.key(0), learning.init(PARAMS), CLIENTS)


def test_a_ring_that_is_too_small() -> None:
    small = federated.securely(federated.mean, jsmpc.Replicated3(bits=32))
    with pytest.raises(jsmpc.FederatedError, match="does not fit a ring of 32 bits"):
        privacy().require(small, 1100, 1000)
    privacy().require(small, 500, 400)


def test_without_dp_accounting(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "dp_accounting" else find(name)
    )
    with pytest.raises(jsmpc.FederatedError, match=r"pip install 'jsmpc\[privacy\]'"):
        privacy()


def test_states_with_and_without_a_ledger() -> None:
    with_one, without = federation(), federation(privacy=None)
    private_state, state = with_one.init(PARAMS), without.init(PARAMS)
    assert state.privacy is None
    with pytest.raises(jsmpc.FederatedError, match="has no ledger"):
        with_one.round(jax.random.key(0), state, CLIENTS)
    with pytest.raises(jsmpc.FederatedError, match="has a privacy ledger"):
        without.round(jax.random.key(0), private_state, CLIENTS)


def test_a_ledger_passes_through_trees() -> None:
    spent = privacy().charged(privacy().init(), clients=40, per_round=40)
    again = jax.tree.map(jnp.asarray, spent)
    assert privacy().spent(again) == privacy().spent(spent) > 0
    after = privacy().charged(again, clients=40, per_round=40)
    assert after.ledger == ((spent.ledger[0][0], 2),)


@pytest.mark.parametrize("unit", [0.0, 1e-3, 0.02])
def test_a_client_clips_by_itself(unit: float) -> None:
    for update in UPDATES:
        found = federated.clipped(update, 2.0, unit)
        rounded = np.round(found / unit) * unit if unit else found
        assert np.linalg.norm(rounded) <= 2.0
        if np.linalg.norm(update) < 1.9:
            np.testing.assert_allclose(found, update)
        elif np.linalg.norm(update) > 2:
            assert np.linalg.norm(found) > 1.9
    with pytest.raises(jsmpc.FederatedError, match="Quantize finer"):
        federated.clipped(UPDATES[0], 2.0, 1.0)
    with pytest.raises(jsmpc.FederatedError, match="NaN or infinity"):
        federated.clipped(np.array([1.0, np.nan]), 2.0)
