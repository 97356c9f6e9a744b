"""Bad input gets a clear error that names the thing and the remedy, before any computation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc

KEY = jax.random.key(0)
SMPC = jsmpc.Replicated3()
DEALER = jsmpc.Additive()
X = np.float32([[1.0, -2.0], [0.5, 3.0]])


def shared(smpc=SMPC, x=X):
    return jsmpc.share(KEY, x, smpc)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"\['w'\].*NaN at index \(1,\).*nan_to_num"),
        (np.inf, r"\['w'\].*infinity at index \(1,\)"),
        (1e30, r"at index \(1,\) whose magnitude.*limit of.*Scale it down"),
    ],
)
def test_values_that_cannot_be_encoded(value, message):
    with pytest.raises(jsmpc.EncodingError, match=message):
        jsmpc.share(KEY, {"w": np.float32([0, value])}, SMPC)


def test_integers_out_of_range_and_things_that_are_no_numbers():
    with pytest.raises(jsmpc.EncodingError, match=r"integer at index \(0,\).*64-bit ring"):
        jsmpc.share(KEY, np.int32([2**31 - 1]), jsmpc.Replicated3(bits=32))
    with pytest.raises(jsmpc.EncodingError, match="no array of numbers"):
        jsmpc.share(KEY, "text", SMPC)
    with pytest.raises(jsmpc.EncodingError, match="complex64"):
        jsmpc.share(KEY, np.complex64(1j), SMPC)
    with pytest.raises(jsmpc.ProtocolError, match="shared already"):
        jsmpc.share(KEY, shared(), SMPC)


@pytest.mark.parametrize(
    "other",
    [DEALER, jsmpc.Replicated3(bits=32), jsmpc.Replicated3(encoding=jsmpc.FixedPoint(10))],
    ids=["protocol", "ring", "encoding"],
)
def test_shares_that_do_not_belong_together(other):
    with pytest.raises(jsmpc.ProtocolError, match="cannot be computed on together"):
        jsmpc.secure(jnp.add)(KEY, shared(), shared(other))


def test_wrong_parties():
    for names in (("a", "b"), ("a", "b", "c", "d")):
        with pytest.raises(jsmpc.ProtocolError, match="exactly 3"):
            jsmpc.Replicated3(parties=names)
    for names in ((0, 1), ("bob", 1), ("bob", "")):
        with pytest.raises(jsmpc.ProtocolError, match="names must be strings"):
            jsmpc.Additive(parties=names)
    with pytest.raises(jsmpc.ProtocolError, match="names must be strings"):
        jsmpc.Replicated3(parties=(0, 1, 2))
    with pytest.raises(jsmpc.ProtocolError, match="at least 2"):
        jsmpc.Additive(parties=1)
    with pytest.raises(jsmpc.ProtocolError, match="differ"):
        jsmpc.Additive(parties=("bob", "bob"))
    with pytest.raises(jsmpc.ProtocolError, match="dealer 'bob' must not"):
        jsmpc.Additive(parties=("bob", "alice"), dealer="bob")
    with pytest.raises(jsmpc.ProtocolError, match="'carol' is no party"):
        jsmpc.reveal(shared(DEALER), to="carol")
    with pytest.raises(jsmpc.ProtocolError, match=r"Replicated3\(\)"):
        jsmpc.share(KEY, X, jsmpc.Replicated3)
    two_rows = jsmpc.Share((shared().components[0][:2],), SMPC, np.float32)
    with pytest.raises(jsmpc.ProtocolError, match="3 rows"):
        jsmpc.reveal(two_rows)


def test_a_ring_that_is_none_and_precision_that_leaves_no_room():
    with pytest.raises(ValueError, match="32 or 64 bits, not 16"):
        jsmpc.Replicated3(bits=16)
    with pytest.raises(ValueError, match="too fine for a ring of 32"):
        jsmpc.Replicated3(bits=32, encoding=jsmpc.FixedPoint(2, 20))
    with pytest.raises(ValueError, match="base 2 or 10"):
        jsmpc.FixedPoint(base=3)


@pytest.mark.parametrize(
    "key", [0, None, np.zeros(8), np.zeros(4, np.uint32), jax.random.split(KEY, 3)]
)
def test_something_that_is_not_a_key(key):
    for call in (lambda: jsmpc.share(key, X, SMPC), lambda: jsmpc.secure(jnp.sin)(key, X)):
        with pytest.raises(jsmpc.KeyFormatError, match=r"not a key.*random_key"):
            call()


def test_material_of_another_function_of_other_shapes_or_used_twice():
    square, double = jsmpc.secure(lambda x: x * x), jsmpc.secure(lambda x: x * (x + 1))
    x = shared(DEALER)
    material = square.offline(KEY, x)
    with pytest.raises(jsmpc.MaterialError, match="another function"):
        double.online(material, x)
    with pytest.raises(jsmpc.MaterialError, match="other shapes"):
        square.online(material, shared(DEALER, X[:1]))
    with pytest.raises(jsmpc.MaterialError, match="made for"):
        square.online(material, shared(jsmpc.Additive(dealer="james")))
    with pytest.raises(jsmpc.MaterialError, match="what offline returned"):
        square.online(None, x)
    np.testing.assert_allclose(jsmpc.reveal(square.online(material, x)), X * X, atol=1e-4)
    with pytest.raises(jsmpc.MaterialError, match="used twice"):
        square.online(material, x)


def test_material_cannot_be_dealt_for_an_unbounded_loop():
    def f(x):
        return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * s[1]), (0, x))

    with pytest.raises(jsmpc.MaterialError, match=r"while loop.*lax\.scan"):
        jsmpc.secure(f).offline(KEY, shared(DEALER))


def test_unsupported_primitives_name_the_line():
    with pytest.raises(jsmpc.UnsupportedError, match=r"lgamma at .*test_errors\.py:\d+ \(.*lamb"):
        jsmpc.secure(lambda x: jax.lax.lgamma(x))(KEY, shared())
    with pytest.raises(jsmpc.UnsupportedError, match="condition of a while loop is secret"):
        jsmpc.secure(lambda x: jax.lax.while_loop(lambda v: v[0, 0] < 9, lambda v: v + 1, x))(
            KEY, shared()
        )
    with pytest.raises(jsmpc.UnsupportedError, match="public zero"):
        jsmpc.secure(lambda x: x / 0)(KEY, shared())


def test_a_public_constant_out_of_range():
    with pytest.raises(jsmpc.EncodingError, match=r"add at .*test_errors\.py:\d+"):
        jsmpc.secure(lambda x: x + 1e30)(KEY, shared())


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_public_operand_that_does_not_fit_when_it_is_known(value):
    add = jsmpc.secure(lambda x, y: x + y)
    np.testing.assert_allclose(jsmpc.reveal(add(KEY, shared(), 1.0)), X + 1, atol=1e-4)
    with pytest.raises(jsmpc.EncodingError, match=r"add at .*test_errors\.py.*public operand"):
        add(KEY, shared(), value)


def test_a_secret_used_as_if_it_were_public():
    x = shared()
    for use in (bool, float, int, np.asarray, list, lambda s: s + 1, lambda s: s < 1):
        with pytest.raises(jsmpc.SecretError, match=r"jsmpc.secure.*jsmpc.reveal"):
            use(x)
    text = repr(x) + str(x)
    assert "float32[2, 2]" in text and not any(str(w) in text for w in x.components[0].ravel())


def test_vmap_over_the_party_axis():
    square = jsmpc.secure(lambda x: x * x)
    with pytest.raises(ValueError, match=r"(?s)vmap got inconsistent sizes.*axes start at 1"):
        jax.vmap(square, in_axes=(None, 0))(KEY, shared())


def test_arguments_that_are_no_arrays():
    with pytest.raises(TypeError, match="static_argnums"):
        jsmpc.secure(lambda x, mode: x)(KEY, shared(), object())
    scaled = jsmpc.secure(lambda x, mode: x * 2 if mode == "double" else x, static_argnums=1)
    np.testing.assert_allclose(jsmpc.reveal(scaled(KEY, shared(), "double")), X * 2, atol=1e-4)
    with pytest.raises(jsmpc.ProtocolError, match="no argument of sin is a share"):
        jsmpc.secure(jnp.sin).offline(KEY, X)
