"""Products and quotients of secrets with public numbers that are known when the function runs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import jsmpc
from jsmpc.testing import InsecurePlain

KEY = jax.random.key(0)
PLAIN = InsecurePlain()


def run(f: Any, x: Any, y: Any, smpc: Any = PLAIN, check: bool = False) -> Any:
    return jsmpc.reveal(jsmpc.secure(f, check=check)(KEY, jsmpc.share(KEY, x, smpc), y))


@pytest.mark.parametrize("smpc", [PLAIN, InsecurePlain(bits=32), jsmpc.Replicated3()])
def test_a_large_factor_keeps_the_range_of_its_product(smpc: Any) -> None:
    small = smpc.bits == 32
    factor = np.float32([5e3, -3.7] if small else [1e8, -3.7])
    x = np.float32([-50.0, 0.25])
    f = lambda x, y: (x * y, x / (1 / y))  # noqa: E731
    for found in run(f, x, factor, smpc, check=smpc.size == 1):
        np.testing.assert_allclose(found, x * factor, rtol=2e-3 if small else 5e-6)


def test_a_product_out_of_range_is_found_out() -> None:
    with pytest.raises(jsmpc.EncodingError, match=r"^mul at .* leaves the range"):
        run(lambda x, y: x * y, np.float32([-5e4, 1.0]), np.float32([1e9, 1]), check=True)
