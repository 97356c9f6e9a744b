"""What parties see of a program that was fused is what they see of the program as it is written.

The tests of views look at operations; these compare every message, every draw and every result
of the compiled program, on the elementwise machine and as XLA fuses, loops included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import SECRET, A, key, machine_words, protocol, split
from jsmpc._src import kernels
from jsmpc._src.kernels import native, stream
from jsmpc._src.kernels.fusion.stages import Fused
from jsmpc._src.network.messages import message_p
from jsmpc._src.network.network import Network
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from operations import OPERATIONS
from recording import Recorder, exposed, program_of, words_of

needs_machine = pytest.mark.skipif(not native.available(), reason="there are no native kernels")


def all_of(program: Callable[..., Any], args: Any, run: Callable[..., Any]) -> list[np.ndarray]:
    """Results, messages and draws, flat."""
    results, seen = run(program, args)
    assert len(seen) > 1
    return [np.asarray(x) for x in (*results, *seen)]


def step_by_step(program: Callable[..., Any], args: Any) -> Any:
    closed, shape = jax.make_jaxpr(program, return_shape=True)(*args)
    return jax.tree.unflatten(jax.tree.structure(shape), Recorder().run(closed, args))


def compiled(program: Callable[..., Any], args: Any) -> Any:
    return jax.jit(program)(*args)


def differences(f: Callable[..., Any], *args: Any) -> dict[str, list[int]]:
    """Which results, messages and draws of a program are others when it is fused."""
    what = (message_p, stream.draw_p)
    with jax.enable_x64(True):
        closed, flat = jax.make_jaxpr(f)(*args), jax.tree.leaves(args)
        expected = all_of(exposed(closed, what, lambda f: f), flat, step_by_step)
        fused = {"as it runs": all_of(exposed(closed, what, kernels.optimize), flat, compiled)}
        with mock.patch.object(native, "available", return_value=False):
            grouped = exposed(closed, what, kernels.optimize)
            fused["grouped"] = all_of(grouped, flat, step_by_step)
    return {
        means: [i for i, (x, y) in enumerate(zip(expected, values, strict=True)) if _differ(x, y)]
        for means, values in fused.items()
    }


def _differ(x: np.ndarray, y: np.ndarray) -> bool:
    return x.shape != y.shape or x.dtype != y.dtype or bool((x != y).any())


NONE: dict[str, list[int]] = {"as it runs": [], "grouped": []}


def operations(smpc: jsmpc.Protocol, names: list[str]) -> tuple[Callable[..., Any], list[Any]]:
    """Operations of a protocol, one after another, and arguments for them."""
    kinds = [kind for name in names for kind in OPERATIONS[name][0]]
    rng = np.random.default_rng(1)
    words = [rng.integers(0, 2**64, 200, np.uint64) for _ in kinds]
    values = [
        kind(w if kind is A else (w & np.uint64(1)).astype(np.uint8))
        for kind, w in zip(kinds, words, strict=True)
    ]

    def program(run_key: Any, *stacked: Any) -> Any:
        net = Network(smpc.size)
        ctx = Context(net, smpc.setup(net, [run_key] * len(smpc.endpoints)))
        operands = iter([smpc.unpack(net, (s,)) for s in stacked])
        results = []
        for name in names:
            own, f = OPERATIONS[name]
            results += f(smpc, ctx, *(next(operands) for _ in own))
        return [net.pack(machine_words(x)) for x in results]

    return program, [jnp.asarray(key(3)), *split(smpc, 2, values)]


HEAVY = ["exponential", "largest", "a2b"]


@pytest.mark.parametrize("name", [name for name in SECRET if name != "additive3"])
def test_operations_send_and_draw_the_same_when_they_are_fused(name: str) -> None:
    smpc = protocol(name, 64)
    program, args = operations(smpc, [o for o in OPERATIONS if o not in HEAVY])
    assert differences(program, *args) == NONE


def looping(x: Any, w: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        inner, _ = lax.scan(lambda c, _: (c * row, None), carry, None, length=2)
        return jnp.maximum(inner, row), inner > row

    carry, above = lax.scan(step, w, x)
    count = jsmpc.reveal(above.sum())
    picked = lax.cond(count > 2, lambda v: v * v, lambda v: v * 0.3 * v, carry)
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * s[1]), (0, picked))[1]


@pytest.mark.parametrize("name", ["additive2", "replicated3"])  # with a dealer, and without
def test_loops_send_and_draw_the_same_when_they_are_fused(name: str) -> None:
    values = (np.ones((3, 2), np.float32), np.full(2, 0.5, np.float32))
    shares = jsmpc.share(key(5), values, protocol(name, 64))
    program = program_of(jsmpc.secure(looping), *shares)
    args = prf.as_key(jnp.asarray(key(6))), *words_of(shares)
    assert differences(program, *args) == NONE


@needs_machine
def test_two_draws_that_fusion_merges_are_noticed() -> None:
    own = Fused._key

    def without_number(self: Fused, eqn: Any, words: list[int | None]) -> Any:
        primitive, dtype, size, _, *operands = own(self, eqn, words)
        return (primitive, dtype, size, *operands)

    program, args = operations(protocol("additive2", 64), ["mul_aa twice"])
    with mock.patch.object(Fused, "_key", without_number):
        assert differences(program, *args)["as it runs"]
