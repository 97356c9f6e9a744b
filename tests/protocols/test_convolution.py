"""Convolutions and their gradients, in every protocol, are those of XLA's integers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from jax import lax

from harness import A, Runner, protocol
from jsmpc._src.runtime.context import Context
from programs import (
    convolutions,
    product_of,
    wrapping,
)

pytestmark = pytest.mark.usefixtures("x64")


@functools.cache
def convolution_cases(bits: int) -> Any:
    """Operands and results, by XLA's own integer convolution."""
    rng = np.random.default_rng(bits)
    cases = []
    for x, w, params in convolutions():
        a, b = wrapping(rng, x, bits), wrapping(rng, w, bits)
        kept = {
            k: params[k]
            for k in (
                "window_strides",
                "padding",
                "lhs_dilation",
                "rhs_dilation",
                "dimension_numbers",
                "feature_group_count",
                "batch_group_count",
            )
        }
        cases.append((a, b, params, np.asarray(lax.conv_general_dilated(a, b, **kept))))
    return cases


@pytest.mark.parametrize(
    ("name", "bits"),
    [("insecure-plain", 64), ("additive2", 64), ("additive3", 32), ("replicated3", 32),
     ("replicated3", 64)],
)  # fmt: skip
def test_convolutions_and_their_gradients(name: str, bits: int) -> None:
    cases = convolution_cases(bits)
    smpc = protocol(name, bits)

    def program(ctx: Context, *xs: Any) -> Any:
        return {
            str(i): A(smpc.product(ctx, product_of(params), xs[2 * i], xs[2 * i + 1]))
            for i, (_, _, params, _) in enumerate(cases)
        }

    operands = [A(v) for a, b, _, _ in cases for v in (a, b)]
    out = Runner(smpc, program)(bits + 9, *operands)
    for i, (_, _, params, expected) in enumerate(cases):
        np.testing.assert_array_equal(out[str(i)], expected, err_msg=str(params))


def test_the_convolution_cases_cover_what_gradients_use() -> None:
    params = [p for _, _, p in convolutions()]
    for name in ("window_strides", "lhs_dilation", "rhs_dilation"):
        assert any(max(p[name]) > 1 for p in params), name
    assert any(min(min(pair) for pair in p["padding"]) < 0 for p in params)
    assert any(p["batch_group_count"] > 1 for p in params)
    assert any(p["feature_group_count"] > 1 for p in params)
