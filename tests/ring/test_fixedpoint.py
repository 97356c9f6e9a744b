"""Fixed-point encoding in base 2 and base 10, and what importing the package leaves alone."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest

import jsmpc
from jsmpc._src.ring.ring import Ring

KEY = jax.random.key(1)


def encode(x, encoding, bits=64):
    ring = Ring(bits)
    return encoding.resolve(ring).encode(np.asarray(x, np.float64), ring).view(ring.signed)


def test_base_ten_is_that_of_the_tutorials():
    assert encode(0.123, jsmpc.FixedPoint(base=10, precision_fractional=2)) == 12
    assert encode(0.1235, jsmpc.FixedPoint(base=10)) == 124
    assert encode(-3.5, jsmpc.FixedPoint(base=10)) == -3500


@pytest.mark.parametrize(("bits", "fraction"), [(64, 18), (32, 10)])
def test_defaults_of_base_two(bits, fraction):
    smpc = jsmpc.Replicated3(bits=bits)
    assert smpc.encoding.precision_fractional == fraction
    assert smpc.encoding.scale == 1 << fraction
    assert encode(1.0, jsmpc.FixedPoint(), bits) == 1 << fraction


def test_rounds_to_nearest():
    unit = 1 / (1 << 18)
    values = np.array([0.49, 0.51, -0.49, -0.51, 1.49, -1.51]) * unit
    np.testing.assert_array_equal(encode(values, jsmpc.FixedPoint()), [0, 1, 0, -1, 1, -2])


@pytest.mark.parametrize(
    "smpc",
    [
        jsmpc.testing.InsecurePlain(),
        jsmpc.Additive(3, bits=32),
        jsmpc.Replicated3(encoding=jsmpc.FixedPoint(10, 4)),
    ],
)
def test_sharing_and_revealing_is_exact_to_half_a_unit(smpc):
    limit = smpc.encoding.limit(smpc.ring) * (1 - 2**-40)
    with jax.enable_x64(True):
        values = np.array([0, 1, -1, 0.3, -2.7, limit, -limit, limit / 3, 1e-9])
        back = np.asarray(jsmpc.reveal(jsmpc.share(KEY, values, smpc)))
    np.testing.assert_allclose(back, values, rtol=1e-15, atol=0.5 / smpc.encoding.scale)
    with pytest.raises(jsmpc.EncodingError):
        jsmpc.share(KEY, np.float32(limit * 1.01), smpc)


def test_integers_and_booleans_keep_their_values_and_types():
    tree = {"i": np.array([-7, 0, 2**30 - 1], np.int32), "b": np.array([True, False])}
    back = jsmpc.reveal(jsmpc.share(KEY, tree, jsmpc.Additive(bits=32)))
    for name, value in tree.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_limits_are_refused_or_compared_rightly(bits):
    smpc = jsmpc.Replicated3(bits=bits)
    limit = smpc.encoding.limit(smpc.ring)
    try:
        share = jsmpc.share(KEY, np.array([limit, -limit], np.float32), smpc)
    except jsmpc.EncodingError:
        return
    less, first = jsmpc.secure(lambda x: (x[0] < x[1], x.argmax()))(KEY, share)
    assert not jsmpc.reveal(less)
    assert jsmpc.reveal(first) == 0


@pytest.mark.parametrize("x64", [False, True])
def test_integers_of_64_bits_are_refused_or_kept(x64):
    """With JAX's 64-bit mode off an array of int64 becomes one of int32."""
    values = np.array([2**40, -5])
    with jax.enable_x64(x64):
        try:
            share = jsmpc.share(KEY, values, jsmpc.Replicated3())
        except jsmpc.EncodingError:
            assert not x64
            return
        np.testing.assert_array_equal(jsmpc.reveal(share), values)


def test_importing_changes_no_setting_of_jax():
    code = (
        "import jax; before = dict(jax.config.values); import jsmpc; "
        "assert before == dict(jax.config.values); "
        "import jax.numpy as jnp; assert jnp.ones(1).dtype == jnp.float32"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
