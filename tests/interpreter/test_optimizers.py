"""Optax's optimizers on a regression: as float32 with a plan; without one, or a warning why not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from jax import lax

import jsmpc
from jsmpc.testing import InsecurePlain

KEY = jax.random.key(0)
PLAIN = InsecurePlain()
STEPS = 5
INPUTS = np.float32(np.random.default_rng(1).standard_normal((8, 3)))
TARGETS = INPUTS @ np.float32([1.0, -2.0, 0.5])
START = np.float32([0.125, 0.125, -0.125])


def _of_rate(module: Any, rate: float, *names: str) -> dict[str, Callable[[], Any]]:
    """Those that this version has."""
    return {n: lambda n=n: getattr(module, n)(rate) for n in names if hasattr(module, n)}


OPTIMIZERS = {
    **_of_rate(optax, 1e-2, "adabelief", "adafactor", "adagrad", "adam", "adamax", "adamaxw"),
    **_of_rate(optax, 1e-2, "adamw", "adan", "amsgrad", "fromage", "lamb", "lars", "lion", "nadam"),
    **_of_rate(optax, 1e-2, "nadamw", "novograd", "optimistic_adam", "optimistic_adam_v2"),
    **_of_rate(optax, 1e-2, "polyak_sgd", "radam", "rmsprop", "rprop", "sign_sgd", "signum"),
    **_of_rate(optax, 1e-2, "sm3", "yogi"),
    **_of_rate(optax, 1.0, "adadelta", "optimistic_gradient_descent", "sgd"),
    **_of_rate(optax.contrib, 1e-2, "acprop", "ademamix", "adopt", "galore", "madgrad", "muon"),
    **_of_rate(optax.contrib, 1e-2, "momo_adam", "schedule_free_adamw", "sophia"),
    **_of_rate(optax.contrib, 1.0, "cocob", "dadapt_adamw", "dog", "dowg", "momo", "prodigy"),
    **_of_rate(optax.contrib, 1.0, "schedule_free_sgd"),
    "ademamix, simplified": lambda: optax.contrib.simplified_ademamix(1e-3, b1=0.9, alpha=1.0),
    "lbfgs": lambda: optax.lbfgs(0.3, memory_size=3, linesearch=None),
    "momentum": lambda: optax.sgd(10.0, momentum=0.9),
    "noisy_sgd": lambda: optax.noisy_sgd(1.0, eta=1e-4, key=jax.random.key(3)),
    "rmsprop, centered": lambda: optax.rmsprop(1e-2, centered=True, momentum=0.9),
}
VALUED = ("polyak_sgd", "momo", "momo_adam")


def training(name: str, weight: float) -> Callable[..., Any]:
    """Steps from the first state, on a loss of so large a weight."""

    def train(w: Any, x: Any, y: Any) -> Any:
        optimizer = OPTIMIZERS[name]()

        def loss(w: Any) -> Any:
            return weight * jnp.mean((x @ w - y) ** 2)

        def step(state: Any, _: Any) -> Any:
            w, inner = state
            value, gradient = jax.value_and_grad(loss)(w)
            extra = {"value": value} if name in VALUED else {}
            extra |= {"obj_fn": loss} if name == "sophia" else {}
            updates, inner = optimizer.update(gradient, inner, w, **extra)
            return (optax.apply_updates(w, updates), inner), None

        return lax.scan(step, (w, optimizer.init(w)), None, STEPS)[0][0]

    return train


def off(found: Any, exact: Any) -> float:
    """How far parameters are from others, relative to how far these moved."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact - START))


ARGS = START, INPUTS, TARGETS


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_a_plan_it_is_as_in_float32(name: str) -> None:
    """Of gradients so small that their squares have no digits without one."""
    train = training(name, 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jsmpc.EncodingWarning)
        scales = jsmpc.calibrate(train, ARGS, protocol=PLAIN)
        secure = jsmpc.secure(train, scales=scales)
        found = jsmpc.reveal(secure(KEY, *jsmpc.share(KEY, ARGS, PLAIN)))
    assert off(found, jax.jit(train)(*ARGS)) < 0.02


def warned(f: Callable[..., Any], *args: Any) -> tuple[Any, list[str]]:
    """The parameters by secret arguments, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, PLAIN)))
    return found, [str(w.message) for w in caught if w.category is jsmpc.EncodingWarning]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_a_plan_it_is_as_in_float32_or_warns(name: str) -> None:
    """Or it is off by two units in the last place a step, which is much of what LARS moves."""
    train = training(name, 1.0)
    found, said = warned(train, *ARGS)
    exact = jax.jit(train)(*ARGS)
    units = float(abs(found - exact).max()) * PLAIN.encoding.scale
    assert said or off(found, exact) < 0.02 or units < 2 * STEPS


# The first state of an optimizer that estimates its own rate, and starts at 1e-6.


def first_and_steps() -> tuple[Callable[..., Any], Callable[..., Any]]:
    optimizer = optax.contrib.prodigy(1.0)

    def steps(w: Any, state: Any, x: Any, y: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            w, inner = carry
            gradient = jax.grad(lambda w: jnp.mean((x @ w - y) ** 2))(w)
            updates, inner = optimizer.update(gradient, inner, w)
            return (optax.apply_updates(w, updates), inner), None

        return lax.scan(step, (w, state), None, 4 * STEPS)[0]

    return optimizer.init, steps


def test_a_first_state_that_is_shared_is_warned_of() -> None:
    init, steps = first_and_steps()
    with pytest.warns(jsmpc.EncodingWarning, match=r"value at .*estim_lr is rounded to zero"):
        state = jsmpc.share(KEY, init(START), PLAIN)
    w, *data = jsmpc.share(KEY, ARGS, PLAIN)
    scales = jsmpc.calibrate(steps, (START, init(START), *ARGS[1:]), protocol=PLAIN)
    with pytest.warns(jsmpc.EncodingWarning, match=r"\[1\]\.estim_lr .* 18 digits .* needs 25"):
        jsmpc.secure(steps, scales=scales).trace(w, state, *data)


def test_a_first_state_that_is_public_is_warned_of_without_a_plan() -> None:
    init, steps = first_and_steps()
    w, *data = jsmpc.share(KEY, ARGS, PLAIN)
    state = jsmpc.secure(init)(KEY, w)
    with pytest.warns(jsmpc.EncodingWarning, match=r"^scan at .*: a public operand, known when"):
        jsmpc.secure(steps)(KEY, w, state, *data)


def test_a_first_state_is_kept_by_a_plan() -> None:
    """And so is the one after some steps."""
    init, steps = first_and_steps()
    w, *data = jsmpc.share(KEY, ARGS, PLAIN)
    state, exact = jsmpc.secure(init)(KEY, w), (START, init(START))
    for _ in range(2):
        scales = jsmpc.calibrate(steps, (*exact, *ARGS[1:]), protocol=PLAIN)
        w, state = jsmpc.secure(steps, scales=scales)(KEY, w, state, *data)
        exact = jax.jit(steps)(*exact, *ARGS[1:])
    assert off(jsmpc.reveal(w), exact[0]) < 0.02
