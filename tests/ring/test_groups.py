"""Groups: their operations undo each other, and their draws are elements, uniform ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group, modulo

KEY = jnp.arange(8, dtype=jnp.uint32)
LARGE = (1 << 64) - 1
CASES = [
    (ARITHMETIC, np.uint64, 1 << 64),
    (BOOLEAN, np.uint16, 1 << 16),
    (modulo(67), np.uint8, 67),
    (modulo(251), np.uint8, 251),
    (modulo(LARGE), np.uint64, LARGE),
]


@pytest.mark.parametrize(("group", "dtype", "order"), CASES, ids=lambda c: getattr(c, "name", None))
def test_sums_are_undone_and_draws_are_elements(group: Group, dtype: type, order: int) -> None:
    with jax.enable_x64(True):
        x, y = (group.draw(KEY, n, (5000,), dtype) for n in range(2))
        assert x.dtype == y.dtype == dtype
        assert (x != y).mean() > 0.9
        assert max(int(x.max()), int(y.max())) < order
        for a, b in ((x, y), (x, x), (jnp.zeros_like(x), y), (jnp.full_like(x, order - 1), y)):
            np.testing.assert_array_equal(group.subtract(group.add(a, b), b), a)
            np.testing.assert_array_equal(group.sum((group.subtract(a, b), b)), a)
        if group.name.startswith("modulo"):
            exact = (np.asarray(x, object) + np.asarray(y, object)) % order
            np.testing.assert_array_equal(group.add(x, y), exact.astype(dtype))


def test_residues_are_uniform() -> None:
    with jax.enable_x64(True):
        counts = np.bincount(np.asarray(modulo(67).draw(KEY, 3, (67_000,), np.uint8)))
    chi2 = ((counts - 1000.0) ** 2 / 1000.0).sum()
    assert counts.size == 67 and chi2 < 66 + 6 * np.sqrt(2 * 66)


def test_groups_of_one_modulus_are_equal() -> None:
    assert modulo(67) == modulo(67) != modulo(71)
    assert hash(modulo(67)) == hash(modulo(67))


@pytest.mark.parametrize("modulus", [0, 1, 3 << 60, 3 << 62, 1 << 64])
def test_moduli_without_uniform_draws_are_refused(modulus: int) -> None:
    with pytest.raises(ValueError, match="uniform modulo"):
        modulo(modulus)
