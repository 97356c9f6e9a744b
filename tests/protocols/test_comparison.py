"""Comparisons, conversions and largest elements of every protocol are those of the integers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import BITS, A, B, Runner, protocol, words
from jsmpc._src.functions import extremes
from jsmpc._src.ring import blocks as bit_tables
from jsmpc._src.runtime.context import Context
from programs import (
    OFFSETS,
    comparison_operands,
    comparison_program,
    conversions_program,
    each,
    elementwise_operands,
    integers,
    runner,
)

pytestmark = pytest.mark.usefixtures("x64")


@each
def test_comparisons_are_those_of_the_integers(name: str, bits: int) -> None:
    x, y, p = comparison_operands(bits)
    out = runner(comparison_program, name, bits)(bits + 2, A(x), A(y), B(p))
    i, j = integers(x), integers(y)
    assert (i == j).sum() > 100 and (i < j).sum() > 100 and (i > j).sum() > 100
    expected = {
        "is_zero": (i == 0).astype(np.uint8),
        "signs": np.stack([(i + c < 0).astype(np.uint8) for c in OFFSETS]),
        "less": (i < j).astype(np.uint8),
        "equal": (i == j).astype(np.uint8),
        "select": np.where(p & 1, x, y),
        "relu": words(np.maximum(i, 0), bits),
        "maximum": words(np.maximum(i, j), bits),
        "minimum": words(np.minimum(i, j), bits),
        "absolute": words(abs(i), bits),
    }
    assert out.keys() == expected.keys()
    for operation, value in expected.items():
        assert out[operation].dtype == value.dtype, operation
        np.testing.assert_array_equal(out[operation], value, err_msg=operation)


@each
def test_conversions_of_whole_words(name: str, bits: int) -> None:
    x, _, _, q = elementwise_operands(bits)
    out = runner(conversions_program, name, bits)(bits + 3, A(x), B(q))
    np.testing.assert_array_equal(out["a2b"], x)
    np.testing.assert_array_equal(out["b2a_words"], q)


# --- Extremes along an axis -----------------------------------------------------------------------


def extremes_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, odd: Any, one: Any) -> Any:
    value, index = extremes.argument_of_largest(smpc, ctx, x)
    _, odd_index = extremes.argument_of_largest(smpc, ctx, odd)
    _, only = extremes.argument_of_largest(smpc, ctx, one)
    largest = extremes.largest(smpc, ctx, odd)
    return {
        "max": A(value),
        "argmax": A(index),
        "odd": A(odd_index),
        "only": A(only),
        "largest": A(largest),
    }


@each
def test_largest_and_its_first_position(name: str, bits: int) -> None:
    rng = np.random.default_rng(bits)
    x = rng.integers(-3, 3, (10, 40)).astype(object)  # many ties
    x[:, 0], x[:, 1] = 5, -(2 ** (bits - 2))
    x[7:9, 2] = 2 ** (bits - 2) - 1
    odd = rng.integers(-2, 2, (7, 5, 3)).astype(object)
    one = rng.integers(-2, 2, (1, 4)).astype(object)
    operands = (A(words(v, bits)) for v in (x, odd, one))
    out = runner(extremes_program, name, bits)(bits + 4, *operands)
    np.testing.assert_array_equal(out["max"], words(x.max(0), bits))
    np.testing.assert_array_equal(out["argmax"], x.astype(float).argmax(0))
    np.testing.assert_array_equal(out["odd"], odd.astype(float).argmax(0))
    np.testing.assert_array_equal(out["only"], np.zeros(4))
    np.testing.assert_array_equal(out["largest"], words(odd.max(0), bits))


# --- Chosen carries: what random trials meet once in 2^k ------------------------------------------


@pytest.mark.parametrize("bits", BITS)
def test_carries_for_chosen_addends(bits: int) -> None:
    """x = u + v with u and v chosen, not uniform: carries through all blocks and through none."""
    ends = [0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1, 2**bits - 16, 15]
    ends += [sum(15 << i for i in range(s, bits, 8)) for s in (0, 4)]
    ends += [(1 << p) + d for p in range(4, bits, 4) for d in (-1, 0)]
    u, v = (g.reshape(-1) for g in np.meshgrid(words(ends, bits), words(ends, bits)))
    zero = np.zeros_like(u)
    smpc = protocol("replicated3", bits)

    def program(ctx: Context, x: Any) -> Any:
        return {
            "msb": B(smpc.msb(ctx, x)),
            "is_zero": B(smpc.is_zero(ctx, x)),
            "a2b": B(smpc.a2b(ctx, x)),
        }

    run = Runner(smpc, program)
    out = run.opened(run.stacked(3, [np.stack([u, zero, v])]))
    np.testing.assert_array_equal(out["msb"], (u + v) >> u.dtype.type(bits - 1))
    np.testing.assert_array_equal(out["is_zero"], u + v == 0)
    np.testing.assert_array_equal(out["a2b"], u + v)


@pytest.mark.parametrize("bits", BITS)
def test_block_tables_against_the_definition(bits: int) -> None:
    """All 256 pairs of blocks, in every block of the word."""
    pairs = [(a, b) for a in range(16) for b in range(16)]
    count = bits // 4
    rng = np.random.default_rng(0)
    rows = np.stack([rng.permutation(256) for _ in range(count)], 1)
    u, v = (
        words([sum(pairs[i][s] << 4 * j for j, i in enumerate(row)) for row in rows], bits)
        for s in (0, 1)
    )
    both, constant = bit_tables.select(bit_tables.thresholds(jnp.asarray(u)), jnp.asarray(v))
    leaves = np.asarray(both ^ constant)
    assert leaves.dtype.itemsize * 8 == 2 * count
    order = [int(f"{j:0{count.bit_length() - 1}b}"[::-1], 2) for j in range(count)]
    for row, leaf in zip(rows, leaves, strict=True):
        for j, i in enumerate(row):
            total = sum(pairs[i])
            assert (int(leaf) >> (order[j] + count)) & 1 == (total >= 16)
            assert (int(leaf) >> order[j]) & 1 == (total == 15)
