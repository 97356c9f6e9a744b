"""Keys of point and comparison functions: against the definition, in both ways, and secret."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from jsmpc._src import kernels
from jsmpc._src.kernels import aes, fss, native
from jsmpc._src.kernels.trees import levels
from views import dependence, uniformity

KINDS = pytest.mark.parametrize("comparison", [True, False], ids=["comparison", "point"])


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def words(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, shape, np.uint64)


def roots(n: int) -> list[np.ndarray]:
    return [words(10 + party, 2, n) for party in (0, 1)]


@functools.cache
def pure(width: int, comparison: bool, party: int | None = None) -> Callable[..., Any]:
    """What XLA computes: of keys, or of a party's values."""
    if party is None:
        return jax.jit(functools.partial(fss._pure_keys, width=width, comparison=comparison))
    return jax.jit(
        functools.partial(fss._pure_values, width=width, comparison=comparison, party=party)
    )


def evaluated(a: np.ndarray, x: np.ndarray, width: int, comparison: bool) -> np.ndarray:
    """f(x), of both parties' values together."""
    seeds = roots(a.size)
    key = kernels.function_keys(tuple(seeds), jnp.asarray(a), width, comparison)
    first, second = (
        np.asarray(kernels.function_values(p, s, key, jnp.asarray(x), width, comparison))
        for p, s in enumerate(seeds)
    )
    return first ^ second if comparison else first + second


def expected(a: np.ndarray, x: np.ndarray, width: int, comparison: bool) -> np.ndarray:
    mask = np.uint64(2**width - 1)
    if not comparison:
        return (x & mask) == (a & mask)
    return ((x & mask) < (a & mask)) ^ ((a >> np.uint64(width)) & np.uint64(1)).astype(bool)


@pytest.mark.parametrize("n", [1, 5, 300])
def test_the_cipher_is_aes(n: int) -> None:
    blocks = words(1, n, 2)
    found = jax.jit(aes.encrypt)(blocks[:, 0], blocks[:, 1])
    cipher = Cipher(algorithms.AES(aes.KEY), modes.ECB()).encryptor()
    plain = np.frombuffer(cipher.update(blocks.tobytes()), np.uint64).reshape(n, 2)
    np.testing.assert_array_equal(np.stack(found, 1), plain)


@KINDS
@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_all_points_of_all_functions(width: int, comparison: bool) -> None:
    a = np.arange(2 ** (width + comparison), dtype=np.uint64)
    x = np.broadcast_to(np.arange(2**width, dtype=np.uint64)[:, None], (2**width, a.size))
    found = evaluated(a, x, width, comparison)
    np.testing.assert_array_equal(found, expected(a, x, width, comparison))


@KINDS
@pytest.mark.parametrize("width", [9, 31, 63, 64])
def test_wide_points(width: int, comparison: bool) -> None:
    """Those next to a, those that differ in one bit, the ends, and others."""
    if comparison and width == 64:
        return
    ends = np.asarray([0, 1, 2**width - 1, 2 ** (width - 1), 2 ** (width - 1) - 1], np.uint64)
    a = np.concatenate([ends, words(2, 60)])
    near = [a + np.uint64(d % 2**64) for d in (-2, -1, 0, 1, 2)]
    bits = [a ^ np.uint64(1 << i) for i in range(width)]
    others = [np.full_like(a, e) for e in ends]
    x = np.stack([*near, *bits, *others, words(3, 65)])
    found = evaluated(a, x, width, comparison)
    np.testing.assert_array_equal(found, expected(a, x, width, comparison))
    assert 0 < found.sum() < found.size


@pytest.mark.skipif(not native.available(), reason=str(native.why_unavailable()))
@KINDS
@pytest.mark.parametrize(("width", "n"), [(9, 257), (63, 1)])
def test_both_ways_compute_the_same(width: int, n: int, comparison: bool) -> None:
    a, x, (first, second) = words(4, n), words(5, 2, n), roots(n)
    several = [np.stack([v, v ^ np.uint64(5)]) for v in (first, second, a, x)]  # in two batches
    keys = native.function_keys(*several[:3], width=width, comparison=comparison)
    key, other = keys
    assert (key != other).any()
    np.testing.assert_array_equal(key, pure(width, comparison)(first, second, a))
    assert key.shape == (levels(width, comparison) + 1, 2, n)
    for party, root in enumerate((first, second)):
        value, _ = native.function_values(
            several[party], keys, several[3], width=width, comparison=comparison, party=party
        )
        np.testing.assert_array_equal(value, pure(width, comparison, party)(root, key, x))


@KINDS
def test_elements_of_a_vmap(comparison: bool) -> None:
    a, x, width = words(6, 3, 4), words(7, 3, 2, 4), 10
    seeds = words(8, 2, 3, 2, 4)

    def both(first: Any, second: Any, a: Any, x: Any) -> Any:
        key = kernels.function_keys((first, second), a, width, comparison)
        return key, kernels.function_values(1, second, key, x, width, comparison)

    keys, values = jax.vmap(both)(*seeds, a, x)
    for i in range(3):
        key, value = both(*map(jnp.asarray, (*seeds[:, i], a[i], x[i])))
        np.testing.assert_array_equal(keys[i], key)
        np.testing.assert_array_equal(values[i], value)
    shared = jax.vmap(both, in_axes=(None, None, None, 0))(*seeds[:, 0], a[0], x)[1]
    np.testing.assert_array_equal(shared[0], values[0])


@pytest.mark.parametrize(("comparison", "bits", "size"), [(True, 64, 1064), (True, 32, 450)])
def test_size_of_keys(comparison: bool, bits: int, size: int) -> None:
    """A root and the corrections, of a comparison in a ring."""
    assert 16 + 16 * (levels(bits - 1, comparison) + 1) <= size


# --- What a key tells ----------------------------------------------------------------------------

MANY = 20_000
POINTS = [0, 0b101101101, 2**9 - 1]


def told(a: int | np.ndarray, party: int, known: int, comparison: bool) -> list[np.ndarray]:
    """A party's root and corrections for functions of a; its own root is the same for all."""
    seeds = [words(20 + p, 2, MANY) for p in (0, 1)]
    seeds[party] = np.full_like(seeds[party], known)
    points = jnp.asarray(np.broadcast_to(np.asarray(a, np.uint64), (MANY,)))
    return list(
        np.asarray(kernels.function_keys(tuple(seeds), points, 9, comparison)).reshape(-1, MANY)
    )


@KINDS
@pytest.mark.parametrize("party", [0, 1])
def test_a_key_is_uniform_whatever_its_function(party: int, comparison: bool) -> None:
    for a in POINTS:
        seen = told(a, party, 8 * a, comparison)
        assert uniformity(seen, "corrections") == []
        assert dependence(seen, "corrections") == []
    secret = np.random.default_rng(9).integers(0, 2**10, MANY, np.uint64)
    assert dependence(told(secret, party, 7, comparison), "corrections", [secret]) == []


def test_a_key_of_equal_roots_would_be_noticed() -> None:
    root = words(30, 2, MANY)
    a = jnp.zeros(MANY, jnp.uint64)
    seen = kernels.function_keys((root, root), a, 9, True)
    assert uniformity(list(np.asarray(seen).reshape(-1, MANY)), "corrections")
