"""Words modulo a number, and the lemma on private compare: what they do not prove.

Each planted leak is one change of a step that is proved as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import A
from jsmpc._src import kernels
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.securenn import SecureNN
from jsmpc._src.ring.groups import BOOLEAN, modulo
from jsmpc._src.ring.positions import FACTORS, FIELD
from jsmpc._src.runtime.context import Context
from mutants import Traced

HELPED = SecureNN()
K, ONE = 64, np.uint8(1)
SHAPE = (2, 3)


def proved(step: Callable[[Context, Local], Any], smpc: SecureNN = HELPED) -> bool:
    return bool(Traced.of(smpc, step, (A,), SHAPE).proof())


# --- Private compare -----------------------------------------------------------------------------

Parts = dict[str, Any]


def common(ctx: Context, shape: Any, group: Any = BOOLEAN, dtype: Any = np.uint8) -> Any:
    return HELPED._common(ctx, shape, dtype, group)


def sought(r: Any, beta: Any) -> Parts:
    low = r - np.uint64(1)
    return {
        "v": low + beta.astype(np.uint64),
        "how": beta | (r == 0).astype(np.uint8) * np.uint8(3),
    }


def comparison(change: Callable[[Context, Parts], Any]) -> Callable[[Context, Local], None]:
    """The helper compares what it is sent, a number under r, with r, as private compare does but
    for a change."""

    def step(ctx: Context, x: Local) -> None:
        net, shape = ctx.network, x.shape
        r, r_0 = (common(ctx, shape, dtype=x.dtype) for _ in range(2))
        first, second = net.ask(x + net.hosted([r_0, r - r_0]))
        beta = common(ctx, shape) & ONE
        parts: Parts = {
            "word": first + second,
            "r": r,
            "beta": beta,
            "place": common(ctx, shape) & np.uint8(K - 1),
            "factor": common(ctx, (K, *shape), FACTORS),
            "mask": common(ctx, (K, *shape), FIELD),
            "sides": (True, False),
            **sought(r, beta),
        }
        parts["x"] = HELPED._from_helper(ctx, kernels.bits(parts["word"]), FIELD)
        change(ctx, parts)
        compare(ctx, parts)

    return step


def compare(ctx: Context, parts: Parts, **second: Any) -> None:
    sides = [parts, parts | second]
    ctx.network.ask(
        Local(
            kernels.differences(
                x, p["v"], p["how"], p["place"], p["factor"], p["mask"], first=first
            )
            for p, x, first in zip(sides, parts["x"].values, parts["sides"], strict=True)
        )
    )


def replaced(name: str, f: Callable[[Any], Any]) -> Callable[[Context, Parts], None]:
    def change(ctx: Context, p: Parts) -> None:
        p[name] = f(p[name])

    return change


def told(name: str) -> Callable[[Context, Parts], None]:
    return lambda ctx, p: ctx.network.tell(p[name])


def of_bit(f: Callable[[Any], Any]) -> Callable[[Context, Parts], None]:
    """Another bit in the place of β."""

    def change(ctx: Context, p: Parts) -> None:
        p.update(sought(p["r"], f(p["beta"])))

    return change


def zero(x: Any) -> Any:
    return x ^ x


def one_for_all(x: Any) -> Any:
    return jnp.broadcast_to(x[(0,) * x.ndim], x.shape)


def one_a_position(x: Any) -> Any:
    return jnp.broadcast_to(x[:1], x.shape)


def neither_factor_nor_mask(ctx: Context, p: Parts) -> None:
    p["factor"], p["mask"] = zero(p["factor"]), zero(p["mask"])


def bit_left_out_of_the_word(ctx: Context, p: Parts) -> None:
    p["v"] = sought(p["r"], zero(p["beta"]))["v"]


def bit_left_out_of_the_direction(ctx: Context, p: Parts) -> None:
    p["how"] = sought(p["r"], zero(p["beta"]))["how"]


def another_word_is_compared(ctx: Context, p: Parts) -> None:
    p["v"] = p["r"] + p["beta"].astype(np.uint64)


def another_test_for_zero(ctx: Context, p: Parts) -> None:
    p["how"] = p["beta"] | (p["r"] == 1).astype(np.uint8) * np.uint8(3)


def factors_that_may_be_zero(ctx: Context, p: Parts) -> None:
    p["factor"] = common(ctx, p["factor"].shape, FIELD)


def mask_of_bytes(ctx: Context, p: Parts) -> None:
    p["mask"] = common(ctx, p["mask"].shape)


def mask_of_another_field(ctx: Context, p: Parts) -> None:
    p["mask"] = common(ctx, p["mask"].shape, FACTORS)


def factors_of_the_helper(ctx: Context, p: Parts) -> None:
    p["factor"] = ctx.draw(p["factor"].shape, np.uint8, FACTORS).values[0]


def mask_of_the_helper(ctx: Context, p: Parts) -> None:
    p["mask"] = ctx.draw(p["mask"].shape, np.uint8, FIELD).values[1]


def place_of_the_helper(ctx: Context, p: Parts) -> None:
    p["place"] = ctx.draw(p["place"].shape, np.uint8).values[0] & np.uint8(K - 1)


def bit_of_the_helper(ctx: Context, p: Parts) -> None:
    p["beta"] = ctx.draw(p["beta"].shape, np.uint8).values[0] & ONE
    p.update(sought(p["r"], p["beta"]))


def used_again(*names: str) -> Callable[[Context, Parts], None]:
    """A second comparison of other words, fresh but for some of what hides the first."""

    def change(ctx: Context, p: Parts) -> None:
        shape = p["r"].shape
        beta = p["beta"] if "beta" in names else common(ctx, shape) & ONE
        fresh = {
            "place": common(ctx, shape) & np.uint8(K - 1),
            "factor": common(ctx, (K, *shape), FACTORS),
            "mask": common(ctx, (K, *shape), FIELD),
            **sought(p["r"] + np.uint64(5), beta),
        }
        compare(ctx, p | {n: w for n, w in fresh.items() if n not in names})

    return change


def not_of_bits(ctx: Context, p: Parts) -> None:
    digits = jnp.where(kernels.bits(p["word"]) == 1, np.uint8(2), np.uint8(0))
    p["x"] = HELPED._from_helper(ctx, digits, FIELD)


def bits_in_the_clear(ctx: Context, p: Parts) -> None:
    bits = ctx.network.deliver(ctx.network.only(0, kernels.bits(p["word"])))
    p["x"] = ctx.network.by_rank(bits, p["x"].map(zero))


def summands_of_one_party(ctx: Context, p: Parts) -> None:
    p["x"] = ctx.network.hosted([p["x"].values[0]] * 2)


def sides(*first: bool) -> Callable[[Context, Parts], None]:
    return lambda ctx, p: p.update(sides=first)


LEAKS: dict[str, Callable[[Context, Parts], Any]] = {
    "u left out": replaced("mask", zero),
    "one u for all": replaced("mask", one_for_all),
    "one u for all positions": replaced("mask", one_a_position),
    "u sent to the helper": told("mask"),
    "u known to the helper": mask_of_the_helper,
    "u of all bytes": mask_of_bytes,
    "u below 66": mask_of_another_field,
    "u doubled": replaced("mask", lambda u: FIELD.add(u, u)),
    "s left out": replaced("factor", zero),
    "neither s nor u": neither_factor_nor_mask,
    "one s for all positions": replaced("factor", one_a_position),
    "s that may be zero": factors_that_may_be_zero,
    "s sent to the helper": told("factor"),
    "s known to the helper": factors_of_the_helper,
    "π left out": replaced("place", zero),
    "one π for all": replaced("place", one_for_all),
    "π of half of the positions": replaced("place", lambda w: w & np.uint8(31)),
    "π sent to the helper": told("place"),
    "π known to the helper": place_of_the_helper,
    "β left out": of_bit(zero),
    "one β for all": of_bit(one_for_all),
    "β left out of the word": bit_left_out_of_the_word,
    "β left out of the direction": bit_left_out_of_the_direction,
    "β sent to the helper": told("beta"),
    "β known to the helper": bit_of_the_helper,
    "β used again": used_again("beta"),
    "u used again": used_again("mask"),
    "s used again": used_again("factor"),
    "π used again": used_again("place"),
    "another word": another_word_is_compared,
    "another test for zero": another_test_for_zero,
    "r sent to the helper": told("r"),
    "digits that are no bits": not_of_bits,
    "bits in the clear": bits_in_the_clear,
    "one party's summands twice": summands_of_one_party,
    "both parties first": sides(True, True),
    "both parties second": sides(False, False),
}


def test_a_comparison_is_proved() -> None:
    assert proved(comparison(lambda ctx, p: None))
    assert proved(comparison(used_again()))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_spoilt_comparison_is_not_proved(leak: str) -> None:
    assert not proved(comparison(LEAKS[leak]))


def test_masks_of_the_two_parties_must_be_one() -> None:
    """Where they differ the helper learns no bit, but the lemma does not say so."""

    def step(ctx: Context, x: Local) -> None:
        def change(ctx: Context, p: Parts) -> None:
            compare(ctx, p, place=common(ctx, p["place"].shape) & np.uint8(K - 1))

        comparison(change)(ctx, x)

    assert not proved(step)


# --- The protocol's other steps ------------------------------------------------------------------


class SharesInTheClear(SecureNN):
    """Party 1's share of what the helper knows is zero."""

    def _from_helper(self, ctx: Context, value: Any, group: Any) -> Local:
        sent = ctx.network.deliver(ctx.network.only(0, value))
        return ctx.network.by_rank(sent, ctx.network.hosted([jnp.zeros_like(value)] * 2))


class SharesOfOneDraw(SecureNN):
    """All that the helper shares in Z_{L-1} is under one draw."""

    def _from_helper(self, ctx: Context, value: Any, group: Any) -> Local:
        share = ctx.seeds.dealt.map(lambda s: group.draw(s, 10**6, value.shape, value.dtype))
        sent = ctx.network.only(0, group.subtract(value, share.values[1]))
        return ctx.network.by_rank(ctx.network.deliver(sent), share)


class MaskOfTheHelper(SecureNN):
    """What the parties draw in common, the helper knows."""

    def _common(self, ctx: Context, shape: tuple[int, ...], dtype: Any, group: Any) -> Any:
        return ctx.draw(shape, dtype, group).values[0]


class NoMask(SecureNN):
    """What the parties draw in common is zero."""

    def _common(self, ctx: Context, shape: tuple[int, ...], dtype: Any, group: Any) -> Any:
        return jnp.zeros(shape, dtype)


class NoBit(SecureNN):
    """β and η'' are zero."""

    def _common_bit(self, ctx: Context, shape: tuple[int, ...]) -> Any:
        return jnp.zeros(shape, np.uint8)


class SharesOfWords(SecureNN):
    """All that the helper shares is under uniform words, whatever its group."""

    def _from_helper(self, ctx: Context, value: Any, group: Any) -> Local:
        share = ctx.draw(value.shape, value.dtype).dealt
        sent = ctx.network.only(0, group.subtract(value, share.values[1]))
        return ctx.network.by_rank(ctx.network.deliver(sent), share)


SPOILT = [SharesInTheClear, SharesOfOneDraw, MaskOfTheHelper, NoMask, NoBit, SharesOfWords]


@pytest.mark.parametrize("protocol", SPOILT, ids=lambda p: p.__name__)
def test_a_spoilt_protocol_is_not_proved(protocol: type[SecureNN]) -> None:
    smpc = protocol()
    assert not proved(lambda ctx, x: smpc.msb(ctx, x), smpc)


# --- Words modulo a number -----------------------------------------------------------------------

ODD = modulo(2**64 - 1)


def sent(f: Callable[[Any, Any], Any], group: Any, dtype: Any) -> Callable[[Context, Local], None]:
    """Party 1 sends party 0 a function of its share and a draw."""

    def step(ctx: Context, x: Local) -> None:
        mask = ctx.draw(x.shape, dtype, group).dealt
        ctx.network.send(x.map(lambda w, r: f(w.astype(dtype), r), mask), {1: 0})

    return step


def low(x: Any) -> Any:
    return x & np.uint8(63)


# Of a share x and an element r of Z_67: what tells something, and what does not.
EXPRESSIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "a sum of words": (lambda x, r: x + r, lambda x, r: FIELD.add(low(x), r)),
    "by xor": (lambda x, r: x ^ r, lambda x, r: FIELD.add(r, low(x))),
    "of words that are too large": (
        lambda x, r: FIELD.add(x, r),
        lambda x, r: FIELD.add(x & np.uint8(3), r),
    ),
    "of sums that are not reduced": (
        lambda x, r: FIELD.add(FIELD.add(x, x), r),
        lambda x, r: FIELD.add(FIELD.add(low(x), low(x)), r),
    ),
    "of differences that are not reduced": (
        lambda x, r: FIELD.add(FIELD.subtract(x, low(x)), r),
        lambda x, r: FIELD.add(FIELD.subtract(low(x), low(x) & ONE), r),
    ),
    "from words that are too large": (
        lambda x, r: FIELD.subtract(r, x),
        lambda x, r: FIELD.subtract(r, low(x)),
    ),
    "a difference to larger ones": (
        lambda x, r: FIELD.subtract(x, r),
        lambda x, r: FIELD.subtract(low(x), r),
    ),
    "modulo another number": (
        lambda x, r: modulo(66).add(low(x), r),
        lambda x, r: FIELD.add(FIELD.add(low(x), r), low(x)),
    ),
    "twice": (
        lambda x, r: FIELD.add(FIELD.add(low(x), r), r),
        lambda x, r: FIELD.subtract(low(x), r),
    ),
    "cancelled": (lambda x, r: FIELD.subtract(FIELD.add(low(x), r), r), lambda x, r: r),
    "a row for all": (
        lambda x, r: FIELD.add(low(x), r[:1]),
        lambda x, r: FIELD.add(low(x)[:1], r[:1]),
    ),
    "the lowest bits": (
        lambda x, r: FIELD.add(low(x), r & np.uint8(7)),
        lambda x, r: FIELD.add(low(x), r) & np.uint8(7),
    ),
    "some parts of words": (
        lambda x, r: jnp.concatenate([low(x), r]),
        lambda x, r: jnp.concatenate([FIELD.add(low(x), r)]),
    ),
    "of other words than draws": (
        lambda x, r: r.astype(np.uint16) + low(x),
        lambda x, r: FIELD.add(r.astype(np.uint16), low(x).astype(np.uint16)),
    ),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_an_element_does_not_hide(name: str) -> None:
    leaky, sound = EXPRESSIONS[name]
    assert not proved(sent(leaky, FIELD, np.uint8))
    assert proved(sent(sound, FIELD, np.uint8))


def test_a_word_minus_an_element_may_be_the_modulus() -> None:
    """m - 0 is m, not 0; a sum with m is reduced."""
    assert not proved(sent(ODD.subtract, ODD, np.uint64))
    assert proved(sent(ODD.add, ODD, np.uint64))
    assert proved(sent(lambda x, r: ODD.subtract(r, x), ODD, np.uint64))


@pytest.mark.parametrize("modulus", [66, 67, 251, 2**64 - 1])
def test_what_is_taken_for_reduced_is(modulus: int) -> None:
    """All pairs of an element and a word that the rules let in, near both ends."""
    group, dtype = modulo(modulus), np.uint64 if modulus > 255 else np.uint8
    near = min(modulus, 70)
    ends = sorted({*range(near), *range(modulus - near, modulus)})
    r = np.asarray(ends, dtype)
    x = np.asarray([*ends, modulus], dtype)
    with jax.enable_x64(True):
        sums = group.add(jnp.asarray(x[:, None]), r)
        below = group.subtract(jnp.asarray(r), x[:, None])
        above = group.subtract(jnp.asarray(x[:-1, None]), r)
    _equal(sums, x, r, modulus, lambda a, b: a + b)
    _equal(below, x, r, modulus, lambda a, b: b - a)
    _equal(above, x[:-1], r, modulus, lambda a, b: a - b)


def _equal(found: Any, x: Any, r: Any, modulus: int, f: Callable[[int, int], int]) -> None:
    exact = [[f(int(a), int(b)) % modulus for b in r] for a in x]
    assert np.asarray(found).tolist() == exact
