"""A public operand that does not fit is never silent: raised at once, or when revealed."""

from __future__ import annotations

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = jax.random.key(1)
SMPC = jsmpc.Replicated3()
X = np.float32([1.0, -2.0])
BAD = [np.nan, -1e30]  # infinity is a mask, in sums


@pytest.fixture(scope="module")
def x():
    return jsmpc.share(KEY, X, SMPC)


secure = jsmpc.secure(lambda v, w: v + w)
jitted = jax.jit(secure)
later = "earlier computation was NaN"


@pytest.mark.parametrize("bad", BAD)
def test_under_jit_revealing_raises(x, bad):
    good, out = jitted(KEY, x, 1.0), jitted(KEY, x, bad)
    np.testing.assert_allclose(jsmpc.reveal(good), X + 1, atol=1e-4)
    for use in (jsmpc.reveal, lambda s: jsmpc.reveal(s, to=1), lambda s: secure(KEY, s, 1.0)):
        with pytest.raises(jsmpc.EncodingError, match=later):
            use(out)
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal({"a": good, "b": out})
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(jitted(KEY, jitted(KEY, out, 1.0), 2.0))
    with pytest.raises(jsmpc.EncodingError, match=r"add at .*test_public_faults"):
        secure(KEY, x, bad)


def test_in_a_scan_it_is_kept_to_the_end(x):
    def run(rates):
        keys = jax.random.split(KEY, rates.shape[0])
        return lax.scan(lambda c, s: (secure(s[0], c, s[1]), None), x, (keys, rates))[0]

    np.testing.assert_allclose(jsmpc.reveal(run(jnp.ones(3))), X + 3, atol=1e-4)
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(run(jnp.asarray([1.0, jnp.nan, 1.0])))


def test_under_vmap_each_element_for_itself(x):
    mapped = jax.vmap(secure, in_axes=(None, None, 0), out_axes=1)
    out = mapped(KEY, x, jnp.asarray([1.0, jnp.nan, 3.0]))
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(out)
    np.testing.assert_allclose(jsmpc.reveal(mapped(KEY, x, jnp.arange(3.0)))[2], X + 2, atol=1e-4)


def test_plain_results_become_nan(x):
    f = jax.jit(lambda k, s, w: jsmpc.reveal(secure(k, s, w)))
    assert np.isnan(f(KEY, x, np.nan)).all() and np.isfinite(f(KEY, x, 1.0)).all()
    revealed = jax.jit(jsmpc.secure(lambda v, w: jsmpc.reveal(v + w)))
    assert np.isnan(revealed(KEY, x, np.nan)).all()


@pytest.mark.parametrize(
    "value", [np.float32([0, np.nan]), np.float32([1e30, 0]), np.bool_([0, 1])]
)
def test_share_under_jit(value):
    shared = jax.jit(lambda k, v: jsmpc.share(k, {"a": v, "b": jnp.ones(2)}, SMPC))(KEY, value)
    np.testing.assert_allclose(jsmpc.reveal(shared["b"]), np.ones(2), atol=1e-5)
    if value.dtype == bool:
        np.testing.assert_array_equal(jsmpc.reveal(shared["a"]), value)
        return
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(shared["a"])
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(jax.tree.map(lambda w: w[:, 1:], shared["a"]))
    with pytest.raises(jsmpc.EncodingError, match=later):
        jsmpc.reveal(pickle.loads(pickle.dumps(shared["a"])))


def test_constants_are_shared_under_jit():
    f = jax.jit(lambda k: jsmpc.share(k, {"a": 1.5, "b": np.int32([3]), "c": True}, SMPC))
    assert jax.tree.map(np.ravel, jsmpc.reveal(f(KEY))) == {"a": [1.5], "b": [3], "c": [True]}
    with pytest.raises(jsmpc.EncodingError, match="NaN at index"):
        jax.jit(lambda k: jsmpc.share(k, np.nan, SMPC))(KEY)


def test_errors_print_no_value():
    secret = 123456.789e25
    for use in (
        lambda: jsmpc.share(KEY, np.float32([secret]), SMPC),
        lambda: jsmpc.share(np.full(3, secret), KEY, SMPC),
        lambda: jsmpc.share(KEY, X, np.full(3, secret)),
        lambda: jsmpc.secure(lambda v, w: v)(KEY, jsmpc.share(KEY, X, SMPC), {"k": str(secret)}),
        lambda: jsmpc.secure(np.full(3, secret)),
        lambda: jsmpc.secure(lambda v: v).online(np.full(3, secret), X),
    ):
        with pytest.raises((jsmpc.JsmpcError, TypeError)) as caught:
            use()
        assert "123456" not in str(caught.value) and "1.23456" not in str(caught.value)
