"""Matrix products of every protocol are those of the integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness import A, Runner, protocol
from jsmpc._src.ring import bilinear
from jsmpc._src.runtime.context import Context
from programs import (
    each,
    wrapping,
)

pytestmark = pytest.mark.usefixtures("x64")


DOTS = [
    ((7,), (7,), (((0,), (0,)), ((), ()))),
    ((5, 7), (7, 3), (((1,), (0,)), ((), ()))),
    ((7, 5), (3, 7), (((0,), (1,)), ((), ()))),
    ((2, 3, 4), (2, 4, 5), (((2,), (1,)), ((0,), (0,)))),
    ((3, 4, 2), (5, 4, 2), (((1,), (1,)), ((2,), (2,)))),
    ((2, 3, 4, 2), (4, 2, 3, 2), (((2, 1), (0, 2)), ((0,), (1,)))),
    ((2, 3), (2, 4), (((), ()), ((0,), (0,)))),
    ((3,), (4,), (((), ()), ((), ()))),
    ((2, 0), (0, 3), (((1,), (0,)), ((), ()))),
    ((4, 2100), (2100, 2), (((1,), (0,)), ((), ()))),
]


def dot(x: np.ndarray, y: np.ndarray, numbers: Any) -> np.ndarray:
    (left, right), (left_batch, right_batch) = numbers
    names = iter("abcdefghijklmnop")
    a = [""] * x.ndim
    b = [""] * y.ndim
    for i, j in (*zip(left_batch, right_batch, strict=True), *zip(left, right, strict=True)):
        a[i] = b[j] = next(names)
    a, b = ([c or next(names) for c in side] for side in (a, b))
    batch = [a[i] for i in left_batch]
    free = [c for c in a if c not in b] + [c for c in b if c not in a]
    return np.einsum(f"{''.join(a)},{''.join(b)}->{''.join(batch + free)}", x, y)


@each
def test_matrix_products(name: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    operands = [wrapping(rng, s, bits) for x, y, _ in DOTS for s in (x, y)]
    smpc = protocol(name, bits)

    def program(ctx: Context, *xs: Any) -> Any:
        return {
            str(i): A(smpc.product(ctx, bilinear.dot_general(n), xs[2 * i], xs[2 * i + 1]))
            for i, (_, _, n) in enumerate(DOTS)
        }

    out = Runner(smpc, program)(bits + 8, *map(A, operands))
    for i, (_, _, numbers) in enumerate(DOTS):
        expected = dot(operands[2 * i], operands[2 * i + 1], numbers)
        np.testing.assert_array_equal(out[str(i)], expected, err_msg=str(DOTS[i]))
