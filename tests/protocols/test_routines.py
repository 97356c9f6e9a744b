"""Operations that are traced once: every call draws anew, and belongs to its own line."""

from __future__ import annotations

import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import SECRET, protocol
from jsmpc._src.jaxprs import compat, routine, walk
from jsmpc._src.kernels.stream import draw_p


def twice(x: Any, y: Any) -> Any:
    a = jnp.exp(x)
    b = jnp.exp(y)
    return a, b, jax.nn.relu(a - b), jax.nn.relu(b - a)


@pytest.fixture(scope="module", params=SECRET)
def traced(request: Any) -> tuple[Any, Any, list[Any]]:
    smpc = protocol(request.param, 64)
    values = np.float32([0.5, -1, 2]), np.float32([1, 0, -3])
    shares = [jsmpc.share(jax.random.key(i), x, smpc) for i, x in enumerate(values)]
    secure = jsmpc.secure(twice)
    return secure, secure.trace(*shares), [*values, *shares]


def draws(jaxpr: Any) -> list[Any]:
    """The key and the number of each draw, calls included; a key by where it comes from."""
    found = []

    def apply(eqn: Any, operands: list[Any]) -> list[Any]:
        if eqn.primitive is routine.routine_p:
            return walk.evaluate(routine.body(eqn), operands, apply)
        if eqn.primitive is draw_p:
            found.append((operands[0], eqn.params["number"]))
        return [object() for _ in eqn.outvars]

    opened, consts = compat.open_jaxpr(jaxpr)
    walk.evaluate(opened, [object() for _ in opened.invars], apply, lambda c: object(), consts)
    return found


def test_calls_are_there_and_no_draw_is_made_twice(traced: Any) -> None:
    _, jaxpr, _ = traced
    calls = [e for e in compat.open_jaxpr(jaxpr)[0].eqns if e.primitive is routine.routine_p]
    assert len({id(e.params["jaxpr"]) for e in calls}) < len(calls)
    found = draws(jaxpr)
    assert found
    assert max(collections.Counter(found).values()) == 1


def test_an_inlined_program_has_the_same_draws(traced: Any) -> None:
    opened, _ = compat.open_jaxpr(traced[1])
    inlined = routine.inlined(opened)
    assert not any(e.primitive is routine.routine_p for e in inlined.eqns)
    numbers = sorted(e.params["number"] for e in inlined.eqns if e.primitive is draw_p)
    assert numbers == sorted(number for _, number in draws(traced[1]))


def test_each_call_belongs_to_its_own_line(traced: Any) -> None:
    secure, _, (_, _, *shares) = traced
    lines = [line for line in secure.cost(*shares).by_line if "(twice)" in line]
    assert len({line.split(":")[1] for line in lines}) == 3


def test_the_values_are_right(traced: Any) -> None:
    secure, _, (x, y, *shares) = traced
    out = jsmpc.reveal(secure(jax.random.key(7), *shares))
    for a, b in zip(out, twice(x, y), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5)
