"""A function through the interpreter, in one phase and in two: the same shares."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import protocol

pytestmark = pytest.mark.usefixtures("x64")


def user_function(x: Any, w: Any, label: Any) -> Any:
    hidden = jax.nn.relu(x @ w)

    def step(carry: Any, row: Any) -> Any:
        carry = carry * 0.5 + jnp.maximum(row, carry)
        return carry, carry > 1.0

    total, above = lax.scan(step, jnp.zeros(w.shape[1]), hidden)
    picked = lax.cond(label[0] > 3, lambda v: v * v, lambda v: v - 1.0, total)
    return hidden, above, picked, (jnp.argmax(hidden, -1) == label).sum()


def user_arguments(name: str, bits: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(4)
    values = (
        rng.normal(size=(4, 6)).astype(np.float32),
        rng.normal(size=(6, 5)).astype(np.float32),
        np.array([1, 0, 4, 2], np.int32),
    )
    key = jax.random.key(17)
    return jsmpc.share(key, values, protocol(name, bits)), values


@pytest.mark.parametrize(
    ("name", "bits"), [("replicated3", 64), ("additive2", 32), ("securenn2", 64), ("fss22", 64)]
)
def test_two_phases_give_what_one_gives(name: str, bits: int) -> None:
    (shares, values), f = user_arguments(name, bits), jsmpc.secure(user_function)
    key = jax.random.key(23)
    together = f(key, *shares)
    material = f.offline(key, *shares)
    apart = f.online(material, *shares)
    for one, two in zip(together, apart, strict=True):
        np.testing.assert_array_equal(one.components[0], two.components[0])
    hidden, above, picked, correct = jsmpc.reveal(together)
    plain = user_function(*map(jnp.asarray, values))
    step = 2.0 ** (-18 if bits == 64 else -10)
    np.testing.assert_allclose(hidden, plain[0], atol=20 * step)
    np.testing.assert_array_equal(above, plain[1])
    np.testing.assert_allclose(picked, plain[2], atol=60 * step)
    assert int(correct) == int(plain[3])
