"""The discrete Gaussian: its probabilities, its moments, and who knows how much of it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import numpy as np
import pytest
from scipy import stats

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.privacy import gaussian, shares
from jsmpc._src.jaxprs import compat
from jsmpc.testing import InsecurePlain

COUNT = 200_000


def drawn(seed: int, deviation: float, count: int = COUNT) -> np.ndarray:
    key = jax.random.key(seed)
    return np.asarray(federated.discrete_gaussian(key, (count,), deviation))


def mass(values: np.ndarray, deviation: float) -> np.ndarray:
    every = np.arange(-40 * math.ceil(deviation), 40 * math.ceil(deviation) + 1)
    return np.exp(-(values**2) / 2 / deviation**2) / np.exp(-(every**2) / 2 / deviation**2).sum()


@pytest.mark.parametrize("deviation", [0.3, 0.8, 1.0, 3.7, 20.0, 37.99, 38.01, 60.0, 700.0])
def test_frequencies_are_the_probabilities(deviation: float) -> None:
    values, found = drawn(1, deviation), []
    reach = math.ceil(4 * deviation)
    edges = np.unique(np.linspace(-reach, reach + 1, 60).astype(int))
    for low, high in itertools.pairwise(edges):
        expected = COUNT * mass(np.arange(low, high), deviation).sum()
        if expected >= 5:
            found.append((((values >= low) & (values < high)).sum(), expected))
    seen, expected = map(np.array, zip(*found, strict=True))
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, len(found) - 1) > 1e-3


@pytest.mark.parametrize("deviation", [0.3, 1.0, 39.0, 1e3, 1e5, 1.2e6, 2.0**40])
def test_moments_and_tails(deviation: float) -> None:
    values = drawn(2, deviation) / deviation
    variance = 1.0
    if deviation < 2:
        every = np.arange(-40, 41)
        variance = float((mass(every, deviation) * every**2).sum()) / deviation**2
    spread = math.sqrt(variance / COUNT)
    assert abs(values.mean()) < 4 * spread
    kurtosis = (values**4).mean() / variance**2
    assert abs((values**2).mean() / variance - 1) < 4 * math.sqrt((kurtosis - 1) / COUNT)
    if deviation > 2:
        assert abs(kurtosis - 3) < 0.1
        for far in (2, 3):
            expected = COUNT * 2 * stats.norm.sf(far)
            assert abs((abs(values) > far).sum() - expected) < 5 * math.sqrt(expected) + 400
        assert 4 < abs(values).max() < 7


@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5, 31.0, 38.0])
def test_a_table_is_the_distribution_to_128_bits(deviation: float) -> None:
    upper, lower, alias = gaussian._table(deviation)
    full = 1 << 118
    weights = [0] * 1024
    for bucket in range(1024):
        own = (int(upper[bucket]) << 64) | int(lower[bucket])
        assert 0 <= own <= full
        weights[bucket] += own
        weights[alias[bucket]] += full - own
    assert sum(weights) == 1 << 128
    assert weights == gaussian._weights(deviation)
    found = np.array([w / 2.0**128 for w in weights])
    np.testing.assert_allclose(found, mass(np.arange(-512, 512), deviation), rtol=1e-12, atol=1e-35)
    assert weights[1:512] == weights[:512:-1]  # symmetric


def test_a_word_at_a_threshold_is_the_alias() -> None:
    table = gaussian._table(5.0)
    upper, lower, alias = table
    bucket = int(np.flatnonzero((lower > 0) & (lower < 2**64 - 1) & (alias != np.arange(1024)))[0])
    high = (bucket << 54) | int(upper[bucket])
    words = [(high, int(lower[bucket]) + i) for i in (-1, 0, 1)]
    with compat.protocol_mode():
        found = np.asarray(gaussian._looked_up(np.array(words, np.uint64).T, table))
    assert (found + 512).tolist() == [bucket, alias[bucket], alias[bucket]]


@pytest.mark.parametrize("deviation", [38.5, 80.0, 650.0, 1e4, 1e5, 1.1e6, 2.0**30, 2.0**48])
def test_wide_ones_are_sums_of_narrow_ones_wide_enough_for_it(deviation: float) -> None:
    plan = gaussian.planned(deviation)
    whole = sum(plan.factor ** (2 * i) for i in range(plan.levels))
    narrow = deviation / math.sqrt(whole)
    assert 2 * math.sqrt(1 + plan.factor**2) <= narrow <= 38
    for ours, table in zip(plan.table, gaussian._table(narrow), strict=True):
        assert (ours == table).all()


def test_draws_are_of_their_key() -> None:
    assert (drawn(3, 50.0) == drawn(3, 50.0)).all()
    assert np.corrcoef(drawn(3, 50.0), drawn(4, 50.0))[0, 1] < 0.02
    one, two = drawn(5, 1e6, 4000), drawn(6, 1e6, 4000)
    assert (one != two).mean() > 0.99


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan"), 2.0**49])
def test_deviations_that_cannot_be(deviation: float) -> None:
    with pytest.raises(jsmpc.FederatedError, match="0 < σ"):
        federated.discrete_gaussian(jax.random.key(0), (2,), deviation)


def test_the_parts_of_clients_have_the_variance_of_the_whole() -> None:
    parts = [
        federated.client_noise(jax.random.key(i), (20_000,), deviation=200.0, clients=8)
        for i in range(8)
    ]
    total = sum(parts)
    expected = 200.0**2 + 16
    assert abs(total.var() / expected - 1) < 4 * math.sqrt(2 / 20_000)
    assert abs(parts[0].var() / (expected / 8) - 1) < 4 * math.sqrt(2 / 20_000)
    assert parts[0].dtype == np.int64


def test_too_coarse_parts() -> None:
    with pytest.raises(jsmpc.FederatedError, match="Quantize finer"):
        federated.client_noise(jax.random.key(0), (2,), deviation=10.0, clients=50)
    with pytest.raises(jsmpc.FederatedError, match="one honest part"):
        federated.client_noise(jax.random.key(0), (2,), deviation=10.0, clients=0)


@pytest.mark.parametrize(
    "protocol",
    [InsecurePlain(), jsmpc.Replicated3(), jsmpc.Additive(parties=3), jsmpc.Replicated3(bits=32)],
    ids=lambda p: f"{type(p).__name__}{p.bits}",
)
def test_the_noise_of_honest_parties_is_the_stated_one(protocol: Any) -> None:
    deviation, size = 0.05, 20_000
    parts = shares.joint_noise(protocol, (size,), deviation, np.float32)
    values = [np.asarray(jsmpc.reveal(part), np.float64) for part in parts]
    assert len(values) == protocol.size
    honest = protocol.size - protocol.corruptions
    stated = deviation**2 + (4 / protocol.encoding.scale) ** 2
    for first in range(protocol.size):  # whoever is honest, and the others' parts are known
        rest = sum(values[(first + i) % protocol.size] for i in range(honest))
        assert abs(rest.var() / stated - 1) < 4 * math.sqrt(2 / size)
    own = values[0] * protocol.encoding.scale
    assert (own == np.round(own)).all()  # whole units of the last place
    assert abs(values[0].var() / (stated / honest) - 1) < 4 * math.sqrt(2 / size)
    for i in range(1, len(values)):
        assert abs(np.corrcoef(values[0], values[i])[0, 1]) < 0.04


def test_a_secure_aggregate_has_its_noise() -> None:
    updates = np.ones((2, 20_000), np.float32)
    noised = federated.securely(federated.mean, jsmpc.Replicated3(), noise=0.1)
    found = np.asarray(noised(updates, np.float32([0.5, 0.5]))) - 1
    stated = 0.1**2 * 3 / 2  # two of three parties are honest
    assert abs(found.mean()) < 4 * math.sqrt(stated / 20_000)
    assert abs(found.var() / stated - 1) < 4 * math.sqrt(2 / 20_000)


def test_noise_below_zero() -> None:
    with pytest.raises(jsmpc.FederatedError, match="0 or more"):
        federated.securely(federated.mean, jsmpc.Replicated3(), noise=-1.0)
