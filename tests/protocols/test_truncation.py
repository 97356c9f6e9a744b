"""Truncation is off by less than one unit, whatever the masks; rounding is exact."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import SECRET, A, mixed, protocol, signed, words
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import TruncationMask
from programs import (
    each,
    each_secret,
    integers,
    rounding_program,
    runner,
    words_of,
)

pytestmark = pytest.mark.usefixtures("x64")


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
    full = rng.integers(-bound, bound, TRIALS, np.int64)
    shrunk = full >> rng.integers(0, bits - 2, TRIALS)
    x = np.where(rng.integers(0, 2, TRIALS), full, shrunk)
    special = mixed(bits, 2000, 11)
    x[: len(special)] = special.astype(np.int64)
    return words_of(x, bits)


@each
def test_truncation_is_off_by_less_than_one_unit(name: str, bits: int) -> None:
    x = truncation_operand(bits)
    out = runner(truncation_program, name, bits)(bits + 5, A(x))
    for divisor in DIVISORS[bits]:
        error = errors(x, out[str(divisor)], divisor)
        assert abs(error).max() < divisor, divisor
        if name == "insecure-plain":
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


# --- Chosen masks: what random trials meet once in 2^k --------------------------------------------


def adversarial(bits: int, divisor: int) -> tuple[np.ndarray, np.ndarray]:
    """Values at the ends of their range with masks around every wrap."""
    bound, size = 2 ** (bits - 2), 2**bits
    x = {0, 1, -1, divisor, -divisor, bound - 1, -bound, 1 - bound, bound // 2}
    x |= {bound - divisor, bound - divisor // 2, divisor - bound}
    offset = -(-bound // divisor) * divisor
    r = {0, 1, size - 1, size // 2, size // 2 - 1, size // 2 + 1, divisor - 1, divisor}
    for value in x:
        start = value + offset
        r |= {(at - start + d) % size for at in (0, size // 2) for d in (-divisor, -1, 0, 1)}
    xs, rs = np.meshgrid(
        np.asarray(sorted(v for v in x if -bound <= v < bound), object),
        np.asarray(sorted(r), object),
    )
    return xs.reshape(-1), rs.reshape(-1)


class ChosenMask(Context):
    """Deals truncation pairs with a chosen mask; all other draws are zero."""

    mask: Any

    def draw(self, shape: tuple[int, ...], dtype: Any, group: Any = None) -> Any:
        return self.seeds.map(lambda _: jnp.zeros(shape, dtype))

    def deal(self, correlation: Any) -> tuple[Local, ...]:
        assert isinstance(correlation, TruncationMask)
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
    net = Network(smpc.size)
    ctx = ChosenMask(net, smpc.setup(net, [jnp.zeros(8, jnp.uint32)] * len(smpc.endpoints)))
    ctx.mask = jnp.asarray(r)
    out = smpc.truncate(ctx, smpc.unpack(net, (jnp.asarray(np.stack(parts)),)), divisor)
    opened = integers(np.sum([np.asarray(v) for v in out.values], 0, dtype=x.dtype))
    far = abs(opened * divisor - xs) >= divisor
    wrong = [f"x {a}, mask {m}: {y}" for a, m, y in zip(xs[far], rs[far], opened[far], strict=True)]
    assert wrong[:3] == []
