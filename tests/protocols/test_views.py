"""No party, and no allowed set of parties, sees anything that depends on a secret."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import SECRET, A, key, protocol
from jsmpc._src import kernels
from jsmpc._src.network.values import Local, Replica
from jsmpc._src.protocols import turns
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import ThresholdMask
from jsmpc._src.runtime.function_keys import FunctionKey
from operations import OPERATIONS
from recording import pairs, record, record_secure
from views import Observed, leaks, nothing_traced_before


@pytest.fixture(autouse=True)
def steps_of_all_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of them is too few for statistics; see test_turns for the other roles."""
    for least in ("LEAST", "LEAST_IN_COLUMNS"):
        monkeypatch.setattr(turns, least, 1 << 30)


# --- Every operation -----------------------------------------------------------------------------


def observe(smpc: jsmpc.Protocol, operation: str) -> Observed:
    return Observed(smpc, functools.partial(OPERATIONS[operation][1], smpc))


# What is not looked at is proved in `test_verify`, as all of these are.
SLOW = {
    "additive2": {"exponential"},  # written over any protocol
    "additive3": {"a2b", "largest", "relu", "exponential"},
    "securenn2": {"a2b", "exponential"},  # converted as additive2 does
    "fss22": {"a2b", "exponential", "signs", "is_zero"},  # their keys are many bits
}
CASES = [
    (name, operation)
    for name in SECRET
    for operation in OPERATIONS
    if operation not in SLOW.get(name, ())
]


@pytest.mark.parametrize(("name", "operation"), CASES)
def test_no_operation_tells_corrupt_parties_anything(name: str, operation: str) -> None:
    observed = observe(protocol(name, 64), operation)
    assert leaks(observed, OPERATIONS[operation][0], 64) == []
    assert bool(observed.routes) == (operation != "linear")


@pytest.mark.parametrize("operation", ["mul_aa with divisor", "msb", "is_zero"])
@pytest.mark.parametrize("name", ["additive2", "replicated3", "fss22"])
def test_no_operation_of_the_32_bit_ring_does(name: str, operation: str) -> None:
    observed = observe(protocol(name, 32), operation)
    assert leaks(observed, OPERATIONS[operation][0], 32) == []


def test_what_parties_learn_only_together_is_found() -> None:
    """A value that one of three masks, the mask sent to another: private but from both."""

    def two_halves(ctx: Context, x: Local) -> list[Any]:
        mask = ctx.draw(x.shape, x.dtype)
        ctx.network.send(x - mask, {2: 0})
        ctx.network.send(mask, {2: 1})
        return []

    observed = Observed(protocol("additive3", 64), two_halves)
    assert leaks(observed, (A,), 64, coalition=(0,)) == []
    assert leaks(observed, (A,), 64, coalition=(1,)) == []
    assert leaks(observed, (A,), 64, coalition=(0, 1))


# --- Broken protocols fail the same check --------------------------------------------------------


class UnmaskedReshare(jsmpc.Replicated3):
    """Parties send their summands as they are."""

    def _reshare(self, ctx: Context, z: Local, group: Group = ARITHMETIC) -> Replica:
        return ctx.network.replicate(z)


class HalfMaskedReshare(jsmpc.Replicated3):
    """The mask is the one seed that the receiver holds too."""

    def _reshare(self, ctx: Context, z: Local, group: Group = ARITHMETIC) -> Replica:
        mask = ctx.draw(z.shape, z.dtype)
        return ctx.network.replicate(z.map(group.add, ctx.network.own(mask)))


class UnmaskedHide(jsmpc.Replicated3):
    """Party 0 sends its value as it is."""

    def _hide(self, ctx: Context, secret: Local, group: Group) -> Local:
        net = ctx.network
        zero = net.hosted([jnp.zeros(secret.shape, secret.dtype)] * 3)
        return net.by_rank(None, zero, net.send(secret, {0: 2}))


class HideWithSharedMask(jsmpc.Replicated3):
    """Party 0 hides its value by a mask of a seed that the receiver holds."""

    def _hide(self, ctx: Context, secret: Local, group: Group) -> Local:
        net = ctx.network
        mask = ctx.draw(secret.shape, secret.dtype)
        return net.by_rank(
            None, net.own(mask), net.send(secret.map(group.subtract, net.own(mask)), {0: 2})
        )


class UnmaskedComparison(jsmpc.Additive):
    """A comparison opens x itself."""

    def _split(self, ctx: Context, x: Local, shift: int) -> tuple[Local, list[Local], Local]:
        _, *table, top = ctx.deal(ThresholdMask(x.shape, x.dtype, shift))
        return self._open(ctx, x), table, top


class UnmaskedFunction(jsmpc.FSS2):
    """A comparison opens x itself."""

    def msbs(self, ctx: Context, x: Local, offsets: Sequence[int]) -> list[Any]:
        _, *key = ctx.deal(FunctionKey(x.shape, x.dtype, 63, comparison=True))
        return self._signs(ctx, key, self._open(ctx, x), offsets, 64)


class OneMaskForAll(Context):
    """Every draw has the same number."""

    def _number(self, count: int = 1) -> int:
        return 0


def test_a_zero_mask_of_a_triple_is_found() -> None:
    draw = kernels.draw

    def first_draw_is_zero(key: Any, number: int, shape: Any, dtype: Any) -> Any:
        result = draw(key, number, shape, dtype)
        return jnp.zeros_like(result) if number == 0 else result

    for operation in ("mul_aa", "truncate", "msb"):
        with nothing_traced_before(), mock.patch.object(kernels, "draw", first_draw_is_zero):
            observed = observe(protocol("additive2", 64), operation)
            kinds = OPERATIONS[operation][0]
            assert leaks(observed, kinds, 64)


@pytest.mark.parametrize(
    ("broken", "operation"),
    [
        (UnmaskedReshare(), "mul_aa"),
        (UnmaskedReshare(), "and_bb"),
        (HalfMaskedReshare(), "mul_aa"),
        (UnmaskedHide(), "msb"),
        (HideWithSharedMask(), "is_zero"),
        (UnmaskedComparison(), "msb"),
        (UnmaskedComparison(), "is_zero"),
        (UnmaskedFunction(), "msb"),
    ],
    ids=lambda x: x if isinstance(x, str) else type(x).__name__,
)
def test_a_missing_mask_is_found(broken: jsmpc.Protocol, operation: str) -> None:
    assert leaks(observe(broken, operation), OPERATIONS[operation][0], 64)


def test_keys_of_equal_roots_are_found() -> None:
    keys = kernels.function_keys

    def of_one_root(roots: Any, *args: Any) -> Any:
        return keys((roots[0], roots[0]), *args)

    with nothing_traced_before(), mock.patch.object(kernels, "function_keys", of_one_root):
        observed = observe(protocol("fss22", 32), "msb")
        assert leaks(observed, OPERATIONS["msb"][0], 32)


@contextlib.contextmanager
def one_mask_for_all() -> Iterator[None]:
    """Numbers that no draw has used are all the same."""
    with (
        nothing_traced_before(),
        mock.patch.object(Context, "reserve", OneMaskForAll._number),
    ):
        yield


@pytest.mark.parametrize("name", ["additive2", "replicated3"])
def test_a_mask_used_twice_is_found(name: str) -> None:
    with one_mask_for_all():
        assert leaks(observe(protocol(name, 64), "mul_aa twice"), (A, A), 64)


# --- No keystream is drawn twice -----------------------------------------------------------------


def looping(x: Any, w: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        inner, _ = lax.scan(lambda c, _: (c * row, None), carry, None, length=2)
        return jnp.maximum(inner, row), inner > row

    carry, above = lax.scan(step, w, x)
    picked = lax.cond(above[0, 0], lambda v: v * v, lambda v: v * 0.3, carry)
    counted = lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * s[1]), (0, picked))
    return counted[1], above, carry * carry


@pytest.mark.parametrize("name", SECRET)
def test_no_keystream_is_drawn_twice(name: str) -> None:
    smpc = protocol(name, 64)
    run_key = jnp.asarray(key(5))
    values = (np.ones((3, 2), np.float32), np.full(2, 0.5, np.float32))
    shares = jsmpc.share(run_key, values, smpc)
    sharing_run, _ = record(
        lambda k, *v: [s.components for s in jsmpc.share(k, v, smpc)],
        run_key,
        *map(jnp.asarray, values),
    )
    drawn = pairs(record_secure(jsmpc.secure(looping), run_key, *shares)) + pairs(sharing_run)
    assert len(drawn) > 150
    assert len(set(drawn)) == len(drawn)


def test_a_repeated_keystream_would_be_noticed() -> None:
    smpc = protocol("replicated3", 64)
    shares = jsmpc.share(key(5), (np.ones((3, 2), np.float32), np.ones(2, np.float32)), smpc)
    with one_mask_for_all():
        drawn = pairs(record_secure(jsmpc.secure(looping), jnp.asarray(key(6)), *shares))
    assert len(set(drawn)) < len(drawn)


def test_elements_of_a_vmap_have_masks_of_their_own() -> None:
    """The same secrets twice under one key: no share of the results is equal."""
    smpc = protocol("additive2", 64)
    share = jsmpc.share(key(1), np.ones((2, 50), np.float32), smpc)
    out = jax.vmap(jsmpc.secure(jnp.square), in_axes=(None, 1), out_axes=1)(
        jnp.asarray(key(2)), share
    )
    np.testing.assert_allclose(jsmpc.reveal(out), np.ones((2, 50)), atol=1e-4)
    first, second = np.asarray(out.components[0])[:, 0], np.asarray(out.components[0])[:, 1]
    assert (first != second).all()
