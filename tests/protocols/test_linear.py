"""Elementwise operations of every protocol, both rings: against integers, and the plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness import MAKERS, A, B, Runner, protocol, signed, words
from jsmpc._src.runtime.context import Context
from programs import (
    COUNT,
    each,
    each_secret,
    elementwise,
    elementwise_operands,
    integers,
    words_of,
)

pytestmark = pytest.mark.usefixtures("x64")


@each
def test_elementwise_operations_are_those_of_the_integers(name: str, bits: int) -> None:
    out = elementwise(name, bits)
    x, y, p, q = elementwise_operands(bits)
    dtype = x.dtype.type
    public = np.arange(COUNT, dtype=dtype) * dtype(0x9E3779B97F4A7C15 % 2**bits)
    top = dtype(bits - 1)
    bit = (p & 1).astype(np.uint8)
    expected = {
        "add": x + y,
        "subtract": x - y,
        "negate": dtype(0) - x,
        "scale": words([-3 * v for v in integers(x)], bits),
        "scale_each": x * public,
        "add_ap": x + public,
        "constant": public,
        "mul_aa": words(integers(x) * integers(y), bits),
        "square": words(integers(x) ** 2, bits),
        "mul_own": x * (x + y),
        "xor_bb": q ^ (q >> dtype(3)),
        "and_bb": q & (q >> dtype(1)),
        "or_bb": p | (p >> 1),
        "and_bytes": p & (p << 1),
        "not_b": bit ^ 1,
        "xor_bp": q ^ public,
        "msb": (np.stack([x, y]) >> top).astype(np.uint8),
        "b2a": bit.astype(dtype),
        "mul_ba": bit.astype(dtype) * x,
        "sum_ba": bit.astype(dtype) * (x - dtype(3)) + (y >> top) * y,
        "power_of_two": dtype(1) << (x & dtype(bits // 2 - 1)),
        "open": x,
        "open_boolean": q,
        **{f"open_to_{i}": x for i in range(protocol(name, bits).size)},
        **{f"open_boolean_to_{i}": p for i in range(protocol(name, bits).size)},
    }
    assert out.keys() == expected.keys()
    for operation, value in expected.items():
        assert out[operation].dtype == value.dtype, operation
        np.testing.assert_array_equal(out[operation], value, err_msg=operation)


@each_secret
def test_ring_operations_equal_those_of_plain(name: str, bits: int) -> None:
    ours, plain = elementwise(name, bits), elementwise("insecure-plain", bits)
    assert plain.keys() <= ours.keys()
    for operation, value in plain.items():
        np.testing.assert_array_equal(ours[operation], value, err_msg=operation)


# --- Shapes ---------------------------------------------------------------------------------------


SHAPES = [(), (1,), (3,), (2, 3), (2, 1, 3), (2, 3, 1, 2), (0,), (2, 0)]


@pytest.mark.parametrize("name", MAKERS)
def test_scalars_to_four_dimensions(name: str) -> None:
    bits = 64
    smpc = protocol(name, bits)
    rng = np.random.default_rng(bits)
    half = 2 ** ((bits - 2) // 2)
    xs = [words_of(rng.integers(-half, half, s, np.int64), bits) for s in SHAPES]

    def program(ctx: Context, *xs: Any) -> Any:
        out: dict[str, Any] = {}
        for i, x in enumerate(xs):
            sign = smpc.msb(ctx, x)
            out[f"sign{i}"] = B(sign)
            out[f"equal{i}"] = B(smpc.is_zero(ctx, x - x))
            out[f"times{i}"] = A(smpc.mul_ba(ctx, sign, x))
            out[f"square{i}"] = A(smpc.square(ctx, x, 1000))
        return out

    out = Runner(smpc, program)(bits + 10, *map(A, xs))
    for i, x in enumerate(xs):
        negative = signed(x) < 0
        assert {v.shape for k, v in out.items() if k.endswith(str(i))} == {x.shape}
        np.testing.assert_array_equal(out[f"sign{i}"], negative)
        assert (out[f"equal{i}"] == 1).all()
        np.testing.assert_array_equal(out[f"times{i}"], np.where(negative, x, x.dtype.type(0)))
        exact = integers(x.reshape(-1)) ** 2
        rounded = integers(out[f"square{i}"].reshape(-1))
        assert (abs(rounded * 1000 - exact) < 1000).all()
