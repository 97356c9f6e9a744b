"""The comparison in Z_67: against its definition in integers, natively and by XLA alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsmpc._src import kernels
from jsmpc._src.kernels import positions
from jsmpc._src.kernels.positions import MODULUS


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def digits(values: Any, bits: int) -> np.ndarray:
    """The bits of integers, the highest first, along a leading axis."""
    return np.asarray([[v >> i & 1 for v in values] for i in range(bits - 1, -1, -1)])


def edges(bits: int) -> list[int]:
    full = (1 << bits) - 1
    return [0, 1, 2, 3, full, full - 1, full >> 1, (full >> 1) + 1, 0x55555555, 1 << bits - 2]


def operands(bits: int, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Any residues as bits, words, ways of comparing, places, factors and masks."""
    rng = np.random.default_rng([bits, count, seed])
    rows = (bits, count)
    return (
        rng.integers(0, MODULUS, rows, np.uint8),
        rng.integers(0, 2**bits, count, f"uint{bits}"),
        rng.integers(0, 4, count, np.uint8),
        rng.integers(0, bits, count, np.uint8),
        rng.integers(0, MODULUS - 1, rows, np.uint8),
        rng.integers(0, MODULUS, rows, np.uint8),
    )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_bits_are_those_of_the_words(bits: int, shape: tuple[int, ...]) -> None:
    words = np.random.default_rng(bits).integers(0, 2**bits, shape, f"uint{bits}")
    found = np.asarray(kernels.bits(jnp.asarray(words)))
    assert found.dtype == np.uint8
    expected = digits(words.reshape(-1).tolist(), bits).reshape(bits, *shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("down", [0, 1])
@pytest.mark.parametrize("bits", [32, 64])
def test_summands_make_the_differences_of_the_definition(bits: int, down: int) -> None:
    """All pairs of edges: c_i, scaled and moved, and zero in one place if the comparison holds."""
    x, v = (list(p) for p in zip(*((a, b) for a in edges(bits) for b in edges(bits)), strict=True))
    count = len(x)
    xs, vs, sigma = digits(x, bits), digits(v, bits), 1 - 2 * down
    different = xs ^ vs
    c = 1 + sigma * (vs - xs) + np.cumsum(different, 0) - different
    holds = [a < b if down else a > b for a, b in zip(x, v, strict=True)]
    np.testing.assert_array_equal((c == 0).sum(0), holds)

    first, _, _, place, factor, mask = operands(bits, count)
    second = ((xs - first.astype(int)) % MODULUS).astype(np.uint8)
    word = np.asarray(v, f"uint{bits}")
    how = np.full(count, down, np.uint8)
    d = [
        np.asarray(kernels.differences(share, word, how, place, factor, mask, one)).astype(int)
        for share, one in ((first, True), (second, False))
    ]
    found = (d[0] - d[1]) % MODULUS
    rows = np.arange(bits)[:, None] ^ place
    moved = np.take_along_axis(c, rows, 0) * (factor.astype(int) + 1) % MODULUS
    np.testing.assert_array_equal(found, moved)
    np.testing.assert_array_equal((d[0] == d[1]).sum(0), holds)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bits", [32, 64])
def test_native_code_and_xla_compute_the_same(bits: int, first: bool) -> None:
    for count in (1, 63, 64, 65, 200):
        given = tuple(map(jnp.asarray, operands(bits, count)))
        found = kernels.differences(*given, first)
        pure = jax.jit(lambda *x: positions._pure_differences(*x, first=first))(*given)
        np.testing.assert_array_equal(found, pure)
        assert int(found.max()) < MODULUS


def test_what_counts_as_zero_is_zero() -> None:
    x, v, _, place, factor, mask = operands(32, 100)
    ignored, zero = np.full(100, 2, np.uint8), np.zeros(100, np.uint8)
    found = kernels.differences(x, v, ignored, place, factor, mask, True)
    expected = kernels.differences(np.zeros_like(x), v, zero, place, factor, mask, True)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 1), (2, 1, 1, 1, None, 2)])
def test_mapped_axes_are_elements(axes: tuple[int | None, ...]) -> None:
    given = [np.asarray(x).reshape(*x.shape[:-1], 4, 3) for x in operands(32, 12)]
    given = [x if a is not None else x[..., 0] for x, a in zip(given, axes, strict=True)]
    found = jax.vmap(lambda *x: kernels.differences(*x, True), axes, 1)(*map(jnp.asarray, given))
    rows = 4 if axes[0] == 1 else 3
    assert found.shape[1] == rows
    for row in range(rows):
        own = [x if a is None else np.take(x, row, a) for x, a in zip(given, axes, strict=True)]
        expected = kernels.differences(*map(jnp.asarray, own), True)
        np.testing.assert_array_equal(found[:, row], expected)
