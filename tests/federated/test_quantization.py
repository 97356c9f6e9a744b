"""Quantization: exact sums, within the stated error; and no wrap that was not seen before."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc.federated import Quantization, UpdateError

RNG = np.random.default_rng(0)
UPDATES = RNG.uniform(-2, 2, (7, 300))
WEIGHTS = RNG.integers(1, 30, 7)
MEAN = WEIGHTS @ UPDATES / WEIGHTS.sum()


def mean_of(rule: Quantization, **options: Any) -> np.ndarray:
    ring = rule.ring_for(7)
    encoded = [
        rule.encode(x, int(w), ring=ring, **options) for x, w in zip(UPDATES, WEIGHTS, strict=True)
    ]
    assert {e.words.dtype for e in encoded} == {np.dtype(f"uint{ring}")}
    mean, weight = rule.decode(sum(e.words for e in encoded))
    assert weight == WEIGHTS.sum()
    return mean


@pytest.mark.parametrize("bits", [8, 16, 24])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_the_mean_is_within_the_stated_error(bits: int, rounding: Any) -> None:
    rule = Quantization(clip=2.0, bits=bits, most_weight=30, rounding=rounding)
    error = np.abs(mean_of(rule) - MEAN).max()
    assert 0.01 * rule.error < error <= rule.error * (1 + 1e-9)


def test_sums_are_exact() -> None:
    rule = Quantization(clip=2.0, bits=20, most_weight=30)
    rounded = np.rint(UPDATES / rule.unit).astype(np.int64)
    np.testing.assert_array_equal(mean_of(rule), WEIGHTS @ rounded * (rule.unit / WEIGHTS.sum()))


def test_stochastic_rounding_is_right_on_average() -> None:
    rule = Quantization(clip=1.0, bits=4, rounding="stochastic")
    x = np.full(40_000, 0.3 * rule.unit)
    words = rule.encode(x, 1, ring=32).words[:-1]
    assert set(words.tolist()) == {0, 1}
    assert abs(words.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / x.size)


def test_the_ends_of_the_range_fit_exactly() -> None:
    # 15 clients · 2^10 · (2^17 − 1) is just below 2^31, and 16 are above
    rule = Quantization(clip=1.0, bits=18, most_weight=1 << 10)
    assert [rule.ring_for(n) for n in (15, 16, 17)] == [32, 32, 64]
    assert rule.largest_sum(16) < 1 << 31 <= rule.largest_sum(17)
    for sign in (-1.0, 1.0):
        one = rule.encode(np.full(3, sign), 1 << 10, ring=32).words
        mean, weight = rule.decode(np.sum([one] * 16, axis=0, dtype=np.uint32))
        assert (mean == sign).all() and weight == 1 << 14


def test_room_for_noise_is_part_of_the_check() -> None:
    rule = Quantization(clip=1.0, bits=16, room=1000)
    free = (1 << 31) - 1 - 100 * rule.levels
    assert Quantization(clip=1.0, bits=16, room=free // 100).ring_for(100) == 32
    assert Quantization(clip=1.0, bits=16, room=free // 100 + 1).ring_for(100) == 64
    noise = RNG.integers(-1000, 1001, 300)
    x = UPDATES[0] / 2
    plain, noisy = (rule.encode(x, 1, ring=32, noise=n).words for n in (None, noise))
    np.testing.assert_array_equal((noisy - plain).view(np.int32), np.append(noise, 0))
    for bad in (noise + 1001, noise[:-1], noise * 1.0):
        with pytest.raises(UpdateError, match="noise"):
            rule.encode(x, 1, ring=32, noise=bad)


def test_sums_that_might_wrap_are_an_error_when_it_is_set_up() -> None:
    with pytest.raises(jsmpc.FederatedError, match=r"need 34 bits, and the ring has 32\. Take few"):
        Quantization(clip=1.0, bits=24, most_weight=10, ring=32).ring_for(100)
    with pytest.raises(jsmpc.FederatedError, match="smaller most_weight"):
        Quantization(clip=1.0, bits=32, most_weight=1 << 30).ring_for(100)
    assert Quantization(clip=1.0, bits=8, ring=64).ring_for(2) == 64


@pytest.mark.parametrize(
    "x, weight, reason",
    [
        (np.array([0.0, np.nan]), 1, "not finite"),
        (np.array([0.0, -np.inf]), 1, "not finite"),
        (np.array([0.0, 1.0 + 1e-9]), 1, "beyond the clip"),
        (np.zeros((2, 2)), 1, "wrong shape or dtype"),
        (np.zeros(2, np.int32), 1, "wrong shape or dtype"),
        (np.zeros(2), 0, "weight out of range"),
        (np.zeros(2), 51, "weight out of range"),
        (np.zeros(2), 1.0, "weight out of range"),
        (np.zeros(2), True, "weight out of range"),
    ],
)
def test_what_cannot_be_encoded(x: Any, weight: Any, reason: str) -> None:
    with pytest.raises(UpdateError) as caught:
        Quantization(clip=1.0, most_weight=50).encode(x, weight, ring=32)
    assert caught.value.reason == reason
    assert "51" not in str(caught.value)  # no weight, no coordinate


def test_clipping_is_counted() -> None:
    rule = Quantization(clip=1.0, beyond="clip")
    words, clipped = rule.encode(np.array([2.0, -9.0, 1.0, 0.5]), 1, ring=32)
    assert clipped == 2
    mean, _ = rule.decode(words)
    assert mean[:3].tolist() == [1.0, -1.0, 1.0]


def test_floats_of_all_widths() -> None:
    rule = Quantization(clip=1.0)
    for dtype in (jnp.bfloat16, np.float16, np.float32, np.float64):
        words = rule.encode(np.array([0.5, -0.25]).astype(dtype), 1, ring=32).words
        np.testing.assert_allclose(rule.decode(words)[0], [0.5, -0.25], atol=rule.error)


@pytest.mark.parametrize(
    "options",
    [
        {"clip": 0.0},
        {"clip": np.inf},
        {"bits": 1},
        {"bits": 33},
        {"most_weight": 0},
        {"room": -1},
        {"rounding": "up"},
        {"beyond": "ignore"},
        {"ring": 16},
    ],
)
def test_what_is_no_quantization(options: Any) -> None:
    with pytest.raises(jsmpc.FederatedError, match="quantization: "):
        Quantization(**{"clip": 1.0, **options})


def test_no_weight_has_no_mean() -> None:
    with pytest.raises(jsmpc.FederatedError, match="sum of weights is not positive"):
        Quantization(clip=1.0).decode(np.zeros(3, np.uint32))
