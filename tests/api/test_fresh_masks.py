"""Every run, and every element of a vmap at any level, has masks of its own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = jax.random.key(3)
SMPC = jsmpc.Replicated3()
SAME = np.ones((4, 3, 2), np.float32)


def all_different(share):
    words = np.asarray(share.components[0]).ravel()
    return np.unique(words).size == words.size


def square(x):
    return x * x


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("jitted", [False, True])
def test_nested_vmap_of_a_secure_function(levels, jitted):
    f = jsmpc.secure(square)
    for _ in range(levels):
        f = jax.vmap(f, in_axes=(None, 1), out_axes=1)
    out = (jax.jit(f) if jitted else f)(KEY, jsmpc.share(KEY, SAME, SMPC))
    assert all_different(out)
    np.testing.assert_allclose(jsmpc.reveal(out), SAME, atol=1e-4)


def test_a_key_for_each_element_at_one_level_and_one_for_all_at_the_other():
    keys = jax.random.split(KEY, 4)
    inner = jax.vmap(jsmpc.secure(square), in_axes=(None, 1), out_axes=1)
    outer = jax.vmap(inner, in_axes=(0, 1), out_axes=1)
    out = outer(keys, jsmpc.share(KEY, SAME, SMPC))
    assert all_different(out)
    crossed = jax.vmap(
        jax.vmap(jsmpc.secure(square), in_axes=(0, 1), out_axes=1), in_axes=(None, 1), out_axes=1
    )
    assert all_different(crossed(keys[:3], jsmpc.share(KEY, SAME, SMPC)))


@pytest.mark.parametrize("levels", [1, 2])
def test_vmap_of_share_with_one_key(levels):
    def f(key, x):
        return jsmpc.share(key, x, SMPC)

    for _ in range(levels):
        f = jax.vmap(f, in_axes=(None, 0), out_axes=1)
    out = f(KEY, SAME)
    assert all_different(out)
    np.testing.assert_allclose(jsmpc.reveal(out), SAME, atol=1e-5)
    closed_over = jax.vmap(lambda x: jsmpc.share(KEY, x, SMPC), out_axes=1)(SAME)
    assert all_different(closed_over)


def test_vmap_of_offline_is_refused():
    x = jsmpc.share(KEY, SAME, jsmpc.Additive())
    with pytest.raises(jsmpc.MaterialError, match="inside of a transformation"):
        jax.vmap(lambda x: jsmpc.secure(square).offline(KEY, x), in_axes=1)(x)


def test_random_key_inside_of_a_transformation_is_refused():
    uses = (
        lambda: jax.jit(jsmpc.random_key)(),
        lambda: jax.vmap(lambda _: jsmpc.random_key())(jnp.arange(2)),
        lambda: lax.scan(lambda c, _: (c, jsmpc.random_key()), 0, None, length=2),
        lambda: lax.fori_loop(0, 2, lambda i, k: jsmpc.random_key(), jsmpc.random_key()),
        lambda: jsmpc.secure(lambda x: jsmpc.random_key())(KEY, jsmpc.share(KEY, SAME, SMPC)),
        lambda: jax.make_jaxpr(jsmpc.random_key)(),
    )
    for use in uses:
        with pytest.raises(jsmpc.KeyFormatError, match="pass the key as an argument"):
            use()
    assert not np.array_equal(jsmpc.random_key(), jsmpc.random_key())


def test_a_key_that_is_a_constant_of_a_program_is_refused():
    x, secure = jsmpc.share(KEY, SAME, SMPC), jsmpc.secure(square)
    key = jsmpc.random_key()

    def scanned(use):
        return lambda key: lax.scan(lambda c, v: (use(key, c), None), x, jnp.arange(2))[0]

    uses = (
        jax.jit(lambda x: secure(KEY, x)),
        jax.jit(lambda x: secure(key, x)),
        jax.jit(lambda x: jsmpc.share(key, jsmpc.reveal(x), SMPC)),
        jax.jit(lambda x: secure.offline(key, x)),
        lambda x: scanned(secure)(key),
        lambda x: jax.jit(scanned(secure))(key),
        lambda x: jax.jit(lambda key: jax.jit(lambda x: secure(key, x))(x))(key),
        lambda x: lax.while_loop(lambda x: True, lambda x: secure(KEY, x), x),
    )
    for use in uses:
        with pytest.raises(jsmpc.KeyFormatError, match="constant of a jitted function"):
            use(x)


def test_keys_that_are_arguments_and_keys_made_of_them_are_accepted():
    x, secure = jsmpc.share(KEY, SAME[0], SMPC), jsmpc.secure(square)
    keys = jax.random.split(KEY, 2)
    results = (
        jax.jit(secure)(KEY, x),
        jax.jit(lambda k, x: secure(jax.random.fold_in(k, 1), x))(KEY, x),
        lax.scan(lambda c, k: (secure(k, c), None), x, keys)[0],
        lax.fori_loop(0, 2, lambda i, c: secure(jax.random.fold_in(KEY, i), c), x),
        jax.jit(jax.vmap(secure, in_axes=(None, 1), out_axes=1))(KEY, x),
        jax.vmap(jax.jit(secure), in_axes=(None, 1), out_axes=1)(KEY, x),
    )
    for out in results:
        np.testing.assert_allclose(jsmpc.reveal(out), SAME[0], atol=1e-4)
    jax.jit(secure).lower(jsmpc.random_key(), x)


def test_jax_checks_the_reuse_of_keys_where_that_is_on():
    x, secure = jsmpc.share(KEY, SAME[0], SMPC), jsmpc.secure(square)
    with jax.debug_key_reuse(True):
        key = jax.random.key(5)
        secure(key, x)
        with pytest.raises(jax.errors.KeyReuseError):
            jsmpc.share(key, SAME, SMPC)
        first, second = jax.random.split(jax.random.key(6))
        secure(first, x), jsmpc.share(second, SAME, SMPC)
