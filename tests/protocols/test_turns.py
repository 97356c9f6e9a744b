"""Roles that go round: the same results, nothing told to anybody, and all parties send the same."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import A, B, Runner, protocol, split
from jsmpc._src.network.values import Replica
from jsmpc._src.protocols import turns
from jsmpc._src.runtime.context import Context
from operations import OPERATIONS
from programs import comparison_operands, comparison_program, conversions_program, integers
from recording import pairs, record_secure
from views import Observed, leaks, nothing_traced_before


@pytest.fixture(autouse=True)
def few_take_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with nothing_traced_before():
        monkeypatch.setattr(turns, "LEAST", 4)
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("bits", [64, 32])
def test_operations_are_those_of_the_integers(bits: int) -> None:
    smpc = protocol("replicated3", bits)
    x, y, p = comparison_operands(bits)
    runner = Runner(smpc, functools.partial(comparison_program, smpc))
    out = runner(1, A(x), A(y), B(p))
    i, j = integers(x), integers(y)
    np.testing.assert_array_equal(out["is_zero"], i == 0)
    np.testing.assert_array_equal(out["less"], i < j)
    np.testing.assert_array_equal(out["equal"], i == j)
    np.testing.assert_array_equal(out["select"], np.where(p & 1, x, y))
    np.testing.assert_array_equal(integers(out["maximum"]), np.maximum(i, j))


@pytest.mark.usefixtures("x64")
def test_endpoints_compute_the_same_shares() -> None:
    smpc = protocol("replicated3", 64)
    x, y, p = comparison_operands(64)
    programs = {
        comparison_program: [A(x), A(y), B(p)],
        conversions_program: [A(x[:100]), B(y[:100])],
    }
    for program, operands in programs.items():
        runner = Runner(smpc, functools.partial(program, smpc))
        shares = split(smpc, 4, operands)
        simulated, parties = runner.stacked(5, shares), runner.by_endpoint(5, shares)
        for rank, results in enumerate(parties):
            held = sorted(smpc.holds(rank))
            for operation, expected in simulated.items():
                np.testing.assert_array_equal(results[operation], expected[held])


@pytest.mark.parametrize("operation", ["msb", "mul_ba"])
@pytest.mark.parametrize("turn", [1, 2])
def test_no_role_tells_corrupt_parties_anything(
    operation: str, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "LEAST", 1 << 30)
    smpc = protocol("replicated3", 64)
    kinds, f = OPERATIONS[operation]

    def turned(ctx: Context, *shares: Replica) -> list[Any]:
        results = f(smpc, ctx.turned(turn), *(x.turned(turn) for x in shares))
        return jax.tree.map(
            lambda x: x.turned(-turn), results, is_leaf=lambda x: isinstance(x, Replica)
        )

    observed = Observed(smpc, turned)
    assert leaks(observed, kinds, 64) == []
    sent = [source for source, *_ in observed.routes]
    assert max(set(sent), key=sent.count) == turn


def test_no_keystream_is_drawn_twice() -> None:
    def program(x: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            return jnp.where(carry < x, jax.nn.relu(carry), x), carry == x

        return jax.lax.scan(step, x - 1, None, length=2)

    share = jsmpc.share(jax.random.key(0), jnp.arange(20.0), protocol("replicated3", 64))
    drawn = pairs(record_secure(jsmpc.secure(program), jnp.arange(8, dtype=jnp.uint32), share))
    assert len(drawn) > 300
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("f", [jax.nn.relu, lambda x: x < 0, lambda x: x == 0])
def test_all_parties_send_the_same(f: Any) -> None:
    x = jax.ShapeDtypeStruct((3, 100), jnp.float32)
    sent = jsmpc.profile(f, x, protocols=jsmpc.Replicated3(), networks=()).bytes_sent
    assert len(set(sent)) == 1


def test_few_elements_take_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LEAST", 301)
    x = jax.ShapeDtypeStruct((3, 100), jnp.float32)
    first, *others = jsmpc.profile(
        jax.nn.relu, x, protocols=jsmpc.Replicated3(), networks=()
    ).bytes_sent
    assert first > max(others)


def test_sizes_that_no_three_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    smpc = jsmpc.Replicated3()
    for n in (4, 5, 7):
        x = np.float32(np.arange(n) - 2)
        share = jsmpc.share(jax.random.key(n), x, smpc)
        found = jsmpc.reveal(jsmpc.secure(jax.nn.relu)(jax.random.key(n + 1), share))
        np.testing.assert_array_equal(found, np.maximum(x, 0))
