"""ChaCha20 against RFC 8439, keys, and that no draw equals another."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src import kernels
from jsmpc._src.kernels import stream
from jsmpc._src.runtime import prf

ASCENDING = bytes(range(32))
ZERO, ONE_AT_END = bytes(32), bytes(31) + b"\x01"
SECOND = b"\x00\xff" + bytes(30)

# (section of RFC 8439, key, nonce, block number, the block)
VECTORS = [
    (
        "2.3.2",
        ASCENDING,
        "000000090000004a00000000",
        1,
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
    ),
    (
        "A.1 #1",
        ZERO,
        "00" * 12,
        0,
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    ),
    (
        "A.1 #2",
        ZERO,
        "00" * 12,
        1,
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
    ),
    (
        "A.1 #3",
        ONE_AT_END,
        "00" * 12,
        1,
        "3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
        "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0",
    ),
    (
        "A.1 #4",
        SECOND,
        "00" * 12,
        2,
        "72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
        "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096",
    ),
    (
        "A.1 #5",
        ZERO,
        "00" * 11 + "02",
        0,
        "c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
        "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d",
    ),
]


def _words(data):
    return jnp.asarray(np.frombuffer(data, "<u4"))


@pytest.mark.parametrize(("section", "key", "nonce", "number", "block"), VECTORS)
@pytest.mark.parametrize("form", [kernels.keystream, stream._pure_keystream])
def test_vectors_of_rfc_8439(form, section, key, nonce, number, block):
    blocks = form(_words(key), _words(bytes.fromhex(nonce)), blocks=number + 1)
    assert np.asarray(blocks[:, number]).astype("<u4").tobytes() == bytes.fromhex(block)


def test_a_draw_is_the_keystream_of_its_number_in_tiles():
    key = _words(ASCENDING)
    blocks = np.asarray(kernels.keystream(key, jnp.asarray(stream.nonce_of(5)), 32))
    tiles = blocks.reshape(16, 2, 16).transpose(1, 0, 2).reshape(-1)
    np.testing.assert_array_equal(kernels.draw(key, 5, (512,), np.uint32), tiles)


def test_draws_keys_and_purposes_differ():
    key = _words(ASCENDING)
    others = [prf.derive(key, "share"), prf.derive(key, "dealer"), prf.derive(key, "dealer", 1)]
    others += [prf.iterate(key, site, index) for site in (0, 1) for index in (0, 1)]
    draws = [kernels.draw(k, n, (8,), np.uint32) for k in (key, *others) for n in (0, 1, 2**32)]
    seen = {tuple(np.asarray(x).tolist()) for x in (*others, *draws)}
    assert len(seen) == len(others) + len(draws)


def test_random_keys_come_from_the_operating_system():
    first, second = jsmpc.random_key(), jsmpc.random_key()
    assert first.shape == (8,) and first.dtype == jnp.uint32
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(prf.as_key(first), first)


def test_keys_of_jax_random_are_stretched():
    typed, raw = jax.random.key(3), jax.random.PRNGKey(3)
    assert prf.as_key(typed).shape == (8,)
    np.testing.assert_array_equal(prf.as_key(typed), prf.as_key(raw))
    assert not np.array_equal(prf.as_key(typed), prf.as_key(jax.random.key(4)))
    assert not set(np.asarray(raw).tolist()) & set(np.asarray(prf.as_key(raw)).tolist())
