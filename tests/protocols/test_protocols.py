"""Every operation of every protocol, both rings: against integers, and against `Plain`.

Ring operations are exactly equal. Truncation is off by less than one unit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import BITS, MAKERS, SECRET, A, At, B, Runner, mixed, protocol, signed, words
from jsmpc._src.functions import circuits, comparison, rounding
from jsmpc._src.network.simulated import Simulated
from jsmpc._src.network.values import Local
from jsmpc._src.ring import bilinear
from jsmpc._src.ring import blocks as bit_tables
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.groups import BOOLEAN
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import TruncationPair

COUNT = 700
OFFSETS = (0, 1, -1, 1 << 20, -(1 << 20), (1 << 29) - 1)


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


each = pytest.mark.parametrize(("name", "bits"), [(name, bits) for name in MAKERS for bits in BITS])
each_secret = pytest.mark.parametrize(
    ("name", "bits"), [(name, bits) for name in SECRET for bits in BITS]
)


def integers(values: np.ndarray) -> np.ndarray:
    """Ring elements as signed Python integers."""
    return signed(values).astype(object)


# --- Elementwise operations ----------------------------------------------------------------------


def elementwise_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any, p: Any, q: Any) -> Any:
    """Arithmetic shares x, y; Boolean shares of bytes p and of ring words q."""
    three = smpc.ring.constant(-3)
    public = jnp.arange(COUNT, dtype=smpc.ring.dtype) * smpc.ring.constant(0x9E3779B97F4A7C15)
    bit = p & np.uint8(1)
    pair = x.map(lambda a, b: jnp.stack([a, b]), y)
    sign = circuits.msb(smpc, ctx, pair)
    return {
        "add": A(x + y),
        "subtract": A(x - y),
        "negate": A(-x),
        "scale": A(x * three),
        "scale_each": A(x * public),
        "add_ap": A(smpc.add_ap(ctx, x, public)),
        "constant": A(smpc.constant(ctx, public)),
        "mul_aa": A(smpc.mul_aa(ctx, x, y)),
        "square": A(smpc.square(ctx, x)),
        "mul_own": A(smpc.mul_aa(ctx, x, x + y)),
        "xor_bb": B(q ^ q.map(lambda w: w >> np.asarray(3, w.dtype))),
        "and_bb": B(smpc.and_bb(ctx, q, q.map(lambda w: w >> np.asarray(1, w.dtype)))),
        "or_bb": B(smpc.or_bb(ctx, p, p.map(lambda w: w >> np.uint8(1)))),
        "and_bytes": B(smpc.and_bb(ctx, p, p.map(lambda w: w << np.uint8(1)))),
        "not_b": B(smpc.not_b(ctx, bit)),
        "xor_bp": B(smpc.xor_bp(ctx, q, public)),
        "msb": B(sign),
        "b2a": A(smpc.b2a(ctx, bit)),
        "mul_ba": A(smpc.mul_ba(ctx, bit, x)),
        "open": smpc.open(ctx, x),
        "open_boolean": smpc.open(ctx, q, BOOLEAN),
        **{f"open_to_{i}": At(i, smpc.open_to(ctx, x, i)) for i in range(smpc.size)},
        **{
            f"open_boolean_to_{i}": At(i, smpc.open_to(ctx, p, i, BOOLEAN))
            for i in range(smpc.size)
        },
    }


def comparison_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any, p: Any) -> Any:
    bit = p & np.uint8(1)
    below = circuits.signs(smpc, ctx, x, *OFFSETS)
    return {
        "signs": B(below[0].map(lambda *bits: jnp.stack(bits), *below[1:])),
        "is_zero": B(circuits.is_zero(smpc, ctx, x)),
        "less": B(comparison.less(smpc, ctx, x, y)),
        "equal": B(comparison.equal(smpc, ctx, x, y)),
        "select": A(comparison.select(smpc, ctx, bit, x, y)),
        "relu": A(comparison.relu(smpc, ctx, x)),
        "maximum": A(comparison.maximum(smpc, ctx, x, y)),
        "minimum": A(comparison.minimum(smpc, ctx, x, y)),
        "absolute": A(comparison.absolute(smpc, ctx, x)),
    }


@functools.cache
def runner(program: Any, name: str, bits: int) -> Runner:
    smpc = protocol(name, bits)
    return Runner(smpc, functools.partial(program, smpc))


@functools.cache
def elementwise_operands(bits: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(bits)
    x = words(mixed(bits, COUNT, 1), bits)
    y = rng.permutation(words(mixed(bits, COUNT, 2), bits))
    full = rng.integers(0, 2**bits, COUNT, f"uint{bits}")
    x[-200:-100] = full[-200:-100]  # words that no encoding reaches
    y[-100:] = x[-100:]
    p = rng.integers(0, 256, COUNT, np.uint8)
    return x, y, p, full


@functools.cache
def elementwise(name: str, bits: int) -> dict[str, np.ndarray]:
    x, y, p, q = elementwise_operands(bits)
    return runner(elementwise_program, name, bits)(bits + 1, A(x), A(y), B(p), B(q))


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
        "open": x,
        "open_boolean": q,
        **{f"open_to_{i}": x for i in range(protocol(name, bits).size)},
        **{f"open_boolean_to_{i}": p for i in range(protocol(name, bits).size)},
    }
    assert out.keys() == expected.keys()
    for operation, value in expected.items():
        assert out[operation].dtype == value.dtype, operation
        np.testing.assert_array_equal(out[operation], value, err_msg=operation)


@functools.cache
def comparison_operands(bits: int) -> tuple[np.ndarray, ...]:
    """Every pair of extremes with |x - y| < 2^(k-1), random ones, and equal ones."""
    x, y = mixed(bits, COUNT, 3), np.random.default_rng(9).permutation(mixed(bits, COUNT, 4))
    some = [v for v in mixed(bits, 120, 5) if abs(v) in (0, 1, 15, 16, 255, 256, 2 ** (bits - 2))]
    xs = np.concatenate([x, x, np.repeat(np.asarray(some, object), len(some))])
    ys = np.concatenate([y, x, np.tile(np.asarray(some, object), len(some))])
    fits = abs(xs - ys) < 2 ** (bits - 1)
    xs, ys = words(xs[fits], bits), words(ys[fits], bits)
    return xs, ys, np.random.default_rng(7).integers(0, 256, len(xs), np.uint8)


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


def conversions_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, q: Any) -> Any:
    return {"a2b": B(circuits.a2b(smpc, ctx, x)), "b2a_words": A(circuits.b2a_words(smpc, ctx, q))}


@each
def test_conversions_of_whole_words(name: str, bits: int) -> None:
    x, _, _, q = elementwise_operands(bits)
    out = runner(conversions_program, name, bits)(bits + 3, A(x), B(q))
    np.testing.assert_array_equal(out["a2b"], x)
    np.testing.assert_array_equal(out["b2a_words"], q)


# --- Extremes along an axis ----------------------------------------------------------------------


def extremes_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, odd: Any, one: Any) -> Any:
    value, index = comparison.argument_of_largest(smpc, ctx, x)
    _, odd_index = comparison.argument_of_largest(smpc, ctx, odd)
    _, only = comparison.argument_of_largest(smpc, ctx, one)
    largest = comparison.largest(smpc, ctx, odd)
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


# --- Truncation ----------------------------------------------------------------------------------

DIVISORS = {32: (2, 2**10, 2**20, 10, 1000), 64: (2, 2**18, 2**40, 1000, 10**6)}
TRIALS = 350_000  # for each of 6 protocols and rings and 5 divisors: 10^7 in all


def truncation_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    return {str(d): A(smpc.truncate(ctx, x, d)) for d in DIVISORS[smpc.bits]}


def errors(x: np.ndarray, y: np.ndarray, divisor: int) -> np.ndarray:
    """y·divisor - x, exact as |x| <= 2^(k-2) and y is close to x / divisor."""
    difference = signed(y * y.dtype.type(divisor) - x).astype(np.int64)
    close = abs(signed(y).astype(float) - signed(x).astype(float) / divisor)
    assert close.max() < 2 + 2**-40 * abs(signed(x).astype(float)).max() / divisor
    return difference


@functools.cache
def truncation_operand(bits: int) -> np.ndarray:
    rng = np.random.default_rng(bits)
    bound = 2 ** (bits - 2)
    full = rng.integers(-bound, bound, TRIALS, np.int64, endpoint=True)
    shrunk = full >> rng.integers(0, bits - 2, TRIALS)
    x = np.where(rng.integers(0, 2, TRIALS), full, shrunk)
    special = mixed(bits, 2000, 11)
    x[: len(special)] = special.astype(np.int64)
    return words_of(x, bits)


def words_of(x: np.ndarray, bits: int) -> np.ndarray:
    return x.astype(f"int{bits}").view(f"uint{bits}")


@each
def test_truncation_is_off_by_less_than_one_unit(name: str, bits: int) -> None:
    x = truncation_operand(bits)
    out = runner(truncation_program, name, bits)(bits + 5, A(x))
    for divisor in DIVISORS[bits]:
        error = errors(x, out[str(divisor)], divisor)
        assert abs(error).max() < divisor, divisor
        if name == "plain":
            assert 2 * abs(error).max() <= divisor  # it rounds to the nearest


def test_the_truncation_trials_are_ten_million() -> None:
    assert TRIALS * len(SECRET) * sum(map(len, DIVISORS.values())) >= 10**7


def scaled_products_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> Any:
    scale = smpc.encoding.scale
    return {
        "binary": A(smpc.mul_aa(ctx, x, y, scale)),
        "decimal": A(smpc.mul_aa(ctx, x, y, 1000)),
        "square": A(smpc.square(ctx, x, scale)),
    }


@each
def test_products_with_a_divisor(name: str, bits: int) -> None:
    count, half = 20_000, (bits - 2) // 2
    rng = np.random.default_rng(bits)
    x, y = (rng.integers(-(2**half), 2**half, count, np.int64, endpoint=True) for _ in range(2))
    x[:3], y[:3] = 2**half, (2**half, -(2**half), 0)
    x, y = words_of(x, bits), words_of(y, bits)
    out = runner(scaled_products_program, name, bits)(bits + 6, A(x), A(y))
    scale = protocol(name, bits).encoding.scale
    for result, exact, divisor in (
        ("binary", x * y, scale),
        ("decimal", x * y, 1000),
        ("square", x * x, scale),
    ):
        assert abs(errors(exact, out[result], divisor)).max() < divisor, result


def rounding_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    scale = smpc.encoding.scale
    return {
        "floor": A(rounding.floor(smpc, ctx, x, scale)),
        "toward_zero": A(rounding.toward_zero(smpc, ctx, x, scale)),
        "decimal": A(rounding.floor(smpc, ctx, x, 1000)),
    }


@each
def test_rounding_to_integers_is_exact(name: str, bits: int) -> None:
    scale = protocol(name, bits).encoding.scale
    multiples = np.arange(-150, 150) * scale
    near = np.concatenate([multiples + d for d in (-1, 0, 1, scale // 2)]).astype(object)
    x = np.concatenate([near, np.arange(-3000, 3001, 500).astype(object), mixed(bits, 900, 12)])
    out = runner(rounding_program, name, bits)(bits + 7, A(words(x, bits)))
    np.testing.assert_array_equal(out["floor"], words(x // scale, bits))
    np.testing.assert_array_equal(out["decimal"], words(x // 1000, bits))
    truncated = np.where(x < 0, -(-x // scale), x // scale)
    np.testing.assert_array_equal(out["toward_zero"], words(truncated, bits))


# --- Chosen masks: what random trials meet once in 2^k -------------------------------------------


def adversarial(bits: int, divisor: int) -> tuple[np.ndarray, np.ndarray]:
    """Values at the ends of their range with masks around every wrap."""
    bound, size = 2 ** (bits - 2), 2**bits
    x = {0, 1, -1, divisor, -divisor, bound, bound - 1, -bound, 1 - bound, bound // 2}
    x |= {bound - divisor, bound - divisor // 2, divisor - bound}
    offset = -(-bound // divisor) * divisor
    r = {0, 1, size - 1, size // 2, size // 2 - 1, size // 2 + 1, divisor - 1, divisor}
    for value in x:
        start = value + offset
        r |= {(at - start + d) % size for at in (0, size // 2) for d in (-divisor, -1, 0, 1)}
    xs, rs = np.meshgrid(
        np.asarray(sorted(v for v in x if abs(v) <= bound), object), np.asarray(sorted(r), object)
    )
    return xs.reshape(-1), rs.reshape(-1)


class ChosenMask(Context):
    """Deals truncation pairs with a chosen mask; all other draws are zero."""

    mask: Any

    def draw(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self.seeds.map(lambda _: jnp.zeros(shape, dtype))

    def deal(self, correlation: Any) -> tuple[Local, ...]:
        assert isinstance(correlation, TruncationPair)
        values = (self.mask, *correlation.derive(self.mask))
        others = [jnp.zeros(v.shape, v.dtype) for v in values]
        return tuple(
            self.network.hosted([v, *[z] * (self.network.parties - 1)])
            for v, z in zip(values, others, strict=True)
        )


@pytest.mark.parametrize("divisor", [2**10, 1000, 999_983])
@each_secret
def test_truncation_holds_for_every_mask(name: str, bits: int, divisor: int) -> None:
    smpc = protocol(name, bits)
    xs, rs = adversarial(bits, divisor)
    x, r = words(xs, bits), words(rs, bits)
    zero = np.zeros_like(x)
    # In replicated sharing the mask is -x_2 where all draws are zero.
    replicated = name == "replicated3"
    parts = [x + r, zero, zero - r] if replicated else [x, *[zero] * (smpc.size - 1)]
    net = Simulated(smpc.size)
    ctx = ChosenMask(net, smpc.setup(net, jnp.zeros(8, jnp.uint32)))
    ctx.mask = jnp.asarray(r)
    out = smpc.truncate(ctx, smpc.unpack(net, (jnp.asarray(np.stack(parts)),)), divisor)
    opened = integers(np.sum([np.asarray(v) for v in out.values], 0, dtype=x.dtype))
    far = abs(opened * divisor - xs) >= divisor
    wrong = [f"x {a}, mask {m}: {y}" for a, m, y in zip(xs[far], rs[far], opened[far], strict=True)]
    assert wrong[:3] == []


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
            "msb": B(circuits.msb(smpc, ctx, x)),
            "is_zero": B(circuits.is_zero(smpc, ctx, x)),
            "a2b": B(circuits.a2b(smpc, ctx, x)),
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


# --- Products ------------------------------------------------------------------------------------

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


def wrapping(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Ring elements of which many are extreme."""
    ends = words([0, 1, -1, 2 ** (bits - 1), 2 ** (bits - 2), -(2 ** (bits - 2))], bits)
    full = rng.integers(0, 2**bits, shape, f"uint{bits}")
    return np.where(rng.integers(0, 4, shape) == 0, rng.choice(ends, shape), full)


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


def convolutions() -> list[tuple[Any, Any, dict[str, Any]]]:
    """Shapes and parameters: forward, and both products of each one's gradient."""
    nhwc = ("NHWC", "HWIO", "NHWC")
    forward = [
        ((2, 6, 5, 3), (3, 3, 3, 2), {"window_strides": (2, 1), "padding": "SAME"}),
        ((1, 7, 7, 2), (2, 2, 2, 3), {"window_strides": (1, 1), "padding": ((-1, 0), (0, 1)),
                                      "rhs_dilation": (2, 3)}),
        ((1, 4, 3, 2), (3, 2, 2, 3), {"window_strides": (1, 2), "padding": ((1, 2), (1, 1)),
                                      "lhs_dilation": (2, 3)}),
        ((2, 5, 5, 4), (3, 3, 2, 6), {"window_strides": (2, 1), "padding": "SAME",
                                      "feature_group_count": 2}),
        ((4, 5, 5, 3), (2, 2, 3, 4), {"window_strides": (1, 1), "padding": "VALID",
                                      "batch_group_count": 2}),
    ]  # fmt: skip
    result = []
    for x, w, options in forward:

        def conv(a: Any, b: Any, options: Any = options) -> Any:
            return lax.conv_general_dilated(a, b, dimension_numbers=nhwc, **options)

        def pulled(a: Any, b: Any, conv: Any = conv) -> Any:
            out, pull = jax.vjp(conv, a, b)
            return pull(out)

        def grads(a: Any, b: Any, pulled: Any = pulled) -> Any:
            return pulled(a, b)

        shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in (x, w)]
        jaxpr = jax.make_jaxpr(grads)(*shapes)
        equations = [e for e in jaxpr.eqns if e.primitive is lax.conv_general_dilated_p]
        assert len(equations) == 3
        result += [(*(v.aval.shape for v in e.invars), e.params) for e in equations]
    one = jax.make_jaxpr(lambda a, b: lax.conv(a, b, (2,), "SAME"))(
        jnp.zeros((2, 3, 7)), jnp.zeros((4, 3, 3))
    )
    equation = one.eqns[-1]
    result.append((*(v.aval.shape for v in equation.invars), equation.params))
    return result


def product_of(params: dict[str, Any]) -> Bilinear:
    """As the interpreter makes it of the equation's parameters."""
    return Bilinear(
        "convolution",
        (
            tuple(params["window_strides"]),
            tuple(map(tuple, params["padding"])),
            tuple(params["lhs_dilation"]),
            tuple(params["rhs_dilation"]),
            params["dimension_numbers"],
            params["feature_group_count"],
            params["batch_group_count"],
        ),
    )


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
    [("plain", 32), ("plain", 64), ("additive2", 64), ("additive3", 32), ("replicated3", 32),
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


# --- Shapes --------------------------------------------------------------------------------------

SHAPES = [(), (1,), (3,), (2, 3), (2, 1, 3), (2, 3, 1, 2), (0,), (2, 0)]


@each
def test_scalars_to_four_dimensions(name: str, bits: int) -> None:
    smpc = protocol(name, bits)
    rng = np.random.default_rng(bits)
    half = 2 ** ((bits - 2) // 2)
    xs = [words_of(rng.integers(-half, half, s, np.int64), bits) for s in SHAPES]

    def program(ctx: Context, *xs: Any) -> Any:
        out: dict[str, Any] = {}
        for i, x in enumerate(xs):
            sign = circuits.msb(smpc, ctx, x)
            out[f"sign{i}"] = B(sign)
            out[f"equal{i}"] = B(circuits.is_zero(smpc, ctx, x - x))
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


# --- Against Plain, through the interpreter, in one phase and in two -----------------------------


def user_function(x: Any, w: Any, label: Any) -> Any:
    hidden = jax.nn.relu(x @ w)

    def step(carry: Any, row: Any) -> Any:
        carry = carry * 0.5 + jnp.maximum(row, carry)
        return carry, carry > 1.0

    total, above = lax.scan(step, jnp.zeros(w.shape[1]), hidden)
    picked = lax.cond(label[0] > 3, lambda v: v * v, lambda v: v - 1.0, total)
    return hidden, above, picked, (jnp.argmax(hidden, -1) == label).sum()


def user_arguments(name: str, bits: int) -> tuple[Any, ...]:
    rng = np.random.default_rng(4)
    values = (
        rng.normal(size=(4, 6)).astype(np.float32),
        rng.normal(size=(6, 5)).astype(np.float32),
        np.array([1, 0, 4, 2], np.int32),
    )
    key = jax.random.key(17)
    return jsmpc.share(key, values, protocol(name, bits)), values


@pytest.mark.parametrize(("name", "bits"), [*((name, 64) for name in MAKERS), ("additive2", 32)])
def test_two_phases_give_what_one_gives(name: str, bits: int) -> None:
    (shares, values), f = user_arguments(name, bits), jsmpc.secure(user_function)
    key = jax.random.key(23)
    together = f(key, *shares)
    material = f.offline(key, *shares)
    apart = f.online(material, *shares)
    for one, two in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        np.testing.assert_array_equal(one, two)
    hidden, above, picked, correct = jsmpc.reveal(together)
    plain = user_function(*map(jnp.asarray, values))
    step = 2.0 ** (-18 if bits == 64 else -10)
    np.testing.assert_allclose(hidden, plain[0], atol=20 * step)
    np.testing.assert_array_equal(above, plain[1])
    np.testing.assert_allclose(picked, plain[2], atol=60 * step)
    assert int(correct) == int(plain[3])


@each_secret
def test_ring_operations_equal_those_of_plain(name: str, bits: int) -> None:
    ours, plain = elementwise(name, bits), elementwise("plain", bits)
    assert plain.keys() <= ours.keys()
    for operation, value in plain.items():
        np.testing.assert_array_equal(ours[operation], value, err_msg=operation)
