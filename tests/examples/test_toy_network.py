"""The toy network of the tutorials: two inputs, two hidden units, one output, 20 steps of SGD."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

import jsmpc

DATA = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]])
TARGETS = np.float32([[0], [0], [1], [1]])
START = {  # kernels as PyTorch prints them, a row an output
    "params": {
        "hidden": {
            "kernel": np.float32([[0.0738, -0.2109], [-0.1579, 0.3174]]).T,
            "bias": np.float32([0, 0.1]),
        },
        "output": {"kernel": np.float32([[-0.5368, 0.7050]]).T, "bias": np.float32([-0.0343])},
    }
}
STEPS = 20


class Network(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.Dense(1, name="output")(nn.relu(nn.Dense(2, name="hidden")(x)))


MODEL, OPTIMIZER = Network(), optax.sgd(0.1)


def train(params: Any, data: Any, targets: Any) -> Any:
    """The losses of all steps."""

    def loss(params: Any) -> Any:
        return jnp.sum((MODEL.apply(params, data) - targets) ** 2)

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = OPTIMIZER.update(gradients, state)
        return (optax.apply_updates(params, updates), state), value

    _, losses = jax.lax.scan(step, (params, OPTIMIZER.init(params)), length=STEPS)
    return jsmpc.reveal(losses)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return np.asarray(train(START, DATA, TARGETS))


def worst_difference(encoding: jsmpc.FixedPoint, expected: np.ndarray) -> float:
    """The largest difference of a loss under encryption from plain Flax, in three runs."""
    smpc = jsmpc.Additive(parties=("bob", "alice"), dealer="james", encoding=encoding)
    private = jsmpc.secure(train)
    worst = 0.0
    for seed in range(3):
        sharing, running = jax.random.split(jax.random.key(seed))
        losses = private(running, *jsmpc.share(sharing, (START, DATA, TARGETS), smpc))
        assert isinstance(losses, jax.Array) and losses.shape == (STEPS,)
        worst = max(worst, np.abs(losses - expected).max())
    return worst


def test_the_clear_network_learns(expected: np.ndarray) -> None:
    assert expected[0] == pytest.approx(1.947, abs=1e-3)
    assert expected[-1] < 0.01


def test_the_losses_of_two_protocols_differ_by_truncation(expected: np.ndarray) -> None:
    """SecureNN's comparisons are exact: what differs is the last places of products."""
    found = []
    for smpc in (jsmpc.SecureNN(("bob", "alice"), helper="james"), jsmpc.Replicated3()):
        sharing, running = jax.random.split(jax.random.key(0))
        shares = jsmpc.share(sharing, (START, DATA, TARGETS), smpc)
        found.append(jsmpc.secure(train)(running, *shares))
    np.testing.assert_allclose(found[0], found[1], atol=5e-5)
    np.testing.assert_allclose(found[0], expected, atol=5e-5)


def test_each_decimal_digit_makes_the_losses_more_exact(expected: np.ndarray) -> None:
    two, three, four = (
        worst_difference(jsmpc.FixedPoint(base=10, precision_fractional=p), expected)
        for p in (2, 3, 4)
    )
    assert 0.1 > two > three > four
    assert four < 2e-3


def test_eighteen_bits_are_within_a_thousandth(expected: np.ndarray) -> None:
    assert worst_difference(jsmpc.FixedPoint(), expected) < 1e-4
