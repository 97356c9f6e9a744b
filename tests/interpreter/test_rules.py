"""What a rule declares is true: the class of its cost, and the bound of its error.

Each rule is used on secrets. Its cost is counted from the program's messages, and compared with
those of a product, a comparison and a division; its error is measured over extremes and at random.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from harness import key, protocol
from jsmpc._src import kernels
from jsmpc._src.interpreter.registry import COSTS, RULES
from jsmpc._src.jaxprs import compat
from jsmpc._src.readings.cost import Cost, measure
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._src.runtime import prf
from recording import words_of
from rule_cases import CASES, SCALE, UNIT, Case

BY_NAME = {primitive.name: rule for primitive, rule in RULES.items()}
USES = [(name, i) for name in BY_NAME for i in range(len(CASES.get(name, ())))]
# Functions are written over any protocol: those of another are not measured again.
FUNCTIONS = ("function", "order", "long division")
HERE = {
    "replicated3": USES,
    "additive2": [use for use in USES if BY_NAME[use[0]].cost not in FUNCTIONS],
}
each_use = pytest.mark.parametrize(
    ("protocol_name", "name", "number"), [(p, *use) for p, uses in HERE.items() for use in uses]
)


@dataclasses.dataclass(frozen=True)
class Traced:
    """A case as a program of a protocol's parties."""

    program: Projection
    args: list[Any]
    shape: Any
    cost: Cost
    used: frozenset[str]


def trace(name: str, f: Any, operands: Any, public: int = 0) -> Traced:
    """A function of operands, all but the last `public` of them secret."""
    smpc, used = protocol(name, 64), set()

    def noting(own: str, apply: Any) -> Any:
        def noted(*args: Any, **params: Any) -> Any:
            used.add(own)
            return apply(*args, **params)

        return noted

    noted = {
        p: dataclasses.replace(rule, apply=noting(p.name, rule.apply)) for p, rule in RULES.items()
    }
    with jax.enable_x64(True), mock.patch.dict(RULES, noted):
        arrays = [jnp.asarray(x) for x in operands]
        hidden = len(arrays) - public
        args = [*jsmpc.share(key(1), arrays[:hidden], smpc), *arrays[hidden:]]
        program = jsmpc.secure(f).project(*args)
        shape = jax.eval_shape(f, *arrays)
        rows = [row for x in words_of(args[:hidden]) for row in x]
    keys = [prf.as_key(jnp.asarray(key(2)))] * len(smpc.endpoints)
    cost = measure(program, smpc.parties)
    return Traced(program, [*keys, *rows, *arrays[hidden:]], shape, cost, frozenset(used))


@functools.cache
def traced(protocol_name: str) -> dict[tuple[str, int], Traced]:
    cases = {(name, i): CASES[name][i] for name, i in HERE[protocol_name]}
    return {use: trace(protocol_name, c.f, c.operands, c.public) for use, c in cases.items()}


@functools.cache
def results(protocol_name: str) -> dict[tuple[str, int], Any]:
    """The results of all cases, each of them fused, computed by one program and opened."""
    cases = traced(protocol_name)

    def everything(args: Any) -> Any:
        return {
            use: stacked(
                case.program, kernels.evaluate(*compat.open_jaxpr(case.program.jaxpr), args[use])
            )
            for use, case in cases.items()
        }

    with jax.enable_x64(True):
        args = {use: case.args for use, case in cases.items()}
        out = jax.jit(everything)(args)
        shares = {
            use: as_shares(protocol_name, case.shape, out[use]) for use, case in cases.items()
        }
        return jax.tree.map(np.asarray, jsmpc.reveal(shares))


def stacked(program: Projection, values: Sequence[Any]) -> list[Any]:
    """The results of a program with the rows of a share in one array."""
    parties = {e for p in program.outputs for e in p.endpoints}
    remaining, ports, results = list(values), list(program.outputs), []
    while ports:
        count = 1 if ports[0].endpoints == parties else len(parties)
        rows, remaining, ports = remaining[:count], remaining[count:], ports[count:]
        results.append(rows[0] if count == 1 else jnp.stack(rows))
    return results


def as_shares(protocol_name: str, shape: Any, words: list[Any]) -> Any:
    """A program's results in the structure of the function's; those revealed are as they are."""
    smpc = protocol(protocol_name, 64)
    leaves, treedef = jax.tree.flatten(shape)
    return jax.tree.unflatten(
        treedef,
        [
            w if w.shape == x.shape else jsmpc.Share((w,), smpc, x.dtype)
            for x, w in zip(leaves, words, strict=False)
        ],
    )


def test_every_rule_has_a_case() -> None:
    assert BY_NAME.keys() <= CASES.keys(), BY_NAME.keys() - CASES.keys()


@each_use
def test_a_case_uses_its_rule(protocol_name: str, name: str, number: int) -> None:
    assert name in traced(protocol_name)[name, number].used


# --- Cost ----------------------------------------------------------------------------------------


@functools.cache
def rounds_of(protocol_name: str) -> dict[str, int]:
    """The rounds of what the classes are made of."""
    x = np.linspace(0.5, 2, 4)
    units = {
        "product": lambda x, y: x * y,
        "comparison": jnp.maximum,
        "function": lambda x, y: x / y,
    }
    return {name: trace(protocol_name, f, (x, x)).cost.rounds for name, f in units.items()}


def limits(cost: str, steps: int, size: int, rounds: dict[str, int]) -> tuple[int, int]:
    """The fewest and the most rounds that a class may take."""
    return {
        "local": (0, 0),
        "opening": (1, 1),
        "product": (1, steps * rounds["product"]),
        "comparison": (rounds["product"] + 1, steps * rounds["comparison"] + rounds["product"]),
        "function": (rounds["comparison"] - 1, 2 * steps * rounds["function"]),
        "order": (rounds["product"], math.ceil(math.log2(size)) ** 2 * rounds["comparison"]),
        "long division": (steps, steps * (rounds["comparison"] + rounds["product"])),
        "program": (1, steps * rounds["product"]),
    }[cost]


@each_use
def test_a_rule_costs_what_its_class_says(protocol_name: str, name: str, number: int) -> None:
    case, cost = CASES[name][number], traced(protocol_name)[name, number].cost
    size = max(np.size(x) for x in case.operands)
    fewest, most = limits(
        BY_NAME[name].cost, case.rounds or case.steps, size, rounds_of(protocol_name)
    )
    assert (fewest if case.typical else 0) <= cost.rounds <= most, f"{cost.rounds} rounds"
    if most == 0:
        assert sum(cost.bytes_sent) == cost.dealer_bytes == 0


def test_the_classes_are_those_that_are_declared() -> None:
    assert {rule.cost for rule in RULES.values()} == set(COSTS)


# --- Error ---------------------------------------------------------------------------------------


def exact(case: Case) -> Any:
    """What JAX gives in 64 bits."""
    with jax.enable_x64(True):
        reference = case.reference or case.f
        return jax.tree.map(np.asarray, jax.jit(reference)(*map(jnp.asarray, case.operands)))


@each_use
def test_a_rule_keeps_its_error_bound(protocol_name: str, name: str, number: int) -> None:
    case, bound = CASES[name][number], BY_NAME[name].error
    ours, theirs = results(protocol_name)[name, number], exact(case)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    limit = protocol(protocol_name, 64).encoding.limit(protocol(protocol_name, 64).ring)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.shape == b.shape and a.dtype.kind == b.dtype.kind
        if b.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
            continue
        inside = abs(b) < limit
        assert inside.all()
        operands = [np.asarray(x, float) for x in case.operands]
        allowed = (
            case.steps * UNIT
            if bound.inner
            else bound.allowed(b, operands, UNIT, case.steps if bound.step else 1)
        )
        off = abs(a - b) - UNIT / 2 * (bound.ulps == 0) * (b * SCALE != np.round(b * SCALE))
        ratio = off / np.maximum(allowed, UNIT * 2**-20)
        worst = np.unravel_index(np.argmax(ratio), ratio.shape)
        assert ratio[worst] <= 1, (
            f"{ratio[worst]:.3f} of the bound: {a[worst]} for {b[worst]} at "
            f"{[x[worst] for x in operands if x.shape == b.shape]}"
        )
