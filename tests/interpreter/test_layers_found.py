"""Runs of equal equations are found in a program, and called instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src.jaxprs import compat, layers
from jsmpc._src.jaxprs.layer import layer_p

COUNT = 4


@pytest.fixture(autouse=True)
def small_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LEAST", 4)


def block(x: Any, w: Any) -> Any:
    return jnp.sin(x @ w) * 2 + x


def network(x: Any, weights: Any) -> Any:
    for w in weights:
        x = block(x, w)
    return x


def inputs(size: int = 3, count: int = COUNT) -> tuple[Any, list[Any]]:
    x, *weights = np.random.default_rng(0).standard_normal((count + 1, size, size), np.float32)
    return x, weights


def found(f: Callable[..., Any], *args: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """The calls of layers in a program, its results, and those without layers."""
    closed = jax.make_jaxpr(f)(*args)
    opened, consts = compat.open_jaxpr(closed)
    layered, leaves = layers.layered(opened), jax.tree.leaves(args)
    results = [jax.core.eval_jaxpr(j, consts, *leaves) for j in (layered, opened)]
    return [e for e in layered.eqns if e.primitive is layer_p], *results


def bodies(calls: list[Any]) -> int:
    return len({id(eqn.params["jaxpr"]) for eqn in calls})


def test_equal_layers_are_calls_of_one() -> None:
    calls, results, expected = found(network, *inputs())
    assert len(calls) == COUNT
    assert bodies(calls) == 1
    np.testing.assert_array_equal(results, expected)


def test_gradients_have_layers_of_their_own() -> None:
    def loss(x: Any, weights: Any) -> Any:
        return jnp.sum(network(x, weights) ** 2)

    calls, results, expected = found(jax.grad(loss, argnums=1), *inputs(count=6))
    assert bodies(calls) == 2
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_layers_that_are_calls() -> None:
    step = jax.checkpoint(lambda x, w: jnp.sin(jnp.sin(x @ w)) * 2 + x)

    def program(x: Any, weights: Any) -> Any:
        for w in weights:
            x = step(x, w)
        return x

    calls, results, expected = found(program, *inputs())
    assert [len(eqn.params["jaxpr"].eqns) for eqn in calls] == [1] * COUNT
    assert bodies(calls) == 1
    np.testing.assert_array_equal(results, expected)


def test_what_stands_before_between_and_after_stays() -> None:
    def program(x: Any, weights: Any) -> Any:
        x = network(jnp.cos(x), weights)
        x = jnp.cumsum(x, 0)
        return network(x, weights), x

    calls, results, expected = found(program, *inputs())
    assert len(calls) == 2 * COUNT
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_results_of_any_layer_that_are_read_later() -> None:
    def program(x: Any, weights: Any) -> Any:
        kept = []
        for i, w in enumerate(weights):
            y = jnp.sin(x @ w)
            x = y * 2 + x
            kept += [y] if i == 1 else []
        return x, kept

    calls, results, expected = found(program, *inputs())
    assert len(calls) == COUNT
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_equations_that_repeat_more_than_once_within_a_layer() -> None:
    def program(x: Any, weights: Any) -> Any:
        for w in weights:
            for _ in range(3):
                x = block(x, w)
            x = jnp.cumsum(x, 0)
        return x

    calls, results, expected = found(program, *inputs())
    assert [len(eqn.params["jaxpr"].eqns) > 10 for eqn in calls] == [True] * COUNT
    np.testing.assert_array_equal(results, expected)


def different_factors(x: Any, weights: Any) -> Any:
    for i, w in enumerate(weights):
        x = jnp.sin(x @ w) * (2 + i) + x
    return x


def different_zeros(x: Any, weights: Any) -> Any:
    for w, zero in zip(weights, [0.0, -0.0, 0.0], strict=True):
        x = jnp.sin(x @ w) * np.float32(zero) + x
    return x


def different_parameters(x: Any, weights: Any) -> Any:
    for i, w in enumerate(weights):
        x = jnp.cumsum(jnp.sin(x @ w) + x, i % 2)
    return x


def different_lines(x: Any, weights: Any) -> Any:
    x = jnp.sin(x @ weights[0]) * 2 + x
    x = jnp.sin(x @ weights[1]) * 2 + x
    return jnp.sin(x @ weights[2]) * 2 + x


def different_connections(x: Any, weights: Any) -> Any:
    before = x
    for i, w in enumerate(weights):
        x, before = jnp.sin(x @ w) * 2 + (x, before)[i % 2], x
    return x


def different_shapes(x: Any, weights: Any) -> Any:
    for _ in weights:
        x = jnp.sin(jnp.sin(jnp.concatenate([x, x[:1]])) * 2)
    return x


def revealing(x: Any, weights: Any) -> Any:
    for w in weights:
        x = jsmpc.reveal(jnp.sin(x @ w)) * 2 + x
    return x


DIFFERENT = [different_factors, different_zeros, different_parameters, different_lines]
DIFFERENT += [different_connections, different_shapes, revealing]


@pytest.mark.parametrize("f", DIFFERENT, ids=lambda f: f.__name__)
def test_what_differs_is_not_called(f: Any) -> None:
    calls, results, expected = found(f, *inputs(count=3))  # of four, every other one is equal
    assert not calls
    np.testing.assert_array_equal(results, expected)


def test_few_equations_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LEAST", 40)
    assert not found(network, *inputs())[0]
