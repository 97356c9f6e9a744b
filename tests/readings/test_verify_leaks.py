"""Planted leaks: `verify` proves none of them, and all of the same programs without the leak.

The systematic ones are `mutants`: traced steps of protocols, changed in one place, at every place.
Left out, as they tell nothing, are changes of draws on which nothing depends that is sent, draws
sent to those who know the seed, a mask sent in the place of what it hides, and messages to those
who are sent the same anyway. The others are written by hand, each beside what would be right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from harness import A, protocol
from jsmpc._src.network.messages import opened
from jsmpc._src.network.values import Local
from jsmpc._src.ring.groups import ARITHMETIC
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from mutants import KINDS, Traced
from operations import OPERATIONS
from views import Observed, leaks

# --- Everywhere in the protocols' steps ----------------------------------------------------------

STEPS = ("mul_aa", "mul_aa with divisor", "square", "and_bb", "b2a", "mul_ba")
MUTATED = ("additive2", "additive3", "replicated3")


@functools.cache
def step(name: str, operation: str) -> Traced:
    kinds, f = OPERATIONS[operation]
    smpc = protocol(name, 64)
    return Traced.of(smpc, functools.partial(f, smpc), kinds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MUTATED)
def test_no_mutant_is_proved(name: str, kind: str) -> None:
    found = 0
    for operation in STEPS:
        for what, mutant in KINDS[kind](step(name, operation)):
            assert not mutant.proof(), f"{operation}: {what}"
            found += 1
    assert found >= 6


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutant_of_a_comparison_with_a_helper_is_proved(kind: str) -> None:
    mutants = list(KINDS[kind](step("securenn2", "msb")))
    assert len(mutants) >= 2
    for what, mutant in mutants:
        assert not mutant.proof(), what


@pytest.mark.parametrize("name", ["additive2", "replicated3"])
def test_no_mutant_of_a_comparison_is_proved(name: str) -> None:
    """One of each kind in five: there are hundreds."""
    for kind, mutated in KINDS.items():
        for number, (what, mutant) in enumerate(mutated(step(name, "msb"))):
            if number % 5 == 0:
                assert not mutant.proof(), f"{kind}: {what}"


def test_there_are_more_than_sixty() -> None:
    steps = [step(name, operation) for name in MUTATED for operation in STEPS]
    assert sum(1 for s in steps for kind in KINDS.values() for _ in kind(s)) > 1000


# --- By hand -------------------------------------------------------------------------------------

TWO = protocol("additive2", 64)
Step = Callable[[Context, Any], Any]


def sent(f: Callable[[Any, Any], Any]) -> Step:
    """Party 1 sends party 0 a function of its share and a mask."""

    def step(ctx: Context, x: Local) -> None:
        mask = ctx.draw(x.shape, x.dtype)
        ctx.network.send(x.map(f, mask), {1: 0})

    return step


def first(words: Any) -> Any:
    return words[:1]


ONE = np.uint64(1)

# Of a share x and a mask r: what tells something, and what does not.
EXPRESSIONS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "added before a shift, and after": (lambda x, r: x + (r << ONE), lambda x, r: (x << ONE) + r),
    "added before a cut, and after": (lambda x, r: x + (r >> ONE), lambda x, r: (x + r) >> ONE),
    "of half the width": (
        lambda x, r: x + r.astype(np.uint32).astype(np.uint64),
        lambda x, r: x.astype(np.uint32) + r.astype(np.uint32),
    ),
    "some bits": (lambda x, r: x ^ (r & np.uint64(255)), lambda x, r: (x ^ r) & np.uint64(255)),
    "a row for all": (lambda x, r: x + r[:1], lambda x, r: x[:1] + r[:1]),
    "an element for all": (lambda x, r: x + r[0, 0], lambda x, r: x[0, 0] + r[0, 0]),
    "rows over again": (
        lambda x, r: x + jnp.concatenate([r[:2], r[:2]]),
        lambda x, r: jnp.concatenate([x[:2], x[:2]]) + r,
    ),
    "parts with the same rows": (
        lambda x, r: jnp.concatenate([x[:2] + r[:2], x[2:] + r[:2]]),
        lambda x, r: jnp.concatenate([x[:2], x[2:]]) + r,
    ),
    "backwards": (lambda x, r: x + r + r[::-1], lambda x, r: x + r[::-1]),
    "transposed": (lambda x, r: x[:, :4] + r[:, :4] + r[:, :4].T, lambda x, r: x.T + r.T),
    "rows picked": (
        lambda x, r: x + r[np.asarray([0, 0, 1, 2])],
        lambda x, r: x.reshape(-1) + r.reshape(-1),
    ),
    "rolled with zeros": (
        lambda x, r: x + jnp.pad(r[1:], ((1, 0), (0, 0))),
        lambda x, r: x[1:] + r[1:],
    ),
    "twice": (lambda x, r: x + r + r, lambda x, r: x - r),
    "cancelled": (lambda x, r: x + r - r, lambda x, r: r - x),
    "times two": (lambda x, r: x + r * np.uint64(2), lambda x, r: x + r * np.uint64(3)),
    "times a secret": (lambda x, r: x * r, lambda x, r: x * x + r),
    "times itself": (lambda x, r: x + r * r, lambda x, r: -(x + r)),
    "where": (lambda x, r: jnp.where(x > 5, r, x), lambda x, r: jnp.where(x > 5, x, ONE) + r),
    "smaller": (lambda x, r: jnp.minimum(x, r), lambda x, r: jnp.minimum(x, x * x) ^ r),
    "and": (lambda x, r: x & r, lambda x, r: (x & x) - r),
    "or": (lambda x, r: x | r, lambda x, r: ~(x ^ r)),
    "divided": (lambda x, r: (x + r // np.uint64(3)), lambda x, r: (x + r) // np.uint64(3)),
    "summed with": (lambda x, r: x + jnp.cumsum(r, axis=1), lambda x, r: x.sum(1) + r.sum(1)),
    "sorted": (lambda x, r: x + jnp.sort(r, axis=1), lambda x, r: jnp.sort(x, axis=1) + r),
    "matrix product": (lambda x, r: x + (r @ r.T) @ r, lambda x, r: (x @ x.T) @ x + r),
    "itself": (lambda x, r: x, lambda x, r: r),
    "a bit of it": (lambda x, r: x >> np.uint64(63), lambda x, r: (x + r) >> np.uint64(63)),
    "as other words": (
        lambda x, r: lax.bitcast_convert_type(x, np.uint32) + r.astype(np.uint32)[..., None],
        lambda x, r: lax.bitcast_convert_type(x + r, np.uint32),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_what_a_mask_does_not_hide(name: str) -> None:
    leaky, sound = EXPRESSIONS[name]
    assert not Traced.of(TWO, sent(leaky), (A,)).proof()
    proof = Traced.of(TWO, sent(sound), (A,)).proof()
    assert proof, str(proof)


def share_and_sum(ctx: Context, x: Local) -> None:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(x * x + mask, {1: 0})


def mask_in_a_later_product(ctx: Context, x: Local) -> None:
    mask, other = ctx.draw(x.shape, x.dtype), ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(mask * other, {1: 0})


def seed_sent(ctx: Context, x: Local) -> None:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(ctx.seeds, {1: 0})


def seed_hidden_in_words(ctx: Context, x: Local) -> None:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(ctx.seeds.map(lambda s: s + np.uint32(1)), {1: 0})


def seed_as_mask(ctx: Context, x: Local) -> None:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    eight = x.map(lambda w: w.reshape(-1)[:8].astype(np.uint32))
    ctx.network.send(eight.map(lambda w, s: w ^ s, ctx.seeds), {1: 0})


def a_longer_draw_of_the_number(ctx: Context, x: Local) -> None:
    group_draw = ctx.seeds.map
    short = group_draw(lambda s: ARITHMETIC.draw(s, 0, (4, 50), x.dtype))
    long = group_draw(lambda s: ARITHMETIC.draw(s, 0, x.shape, x.dtype))
    ctx.network.send(x + long, {1: 0})
    ctx.network.send(x.map(lambda w: w[:, :50]) * x.map(lambda w: w[:, :50]) + short, {1: 0})


def a_key_of_a_draw(ctx: Context, x: Local) -> None:
    """A key that is a draw's words: its stream is no other's, but nobody looked into that."""
    words = ctx.draw((8,), np.uint32)
    mask = words.map(lambda k: ARITHMETIC.draw(k, 0, x.shape, x.dtype))
    ctx.network.send(words, {1: 0})
    ctx.network.send(x + mask, {1: 0})


def scanned(draw: Callable[[Context, Context, Any, Any], Any]) -> Step:
    """A loop in which party 1 sends its share under a mask."""

    def step(ctx: Context, x: Local) -> None:
        outer = ctx.draw(x.shape, x.dtype)

        def body(inner: Context, carry: Any, row: Any) -> Any:
            inner.network.send(carry + draw(ctx, inner, outer, row), {1: 0})
            return carry * carry, ()

        ctx.scan(body, x, np.zeros(3, np.uint32), 3)

    return step


def _numbered(ctx: Context, seeds: Any, x: Any) -> Any:
    return seeds.map(lambda s: ARITHMETIC.draw(s, 9, (4, 100), np.uint64))


def fresh_in_each_run(ctx: Context, inner: Context, outer: Any, row: Any) -> Any:
    return inner.draw((4, 100), np.uint64)


def one_number_in_all_runs(ctx: Context, inner: Context, outer: Any, row: Any) -> Any:
    return ctx.draw((4, 100), np.uint64)


def one_mask_for_all_runs(ctx: Context, inner: Context, outer: Any, row: Any) -> Any:
    return outer


def one_key_for_all_runs(ctx: Context, inner: Context, outer: Any, row: Any) -> Any:
    return _numbered(ctx, ctx.seeds.map(lambda s: prf.iterate(s, 77, 0)), None)


def keys_by_what_is_no_count(ctx: Context, inner: Context, outer: Any, row: Any) -> Any:
    """`row` is zero in all runs."""
    return _numbered(ctx, ctx.seeds.map(lambda s: prf.iterate(s, 77, row)), None)


def mask_before_and_in_a_branch(ctx: Context, x: Local) -> None:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    first, second = ctx.branches(2)

    def again(values: Any) -> Any:
        first.network.send(Local(values) * Local(values) + mask, {1: 0})
        return values

    def fresh(values: Any) -> Any:
        drawn = second.draw(x.shape, x.dtype)
        second.network.send(Local(values) + drawn, {1: 0})
        return values

    lax.switch(jnp.int32(0), [again, fresh], x.values)


def number_before_and_in_a_branch(ctx: Context, x: Local) -> None:
    first, second = ctx.branches(2)
    mask = first.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    first._numbers._next = 0

    def branch(inner: Context) -> Any:
        def run(values: Any) -> Any:
            drawn = inner.draw(x.shape, x.dtype)
            inner.network.send(Local(values) * Local(values) + drawn, {1: 0})
            return values

        return run

    lax.switch(jnp.int32(0), [branch(first), branch(second)], x.values)


def a_branch_by_a_share(ctx: Context, x: Local) -> None:
    index = (x.values[1][0, 0] & np.uint64(1)).astype(np.int32)
    lax.switch(index, [lambda v: v, lambda v: v + v], x.values[1])


def mapped(ctx: Context, x: Local) -> None:
    """A step of one row, mapped over rows: one mask for all of them."""

    def row(values: Any) -> Any:
        mask = ctx.draw(values[0].shape, values[0].dtype)
        ctx.network.send(Local(values) + mask, {1: 0})
        return values

    jax.vmap(row)(x.values)


def opened_with_more(ctx: Context, x: Local) -> None:
    """What is opened on purpose is a sum; a summand is sent beside it."""
    opened(TWO.open(ctx, TWO.mul_aa(ctx, x, x)))
    ctx.network.send(x + x, {1: 0})


def opened_by_the_way(ctx: Context, x: Local) -> None:
    """The first opening is on purpose, the second is not."""
    opened(TWO.open(ctx, x.map(lambda w: w[:1])))
    TWO.open(ctx, TWO.mul_aa(ctx, x, x))


def seed_sent_after_a_loop(ctx: Context, x: Local) -> None:
    scanned(fresh_in_each_run)(ctx, x)
    ctx.network.send(ctx.seeds, {1: 0})


def a_key_of_a_draw_that_is_nearly_sent(ctx: Context, x: Local) -> None:
    words = ctx.draw((8,), np.uint32)
    mask = words.map(lambda k: ARITHMETIC.draw(k, 0, x.shape, x.dtype))
    ctx.network.send(words + np.uint32(1), {1: 0})
    ctx.network.send(x + mask, {1: 0})


BY_HAND: list[Step] = [
    share_and_sum,
    mask_in_a_later_product,
    seed_sent,
    seed_hidden_in_words,
    seed_as_mask,
    a_longer_draw_of_the_number,
    a_key_of_a_draw,
    mask_before_and_in_a_branch,
    number_before_and_in_a_branch,
    a_branch_by_a_share,
    mapped,
    opened_with_more,
    opened_by_the_way,
    seed_sent_after_a_loop,
    a_key_of_a_draw_that_is_nearly_sent,
]


@pytest.mark.parametrize("leaky", BY_HAND, ids=lambda f: f.__name__)
def test_leaks_by_hand_are_not_proved(leaky: Step) -> None:
    assert not Traced.of(TWO, leaky, (A,)).proof()


@pytest.mark.parametrize(
    "draw",
    [
        one_number_in_all_runs,
        one_mask_for_all_runs,
        one_key_for_all_runs,
        keys_by_what_is_no_count,
    ],
    ids=lambda f: f.__name__,
)
def test_masks_that_repeat_in_a_loop_are_not_proved(draw: Any) -> None:
    assert Traced.of(TWO, scanned(fresh_in_each_run), (A,)).proof()
    assert not Traced.of(TWO, scanned(draw), (A,)).proof()


# Two loops that derive the same keys from the numbers of their runs.

Run = Callable[[Context, Any, Any, Any], Any]


def loops(first: Run, second: Run, after: Callable[[Any, Any], Any], start: int = 0) -> Step:
    """Each run of a loop is given a row of each party's share, the party's key of this run, and
    what the first loop gave there; then party 1 sends party 0 a function of what it was given."""

    def step(ctx: Context, x: Local) -> None:
        number = ctx.reserve()
        rows = np.arange(4, dtype=np.uint32)

        def loop(run: Run, numbers: Any, more: Any) -> Any:
            def body(carry: Any, xs: Any) -> Any:
                index, row, given = xs
                keys = ctx.seeds.map(lambda seed: prf.iterate(seed, number, index))
                return carry, run(ctx, keys, row, given)

            return lax.scan(body, (), (numbers, x, more))[1]

        given = loop(first, rows, x)
        last = loop(second, rows + np.uint32(start), given)
        ctx.network.send(x.map(after, given, last), {1: 0})

    return step


def draw_of(keys: Any, number: int, size: int = 100) -> Any:
    return keys.map(lambda k: ARITHMETIC.draw(k, number, (size,), np.uint64))


def gives(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    return draw_of(keys, 0)


def sends(number: int, size: int = 100) -> Run:
    """Sends the row under a draw, and gives the row."""

    def run(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
        mask = draw_of(keys, number, size)
        ctx.network.send(row.map(lambda w: w[:size]) + mask, {1: 0})
        return row

    return run


def sends_and_gives(number: int) -> Run:
    def run(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
        mask = draw_of(keys, number)
        ctx.network.send(row + mask, {1: 0})
        return mask

    return run


def sends_again(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    """The draw that the first loop gave, made again."""
    ctx.network.send(row * row + draw_of(keys, 0), {1: 0})
    return row


def squares_what_was_given(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    return given * given


def sends_keys(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    ctx.network.send(keys, {1: 0})
    return row


def gives_it_masking(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    return row + draw_of(keys, 0)


def gives_another(ctx: Context, keys: Any, row: Any, given: Any) -> Any:
    return draw_of(keys, 1)


def sum_of(x: Any, given: Any, last: Any) -> Any:
    return x + given


def both(x: Any, given: Any, last: Any) -> Any:
    return jnp.concatenate([x + given, last])


def nothing(x: Any, given: Any, last: Any) -> Any:
    return jnp.zeros((4, 100), np.uint64)


def masked_last(x: Any, given: Any, last: Any) -> Any:
    return x * last + given


SOUND_LOOPS = {
    "a mask in either": loops(sends(0), sends(1), nothing),
    "a mask from a loop": loops(gives, gives_another, sum_of),
    "another draw in the later one": loops(gives, sends(1), sum_of),
    "it hides what the later one gives": loops(gives, sends(1), masked_last),
    "two draws": loops(gives, gives_another, both),
    "one that the later one made": loops(gives, gives_another, lambda x, g, last: x + last),
}
LEAKY_LOOPS = {
    "it hides what was made of it": loops(gives, squares_what_was_given, masked_last),
    "its mask again in the later one": loops(gives, sends_again, sum_of),
    "sent in the first and given": loops(sends_and_gives(0), gives_another, sum_of),
    "sent in both": loops(sends(0), sends(0), nothing),
    "sent in the first and in the later one": loops(sends(0), sends_again, nothing),
    "a mask in both loops": loops(sends_and_gives(1), sends(1), nothing),
    "the same number in another shape": loops(gives, sends(0, size=50), sum_of),
    "its key in the later one": loops(gives, sends_keys, sum_of),
    "what it hides beside it": loops(gives, gives_it_masking, both),
    "given twice": loops(gives, gives, both),
    "by other numbers": loops(gives, sends_again, sum_of, start=1),
}


@pytest.mark.parametrize("name", SOUND_LOOPS)
def test_what_a_loop_draws_hides_what_comes_later(name: str) -> None:
    proof = Traced.of(TWO, SOUND_LOOPS[name], (A,)).proof()
    assert proof, str(proof)


@pytest.mark.parametrize("name", LEAKY_LOOPS)
def test_what_a_loop_draws_hides_one_thing(name: str) -> None:
    assert not Traced.of(TWO, LEAKY_LOOPS[name], (A,)).proof()


def test_draws_that_are_made_twice_are_told() -> None:
    repeated = Traced.of(TWO, a_longer_draw_of_the_number, (A,)).proof()
    assert any(r.startswith("draw 0 of a seed: ") for r in repeated.repeats)
    looped = Traced.of(TWO, scanned(one_number_in_all_runs), (A,)).proof()
    assert any("in each run of a loop" in r for r in looped.repeats)
    assert not Traced.of(TWO, sent(lambda x, r: x + r), (A,)).proof().repeats


def test_what_is_private_from_one_may_not_be_from_two() -> None:
    """A value that one of three masks, the mask sent to another."""
    three = protocol("additive3", 64)

    def two_halves(ctx: Context, x: Local) -> None:
        mask = ctx.draw(x.shape, x.dtype)
        ctx.network.send(x - mask, {2: 0})
        ctx.network.send(mask, {2: 1})

    proof = Traced.of(three, two_halves, (A,)).proof()
    assert [p.corrupt for p in proof.proofs if not p] == [("party0", "party1")]


def test_what_the_dealer_is_sent_is_looked_at() -> None:
    def telling(ctx: Context, x: Local) -> None:
        ctx.network.tell(x.values[0])

    proof = Traced.of(TWO, telling, (A,)).proof()
    assert [p.corrupt for p in proof.proofs if not p] == [("dealer",)]


# --- The leaks are real --------------------------------------------------------------------------


def bits_lost(ctx: Context, x: Local) -> list[Any]:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + (mask << 1), {1: 0})
    return []


def half_width(ctx: Context, x: Local) -> list[Any]:
    mask = ctx.draw(x.shape, np.uint32)
    ctx.network.send(x + mask.astype(np.uint64), {1: 0})
    return []


def used_twice(ctx: Context, x: Local) -> list[Any]:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(mask + mask + x, {1: 0})
    return []


def mask_sent(ctx: Context, x: Local) -> list[Any]:
    mask = ctx.draw(x.shape, x.dtype)
    ctx.network.send(x + mask, {1: 0})
    ctx.network.send(mask, {1: 0})
    return []


@pytest.mark.parametrize(
    "leaky", [bits_lost, half_width, used_twice, mask_sent], ids=lambda f: f.__name__
)
def test_statistics_find_them_too(leaky: Any) -> None:
    assert not Traced.of(TWO, leaky, (A,)).proof()
    assert leaks(Observed(TWO, leaky), (A,), 64, coalition=(0,))
