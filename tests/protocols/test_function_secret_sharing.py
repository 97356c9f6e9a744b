"""What function secret sharing has alone: narrow keys, numbers of bits, blocks of elements."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import A, B, Runner, mixed, protocol, words
from jsmpc._src.protocols import fss
from jsmpc._src.protocols.bits import Bits, NumberedBits
from jsmpc._src.runtime.context import Context
from views import nothing_traced_before

SMPC = jsmpc.FSS2(("bob", "alice"), dealer="james")
KEY = jax.random.key(3)


# --- Widths --------------------------------------------------------------------------------------


def every_pair(dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    info = np.iinfo(dtype)
    ends = [info.min, info.min + 1, -1 if info.min else 2, 0, 1, 5, info.max - 1, info.max]
    x, y = zip(*itertools.product(ends, ends), strict=True)
    return np.asarray(x, dtype), np.asarray(y, dtype)


WIDTHS = {  # bytes that a party sends in a comparison, and those of a key's corrections
    np.int8: (2, 32),
    np.uint8: (2, 32),
    np.int16: (4, 160),
    np.int32: (8, 416),
}


@pytest.mark.parametrize("dtype", WIDTHS, ids=lambda d: d.__name__)
def test_keys_of_narrow_integers_are_short(dtype: Any) -> None:
    x, y = every_pair(dtype)

    def compared(x: Any, y: Any) -> Any:
        return x < y, x >= y, x == y, jnp.maximum(x, y), jnp.minimum(x, y)

    shares = jsmpc.share(KEY, (x, y), SMPC)
    found = jsmpc.reveal(jsmpc.secure(compared)(KEY, *shares))
    for one, other in zip(found, compared(x, y), strict=True):
        np.testing.assert_array_equal(one, other)
    cost = jsmpc.secure(jnp.less).cost(*shares)
    sent, key = WIDTHS[dtype]
    assert (cost.rounds, cost.bytes_sent) == (1, (sent * x.size,) * 2)
    assert cost.dealer_bytes == 2 * key * x.size


def test_keys_of_what_may_be_anything_are_whole() -> None:
    x = jsmpc.share(KEY, np.ones(4, np.float32), SMPC)
    assert jsmpc.secure(lambda v: v < 1.5).cost(x).dealer_bytes == 2 * 4 * 912


def test_what_a_program_tells_of_numbers_counts() -> None:
    """One-hot vectors, and numbers that were clamped."""
    labels = jsmpc.share(KEY, np.int32([0, 2, 1]), SMPC)
    hot = jsmpc.secure(lambda v: (jax.nn.one_hot(v, 3) > 0.5).sum())
    plain = jsmpc.secure(lambda v: (v > 0.5).sum())
    wide = plain.cost(jsmpc.share(KEY, np.zeros((3, 3), np.float32), SMPC)).dealer_bytes
    assert hot.cost(labels).dealer_bytes < wide
    assert jsmpc.reveal(hot(KEY, labels)) == 3


# --- Numbers of bits -----------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [32, 64])
def test_equality_and_products_of_bits_are_numbers_at_once(bits: int) -> None:
    smpc = protocol("fss22", bits)
    x = words([0, 1, -1, 0, 1 << bits - 1, 7], bits)
    sets = np.asarray([0b111111111, 0b111111110, 0, 0b011111111], np.uint16)

    def program(ctx: Context, x: Any, sets: Any) -> Any:
        zero, full = smpc.is_zero(ctx, x), smpc.all_set(ctx, Bits(sets, 9))
        assert isinstance(zero, NumberedBits) and isinstance(full, NumberedBits)
        return {
            "zero": B(zero),
            "zeros": A(smpc.b2a(ctx, zero)),
            "full": A(smpc.b2a(ctx, full)),
            "not": A(smpc.b2a(ctx, smpc.not_b(ctx, zero))),
        }

    with jax.enable_x64(True):
        out = Runner(smpc, program)(5, A(x), B(sets))
    np.testing.assert_array_equal(out["zero"], x == 0)
    np.testing.assert_array_equal(out["zeros"], x == 0)
    np.testing.assert_array_equal(out["full"], [1, 0, 0, 0])
    np.testing.assert_array_equal(out["not"], x != 0)


def test_bits_that_are_numbers_pass_through_branches_and_loops() -> None:
    def program(x: Any, public: Any) -> Any:
        picked = jax.lax.cond(public, lambda v: v == 3, lambda v: v < 3, x)

        def step(carry: Any, row: Any) -> Any:
            return row == 2, carry

        last, before = jax.lax.scan(step, picked, jnp.stack([x, x + 1]))
        return picked.sum(), last, before

    x = np.int32([1, 2, 3])
    found = jsmpc.secure(program)(KEY, jsmpc.share(KEY, x, SMPC), np.bool_(True))
    for one, other in zip(jsmpc.reveal(found), program(x, np.bool_(True)), strict=True):
        np.testing.assert_array_equal(one, other)


# --- Blocks --------------------------------------------------------------------------------------


def test_many_elements_are_computed_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same results, rounds and bytes; and offline what is dealt in place."""
    x = mixed(64, 119, 1)[:117].reshape(9, 13).astype(np.int64) >> 20
    shares = jsmpc.share(KEY, x.astype(np.float32), SMPC)

    def program(v: Any) -> Any:
        return jax.nn.relu(v), v > 5, v == 0

    whole = jsmpc.secure(program).cost(shares)
    monkeypatch.setattr(fss, "_LARGE", 50)
    monkeypatch.setattr(fss, "_BLOCK", 20)
    with nothing_traced_before():
        secure = jsmpc.secure(program)
        cost = secure.cost(shares)
        assert (cost.rounds, cost.bytes_sent) == (whole.rounds, whole.bytes_sent)
        assert whole.dealer_bytes < cost.dealer_bytes < 1.1 * whole.dealer_bytes
        together = secure(KEY, shares)
        apart = secure.online(secure.offline(KEY, shares), shares)
    for one, two, plain in zip(together, apart, program(x.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(one.components[0], two.components[0])
        np.testing.assert_array_equal(jsmpc.reveal(one), plain)


def test_keys_come_from_files(tmp_path: Path) -> None:
    x = jsmpc.share(KEY, np.linspace(-2, 2, 9, dtype=np.float32), SMPC)
    secure = jsmpc.secure(lambda v: (jax.nn.relu(v), jnp.argmax(v)))
    secure.offline(KEY, x).save(tmp_path / "keys")
    found = secure.online(jsmpc.Material.load(tmp_path / "keys", SMPC), x)
    for one, other in zip(found, secure(KEY, x), strict=True):
        np.testing.assert_array_equal(one.components[0], other.components[0])
    assert int(jsmpc.reveal(found[1])) == 8
