"""Boolean shares: what is local on their words, and that they are not taken for numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import jsmpc
from harness import A, B, Runner, protocol
from jsmpc._src.functions import circuits
from jsmpc._src.interpreter.secret import BOOL, Secret
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.runtime.context import Context

pytestmark = pytest.mark.usefixtures("x64")

NAMES = ["insecure-plain", "additive2", "replicated3"]
RNG = np.random.default_rng(5)
X, Y = (RNG.integers(0, 2**16, 6, np.uint16) for _ in range(2))
AMOUNTS = np.array([0, 1, 5, 9, 14, 15])


def operations(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> dict[str, tuple[Any, int]]:
    """Each with the width that it should have."""
    x, y = Bits(x), Bits(y)
    low = x.low(5)
    bit = x.bit(3)
    return {
        "xor": (x ^ y, 16),
        "mask": (x & np.uint16(0x0FF0), 16),
        "left": (x << 3, 16),
        "right": (x >> 3, 16),
        "left by each": (x << AMOUNTS, 16),
        "right by each": (x >> AMOUNTS, 16),
        "arithmetic": (x.arithmetic_right(3), 16),
        "arithmetic by each": (x.arithmetic_right(AMOUNTS), 16),
        "low": (low, 5),
        "low, moved": (low << 2, 5),
        "high": (x.high(3), 3),
        "high of low": (low.high(2), 2),
        "bit": (bit, 1),
        "highest bit": (x.bit(15), 1),
        "padded": (low.padded(6), 11),
        "concat": (low.concat(y.low(13)), 18),
        "spread": (bit.spread(16), 16),
        "spread narrow": (bit.spread(3), 3),
        "spread none": (bit.spread(1), 1),
        "spread product": (smpc.and_bb(ctx, bit, y.bit(2)).spread(16), 16),
        "planes": (low.planes(), 1),
        "moved": (x.map(lambda w: w[::-1]), 16),
        "joined": (x.map(lambda v, w: v ^ w[::-1], y), 16),
        "not": (smpc.not_b(ctx, low), 5),
        "chosen": (circuits.choose(smpc, ctx, bit, x, y), 16),
    }


def expected() -> dict[str, np.ndarray]:
    low, bit = X & 31, (X >> 3) & 1
    signed = X.view(np.int16)
    return {
        "xor": X ^ Y,
        "mask": X & 0x0FF0,
        "left": X << 3,
        "right": X >> 3,
        "left by each": X << AMOUNTS.astype(np.uint16),
        "right by each": X >> AMOUNTS.astype(np.uint16),
        "arithmetic": (signed >> 3).view(np.uint16),
        "arithmetic by each": (signed >> AMOUNTS.astype(np.int16)).view(np.uint16),
        "low": low,
        "low, moved": (low << 2) & 31,
        "high": X >> 13,
        "high of low": low >> 3,
        "bit": bit,
        "highest bit": X >> 15,
        "padded": low << 6,
        "concat": low.astype(np.uint32) << 13 ^ (Y & 0x1FFF),
        "spread": bit * 0xFFFF,
        "spread narrow": bit * 7,
        "spread none": bit,
        "spread product": (bit & Y >> 2 & 1) * 0xFFFF,
        "planes": (low[:, None] >> np.arange(5)) & 1,
        "moved": X[::-1],
        "joined": X ^ Y[::-1],
        "not": low ^ 31,
        "chosen": np.where(bit, X, Y),
    }


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_of_the_words(name: str) -> None:
    smpc, widths = protocol(name, 64), {}

    def program(ctx: Context, x: Any, y: Any) -> dict[str, B]:
        found = operations(smpc, ctx, x, y)
        widths.update({n: (bits.width, width) for n, (bits, width) in found.items()})
        return {n: B(bits) for n, (bits, _) in found.items()}

    out = Runner(smpc, program)(7, B(X), B(Y))
    assert {n: got for n, (got, _) in widths.items()} == {n: w for n, (_, w) in widths.items()}
    for operation, value in expected().items():
        np.testing.assert_array_equal(out[operation], value, err_msg=operation)
        narrowest = next(w for w in (8, 16, 32, 64) if widths[operation][0] <= w)
        assert out[operation].dtype == f"uint{narrowest}", operation
    assert out.keys() == expected().keys()


@pytest.mark.parametrize("name", NAMES)
def test_numbers_become_bits_and_bits_numbers(name: str) -> None:
    smpc = protocol(name, 32)

    def program(ctx: Context, x: Any) -> dict[str, A | B]:
        byte = smpc.a2b(ctx, x.astype(np.uint8))
        return {
            "lsb": B(smpc.lsb(ctx, x)),
            "a2b": B(byte),
            "b2a": A(smpc.b2a(ctx, smpc.lsb(ctx, x))),
            "b2a_words": A(circuits.b2a_words(smpc, ctx, byte.low(6), signed=True)),
        }

    x = X.astype(np.uint32)
    out = Runner(smpc, program)(8, A(x))
    six = (x & 63).astype(np.int32)
    np.testing.assert_array_equal(out["lsb"], x & 1)
    np.testing.assert_array_equal(out["a2b"], x & 255)
    np.testing.assert_array_equal(out["b2a"], x & 1)
    np.testing.assert_array_equal(
        out["b2a_words"].view(np.int32), np.where(six < 32, six, six - 64)
    )


# --- Neither is taken for the other ---------------------------------------------------------------

BITS_FOR_NUMBERS: dict[str, Callable[..., Any]] = {
    "x + b": lambda s, c, x, b: x + b,
    "b + x": lambda s, c, x, b: b + x,
    "b - x": lambda s, c, x, b: b - x,
    "x * b": lambda s, c, x, b: x * b,
    "-b": lambda s, c, x, b: -b,
    "x ^ b": lambda s, c, x, b: x ^ b,
    "b & b": lambda s, c, x, b: b & b,
    "map": lambda s, c, x, b: x.map(lambda v, w: np.uint64(1) + v + w, b),
    "mul_aa": lambda s, c, x, b: s.mul_aa(c, x, b),
    "mul_aa first": lambda s, c, x, b: s.mul_aa(c, b, x),
    "msb": lambda s, c, x, b: s.msb(c, b),
    "truncate": lambda s, c, x, b: s.truncate(c, b, 4),
    "open": lambda s, c, x, b: s.open(c, b),
}
NUMBERS_FOR_BITS: dict[str, Callable[..., Any]] = {
    "b ^ x": lambda s, c, x, b: b ^ x,
    "and_bb": lambda s, c, x, b: s.and_bb(c, b, x),
    "and_bb first": lambda s, c, x, b: s.and_bb(c, x, b),
    "not_b": lambda s, c, x, b: s.not_b(c, x),
    "b2a": lambda s, c, x, b: s.b2a(c, x),
    "mul_ba": lambda s, c, x, b: s.mul_ba(c, x, x),
    "map": lambda s, c, x, b: b.map(lambda v, w: v ^ w, x),
}


@pytest.mark.parametrize("name", NAMES)
def test_one_is_not_taken_for_the_other(name: str) -> None:
    smpc = protocol(name, 64)

    def program(ctx: Context, x: Any, b: Any) -> dict[str, B]:
        for case, f in BITS_FOR_NUMBERS.items():
            with pytest.raises(TypeError, match=r"Boolean shares.*b2a makes numbers of bits"):
                pytest.fail(f"{case}: {f(smpc, ctx, x, Bits(b, 1))}")
        for case, f in NUMBERS_FOR_BITS.items():
            with pytest.raises(TypeError, match="where Boolean shares are needed"):
                pytest.fail(f"{case}: {f(smpc, ctx, x, Bits(b, 1))}")
        with pytest.raises(TypeError, match="a mask is public"):
            Bits(b) & x
        with pytest.raises(TypeError, match=r"Bits\(width=8.* where words of 1 bits are needed"):
            smpc.b2a(ctx, Bits(b))
        with pytest.raises(TypeError, match="where words of 8 bits are needed"):
            Bits(b) ^ Bits(b, 1)
        return {}

    Runner(smpc, program)(9, A(np.zeros(3, np.uint64)), B(np.zeros(3, np.uint8)))


def test_a_secret_says_which_it_is() -> None:
    words = Network(1).hosted([np.ones(3, np.uint8)])
    boolean, number = Secret.of(words, BOOL), Secret.of(words, np.dtype(np.int32))
    with pytest.raises(TypeError, match="booleans where numbers are needed"):
        _ = boolean.value
    with pytest.raises(TypeError, match="int32 where booleans are needed"):
        _ = number.bits
