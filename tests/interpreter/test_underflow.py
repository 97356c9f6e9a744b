"""Numbers that the encoding rounds to zero, or keeps few digits of: where that is a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from jsmpc.testing import InsecurePlain

KEY = jax.random.key(0)
PLAIN = InsecurePlain()
X = np.float32([0.5, -2.0])
LOST = np.float32([1e-7, 0.0])


def run(f: Callable[..., Any], x: Any, *public: Any, smpc: Any = PLAIN, **options: Any) -> Any:
    return jsmpc.reveal(jsmpc.secure(f, **options)(KEY, jsmpc.share(KEY, x, smpc), *public))


# Public operands that are known when the function runs.

OPERANDS: dict[str, tuple[Callable[..., Any], str]] = {
    "sum": (lambda x, y: x + y, "add"),
    "difference": (lambda x, y: x - y, "sub"),
    "maximum": (lambda x, y: jnp.maximum(x, y), "max"),
    "case": (lambda x, y: jnp.where(x > 0, x, y), "select_n"),
    "loop's first": (lambda x, y: lax.fori_loop(0, 2, lambda _, c: c + x, y), "scan"),
    "in a loop": (lambda x, y: lax.fori_loop(0, 2, lambda _, c: c + y, x), "add"),
    "in a loop that stops": (
        lambda x, y: lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] + y), (0, x))[1],
        "add",
    ),
    "in a branch": (lambda x, y: lax.cond(y[1] == 0, lambda: x + y, lambda: x), "add"),
    "in a call": (jax.jit(lambda x, y: x * (x + y)), "add"),
}


@pytest.mark.parametrize("name", OPERANDS)
def test_a_public_operand_that_is_lost_is_warned_of(name: str) -> None:
    f, primitive = OPERANDS[name]
    said = rf"^{primitive} at .*test_underflow.py:\d+.*: a public operand, .* is rounded to zero"
    with pytest.warns(jsmpc.EncodingWarning, match=said + ".*works is 1.91e-06.*jsmpc.calibrate"):
        run(f, X, LOST)
    run(f, X, np.float32([1e-7, 1.0]))  # small beside another is no matter
    run(f, X, np.zeros(2, np.float32))


def test_parties_find_it_too() -> None:
    with pytest.warns(jsmpc.EncodingWarning, match=r"^add at .* is rounded to zero"):
        run(lambda x, y: x + y, X, LOST, smpc=jsmpc.Replicated3())


def test_a_branch_that_is_not_taken_loses_nothing() -> None:
    f = lambda x, y: lax.cond(y[1] == 0, lambda: x, lambda: x + y)  # noqa: E731
    run(f, X, LOST)


def test_small_factors_are_not_lost() -> None:
    x = np.float32([5e5, -2e6])
    np.testing.assert_allclose(run(lambda x, y: x * y, x, LOST), x * LOST, atol=8e-6)
    np.testing.assert_allclose(run(lambda x, y: x / y, x, 1 / LOST[:1]), x * 1e-7, atol=8e-6)


def test_what_is_lost_is_no_error_where_it_cannot_be_warned_of() -> None:
    secure = jsmpc.secure(lambda x, y: x + y)
    x = jsmpc.share(KEY, X, PLAIN)
    np.testing.assert_array_equal(jsmpc.reveal(jax.jit(secure)(KEY, x, LOST)), X)


# Loops that begin with a small number.


def grown(first: float) -> Callable[..., Any]:
    return lambda x: lax.fori_loop(0, 3, lambda _, c: c * 2 * x * x, jnp.full(2, first))


def test_a_loop_that_begins_with_few_digits_is_warned_of() -> None:
    begins = r"^scan at .*test_underflow.py:\d+.*: the loop begins with "
    with pytest.warns(jsmpc.EncodingWarning, match=begins + r"0\.0001, .* 32 units.*0\.00012 or"):
        run(grown(1e-4), X)
    with pytest.warns(jsmpc.EncodingWarning, match=begins + "a public operand, known when"):
        run(lambda x, y: lax.fori_loop(0, 3, lambda _, c: c * x, y), X, np.float32([1e-4, 0]))
    run(grown(2.0**-14), X)  # sixteen units, and no digit lost
    run(grown(1e-3), X)
    run(lambda x: lax.fori_loop(0, 3, lambda _, c: c + 1.0, jnp.float32(1e-4)) * x, X)  # public
    scales = jsmpc.calibrate(grown(1e-4), (X,), protocol=PLAIN)
    np.testing.assert_allclose(run(grown(1e-4), X, scales=scales), grown(1e-4)(X), rtol=1e-4)


# What is shared.


@pytest.mark.parametrize("value", [1e-7, LOST, np.float64(1e-9)])
def test_an_array_all_of_which_is_lost_is_warned_of(value: Any) -> None:
    with pytest.warns(jsmpc.EncodingWarning, match=r"^the value at \['w'\] is rounded .*1.91e-06"):
        jsmpc.share(KEY, {"v": X, "w": value}, PLAIN)


def test_other_values_are_shared_without_a_warning() -> None:
    zero, empty = np.zeros(2, np.float32), np.zeros(0, np.float32)
    jsmpc.share(KEY, (zero, empty, np.float32([1e-7, 1]), np.int32([0, 1]), True, 2e-6), PLAIN)
    jax.jit(lambda key, v: jsmpc.share(key, v, PLAIN))(KEY, LOST)


# What a plan takes.


def squares(x: Any, y: Any) -> Any:
    return jnp.sqrt(jnp.sum(x * x)) + y


SMALL = np.float32([4e-5, -2e-5])


@pytest.fixture(scope="module")
def plan() -> jsmpc.Scales:
    return jsmpc.calibrate(squares, (SMALL, X), (SMALL / 8, 0 * X), protocol=PLAIN)


def test_an_argument_of_few_digits_is_warned_of(plan: jsmpc.Scales, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    loaded = jsmpc.Scales.load(tmp_path / "plan")
    assert loaded.needed == plan.needed == (20, 4)
    x, y = jsmpc.share(KEY, (SMALL, X), PLAIN)
    for scales in (plan, loaded):
        with pytest.warns(jsmpc.EncodingWarning, match=r"^argument \[0\] is shared with 18.* 20:"):
            jsmpc.secure(squares, scales=scales).trace(x, y)


def test_an_argument_with_its_digits_is_not(plan: jsmpc.Scales) -> None:
    """As the result of a plan, or public."""
    x, y = jsmpc.share(KEY, (X * 1e-2, X), PLAIN)
    scales = jsmpc.calibrate(lambda x: x * 2e-3, (X * 1e-2,), protocol=PLAIN)
    fine = jsmpc.secure(lambda x: x * 2e-3, scales=scales)(KEY, x)
    assert fine.digits is not None and fine.digits > 20
    exact = squares(X * 2e-5, X)
    for given in (fine, jnp.asarray(X * 2e-5)):
        found = jsmpc.secure(squares, scales=plan)(KEY, given, y)
        np.testing.assert_allclose(jsmpc.reveal(found), exact, atol=8e-6)


def test_infinity_zero_and_integers_need_no_digits() -> None:
    samples = np.float32(np.inf), np.float32(0), np.int32(3), np.float32(2.0**-13), SMALL
    scales = jsmpc.calibrate(lambda *x: x[3] + x[1], samples)
    assert scales.needed == (None, None, None, 18, 20)


def test_a_plan_without_what_arguments_need_is_loaded(plan: jsmpc.Scales, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan")
    data = json.loads((tmp_path / "plan").read_text())
    del data["needed"]
    (tmp_path / "plan").write_text(json.dumps(data))
    older = jsmpc.Scales.load(tmp_path / "plan")
    assert older.plan == plan.plan and not older.needed
    jsmpc.secure(squares, scales=older).trace(*jsmpc.share(KEY, (SMALL, X), PLAIN))
