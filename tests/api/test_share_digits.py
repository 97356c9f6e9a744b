"""Shares whose numbers have digits of their own: what functions with a plan return."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc

SMPC = jsmpc.testing.InsecurePlain()
SMALL = np.float32([1e-6, -3e-6, 2.5e-6])


def square(x: Any) -> Any:
    return x * x


@pytest.fixture(scope="module")
def squares() -> jsmpc.Share:
    scales = jsmpc.calibrate(square, (jnp.asarray(1e3 * SMALL),), protocol=SMPC)
    x = jsmpc.share(jax.random.key(0), 1e3 * SMALL, SMPC)
    return jsmpc.secure(square, scales=scales)(jax.random.key(1), x)


def close(x: jsmpc.Share, expected: Any) -> None:
    np.testing.assert_allclose(jsmpc.reveal(x), expected, rtol=1e-2)


def test_a_plan_keeps_what_the_encoding_rounds_away(squares: jsmpc.Share) -> None:
    assert squares.digits is not None and squares.digits > 30
    close(squares, (1e3 * SMALL) ** 2)
    assert jsmpc.reveal(squares, to=0).shape == (3,)


def test_they_are_kept_at_rest(squares: jsmpc.Share, tmp_path: Path) -> None:
    jsmpc.save(squares, tmp_path / "x")
    state = flax.serialization.to_state_dict({"x": squares})
    for x in (
        pickle.loads(pickle.dumps(squares)),
        copy.deepcopy(squares),
        jax.tree.map(lambda w: w, squares),
        jsmpc.load(tmp_path / "x", SMPC),
        jsmpc.from_arrays(jsmpc.to_arrays(squares), SMPC),
        flax.serialization.from_state_dict({"x": squares}, state)["x"],
    ):
        assert x.digits == squares.digits
        close(x, (1e3 * SMALL) ** 2)


def test_functions_take_them_with_others_and_without_a_plan(squares: jsmpc.Share) -> None:
    one = jsmpc.share(jax.random.key(2), np.ones(3, np.float32), SMPC)
    root, total = jsmpc.secure(lambda x, y: (jnp.sqrt(x), x + y))(jax.random.key(3), squares, one)
    close(root, np.abs(1e3 * SMALL))
    assert total.digits is None
    close(total, 1)


def test_a_sum_of_leaves_outside_is_refused(squares: jsmpc.Share) -> None:
    one = jsmpc.share(jax.random.key(2), np.ones(3, np.float32), SMPC)
    with pytest.raises(ValueError, match=r"digits|[Mm]ismatch|pytree"):
        jax.tree.map(lambda a, b: a, squares, one)
