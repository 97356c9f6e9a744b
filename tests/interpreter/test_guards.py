"""What guards a quotient against zero still does when the encoding rounds it to zero."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import jsmpc

KEY = np.arange(8, dtype=np.uint32)
PLAIN = jsmpc.testing.InsecurePlain()
ULP = 2.0**-18
ROOT = 2.0**-9  # of one ulp


def computed(f, *secrets, smpc=PLAIN):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", jsmpc.EncodingWarning)
        shares = jsmpc.share(jax.random.key(1), secrets, smpc)
        return jax.tree.map(np.asarray, jsmpc.reveal(jsmpc.secure(f)(KEY, *shares)))


def first_step(optimizer):
    def step(params, gradient):
        updates, _ = optimizer.update(gradient, optimizer.init(params), params)
        return updates

    return step


@pytest.mark.parametrize("smpc", [PLAIN, jsmpc.Replicated3(), jsmpc.Additive()])
def test_adam_with_small_gradients_takes_no_giant_step(smpc):
    """Its second moment is below one ulp: the step may be too large by 1/√ulp, but no more."""
    gradient = jnp.asarray([0.03, -0.03, 0.004, 0.0])
    step = computed(first_step(optax.adam(1e-3)), jnp.ones(4), gradient, smpc=smpc)
    limit = 1e-3 * abs(np.asarray(gradient)) / ROOT * 1.01 + 4 * ULP
    assert (abs(step) <= limit).all() and step[0] < 0 < step[1]


def test_the_remedy_gives_the_right_step():
    optimizer = optax.chain(optax.scale(1e3), optax.adam(1e-3))
    step = computed(first_step(optimizer), jnp.ones(2), jnp.asarray([0.03, -0.004]))
    np.testing.assert_allclose(step, [-1e-3, 1e-3], rtol=0.01)


def test_the_warning_names_line_and_remedy():
    shares = jsmpc.share(jax.random.key(1), (jnp.ones(2), jnp.full(2, 0.03)), PLAIN)
    with pytest.warns(
        jsmpc.EncodingWarning,
        match=r"add at .*transform.*\.py:\d+.* 1e-08 is rounded .*above 0\.002.*jsmpc.calibrate",
    ):
        jsmpc.secure(first_step(optax.adam(1e-3)))(KEY, *shares)


QUOTIENTS = {
    "plus": (lambda x, v: x / (jnp.sqrt(v) + 1e-8), ROOT),
    "plus, guard first": (lambda x, v: x / (1e-5 + lax.sqrt(v)), ROOT + 3 * ULP),
    "maximum": (lambda x, v: x / jnp.maximum(jnp.sqrt(v), 1e-12), ROOT),
    "in a call": (jax.jit(lambda x, v: x / (jnp.sqrt(v) + 1e-8)), ROOT),
    "reciprocal": (lambda x, v: x * (1 / (jnp.sqrt(v) + 1e-8)), ROOT),
    "under the root": (lambda x, v: x * lax.rsqrt(v + 1e-8), ROOT),
    "no root": (lambda x, v: x / (v + 1e-8), ULP),
    "a guard that holds": (lambda x, v: x / (jnp.sqrt(v) + 0.01), 2621 * ULP),
}


@pytest.mark.parametrize("name", QUOTIENTS)
def test_zero_counts_as_one_unit_in_the_last_place(name):
    f, divisor = QUOTIENTS[name]
    x = np.array([0.25, -0.5, 0.0], np.float32)
    ours = computed(f, x, np.zeros(3, np.float32))
    np.testing.assert_allclose(ours, x / divisor, rtol=1e-4)
    v = np.array([0.25, 1.0, 9.0], np.float32)
    np.testing.assert_allclose(computed(f, x, v), f(x, v), rtol=1e-4, atol=2 * ULP)


def test_a_root_that_is_not_a_guarded_divisor_is_zero_at_zero():
    def f(v):
        root = jnp.sqrt(v)
        return root + 1e-8, 1 / (root + 1e-8), (jnp.sqrt(v) + 1e-8) / 2

    plain, quotient, half = computed(f, np.zeros(2, np.float32))
    np.testing.assert_array_equal((plain, half), 0)
    np.testing.assert_allclose(quotient, 1 / ULP)


def test_a_public_root_is_that_of_jax():
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    f = jsmpc.secure(lambda x, v: x / (jnp.sqrt(v) + 0.5))
    np.testing.assert_allclose(jsmpc.reveal(f(KEY, x, jnp.asarray([0.0, 2.25]))), [2, 0.5])
    batched = jax.vmap(f, in_axes=(None, 1, 0), out_axes=1)
    pair = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    np.testing.assert_allclose(jsmpc.reveal(batched(KEY, pair, jnp.asarray([0.0, 2.25]))), [2, 0.5])
