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
from jsmpc._src.jaxprs import compat, routine
from jsmpc._src.network.messages import message_p
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Replica
from jsmpc._src.protocols import turns
from jsmpc._src.runtime.context import Context
from operations import OPERATIONS
from programs import comparison_operands, comparison_program, conversions_program, integers
from recording import pairs, record_draws
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
    x, y, _ = comparison_operands(64)

    def compared(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
        first, second = smpc.msbs(ctx, x, (0, 5))
        zero = smpc.is_zero(ctx, x)
        return {
            "first": B(first),
            "second": B(second),
            "zero": B(zero),
            "relu": A(smpc.relu(ctx, x)),
        }

    programs = {
        compared: [A(x)],
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

    share = jsmpc.share(jax.random.key(0), jnp.arange(21.0), protocol("replicated3", 64))
    drawn = pairs(record_draws(jsmpc.secure(program), jnp.arange(8, dtype=jnp.uint32), share))
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


@pytest.mark.parametrize(
    "f", [jnp.exp, jax.nn.gelu, jax.nn.sigmoid, lambda x: jax.nn.softmax(x), lambda x: 1 / x]
)
def test_roles_within_functions_change_so_that_parties_send_nearly_the_same(f: Any) -> None:
    x = jax.ShapeDtypeStruct((1000, 10), jnp.float32)
    found = jsmpc.profile(f, x, protocols=jsmpc.Replicated3(), networks=())
    assert 3 * max(found.bytes_sent) <= 1.15 * sum(found.bytes_sent)


def test_the_columns_of_argmax_take_turns_without_a_round_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def profiled() -> Any:
        x = jax.ShapeDtypeStruct((1000, 10), jnp.float32)
        f = functools.partial(jnp.argmax, axis=-1)
        return jsmpc.profile(f, x, protocols=jsmpc.Replicated3(), networks=())

    in_turns = profiled()
    assert 3 * max(in_turns.bytes_sent) <= 1.01 * sum(in_turns.bytes_sent)
    monkeypatch.setattr(turns, "LEAST_IN_COLUMNS", 1 << 30)
    assert in_turns.rounds <= profiled().rounds


def test_a_turned_call_of_a_routine_has_its_messages_turned() -> None:
    smpc = protocol("replicated3", 64)
    net = Network(3)

    def ends(turn: int) -> list[tuple[Any, Any]]:
        def program(key: Any, *rows: Any) -> Any:
            ctx = Context(net, smpc.setup(net, [key] * 3)).turned(turn)
            return smpc.power_of_two(ctx, Replica(rows).turned(turn)).turned(-turn).values

        with jax.enable_x64(True):
            rows = [jnp.zeros(3, jnp.uint64)] * 3
            closed = jax.make_jaxpr(program)(jnp.zeros(8, jnp.uint32), *rows)
        inlined = routine.inlined(compat.open_jaxpr(closed)[0])
        found = [e.params for e in inlined.eqns if e.primitive is message_p]
        return [(p["source"], p["target"]) for p in found if p["phase"] == "online"]

    assert ends(1) == [((a + 1) % 3, (b + 1) % 3) for a, b in ends(0)]
    assert ends(2) == [((a + 2) % 3, (b + 2) % 3) for a, b in ends(0)]
    assert ends(0)
