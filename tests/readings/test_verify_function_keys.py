"""The lemma on function keys: programs of function secret sharing, and what is not proved of them.

Each planted leak is one change of a step that is proved as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import A, protocol
from jsmpc._src import kernels
from jsmpc._src.network.values import Local
from jsmpc._src.runtime.context import Context
from mutants import KINDS, Traced
from operations import OPERATIONS

FSS = "fss22"

WIDTH = 63
SHAPE = (2, 3)
KEY = jax.random.key(3)


def proved(step: Callable[[Context, Local], Any]) -> bool:
    return bool(Traced.of(protocol(FSS, 64), step, (A,), SHAPE).proof())


# --- A comparison, and its leaks -----------------------------------------------------------------

Parts = dict[str, Any]


def comparison(change: Callable[[Context, Parts], Any]) -> Callable[[Context, Local], None]:
    """x opened under r, and a key of r, but for a change; the parties' shares of the function are
    opened under a mask."""

    def step(ctx: Context, x: Local) -> None:
        smpc = protocol(FSS, 64)
        shape = x.shape
        parts: Parts = {
            "x": x,
            "r": ctx.draw(shape, np.uint64),
            "added": None,
            "root": ctx.draw((2, *shape), np.uint64),
            "dealt": None,
            "more": ctx.draw(shape, np.uint8),
        }
        change(ctx, parts)
        opened = smpc._open(ctx, x + (parts["added"] or parts["r"]))
        corrections = keys(parts["dealt"] or parts["root"], parts["r"])
        given = ctx.network.deliver(ctx.network.hosted([corrections] * 2))
        rank = ctx.network.hosted(range(2))
        shares = rank.map(evaluated, parts["root"], given, opened)
        ctx.network.send(shares ^ parts["more"], {0: 1, 1: 0})

    return step


def keys(roots: Local, r: Local) -> Any:
    first, second = roots.values
    masks = r.values
    return kernels.function_keys((first, second), masks[0] + masks[1], WIDTH, True)


def evaluated(rank: int, root: Any, corrections: Any, x: Any) -> Any:
    return kernels.function_values(rank, root, corrections, x[None], WIDTH, True)[0]


def replaced(name: str, f: Callable[[Any], Any]) -> Callable[[Context, Parts], None]:
    def change(ctx: Context, p: Parts) -> None:
        p[name] = p[name].map(f)

    return change


def passed(name: str) -> Callable[[Context, Parts], None]:
    """Party 1's is sent to party 0."""
    return lambda ctx, p: ctx.network.send(p[name], {1: 0})


def zero(x: Any) -> Any:
    return x ^ x


def one_for_all(x: Any) -> Any:
    return jnp.broadcast_to(x[..., :1, :1], x.shape)


def mask_left_out(ctx: Context, p: Parts) -> None:
    p["added"] = p["r"].map(zero)


def mask_dealt_to_both(ctx: Context, p: Parts) -> None:
    total = p["r"].values[0] + p["r"].values[1]
    ctx.network.deliver(ctx.network.hosted([total] * 2))


def mask_of_one_party(ctx: Context, p: Parts) -> None:
    p["r"] = ctx.network.hosted([p["r"].values[0]] * 2)


def mask_in_two_openings(ctx: Context, p: Parts) -> None:
    smpc = protocol(FSS, 64)
    smpc._open(ctx, p["x"] * p["x"] + p["r"])


def mask_of_half_the_width(ctx: Context, p: Parts) -> None:
    p["added"] = p["r"].map(lambda w: w & np.uint64(2**32 - 1))


def both_roots_of_one_party(ctx: Context, p: Parts) -> None:
    p["root"] = ctx.network.hosted([p["root"].values[0]] * 2)


def roots_dealt_to_both(ctx: Context, p: Parts) -> None:
    ctx.network.deliver(ctx.network.hosted(list(reversed(p["root"].values))))


def two_keys_of_a_root(ctx: Context, p: Parts) -> None:
    other = ctx.draw(p["r"].shape, np.uint64)
    corrections = keys(p["root"], p["r"].map(lambda w, o: w * w + o, other))
    ctx.network.deliver(ctx.network.hosted([corrections] * 2))


def root_as_a_mask(ctx: Context, p: Parts) -> None:
    ctx.network.send(p["x"].map(lambda w, s: w + s[0], p["root"]), {1: 0})


def root_used_before(ctx: Context, p: Parts) -> None:
    p["dealt"] = p["root"].map(lambda w: w & np.uint64(255))


def shares_sent_as_they_are(ctx: Context, p: Parts) -> None:
    p["more"] = p["more"].map(zero)


def mask_beside_the_corrections(ctx: Context, p: Parts) -> None:
    total = p["r"].values[0] + p["r"].values[1]
    corrections = keys(p["root"], p["r"])
    ctx.network.deliver(ctx.network.hosted([corrections[0, 0] ^ total] * 2))


LEAKS: dict[str, Callable[[Context, Parts], Any]] = {
    "r left out": mask_left_out,
    "r sent to a party": passed("r"),
    "r dealt to both": mask_dealt_to_both,
    "r of one party": mask_of_one_party,
    "r in two openings": mask_in_two_openings,
    "r of half the width": mask_of_half_the_width,
    "one r for all": replaced("r", one_for_all),
    "a root sent to the other party": passed("root"),
    "roots left out": replaced("root", zero),
    "one root for all": replaced("root", one_for_all),
    "both roots of one party": both_roots_of_one_party,
    "both roots dealt to both": roots_dealt_to_both,
    "a root in two keys": two_keys_of_a_root,
    "a root as a mask": root_as_a_mask,
    "roots of few bits": root_used_before,
    "roots squared": replaced("root", lambda w: w * w),
    "shares of the function as they are": shares_sent_as_they_are,
    "r beside the corrections": mask_beside_the_corrections,
}


def test_a_comparison_is_proved() -> None:
    assert proved(comparison(lambda ctx, p: None))


@pytest.mark.parametrize("leak", LEAKS)
def test_a_spoilt_comparison_is_not_proved(leak: str) -> None:
    assert not proved(comparison(LEAKS[leak]))


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutant_is_proved(kind: str) -> None:
    smpc = protocol(FSS, 64)
    for operation in ("msb", "relu", "is_zero"):
        kinds, f = OPERATIONS[operation]
        for what, mutant in KINDS[kind](Traced.of(smpc, lambda *x, f=f: f(smpc, *x), kinds)):
            assert not mutant.proof(), f"{operation}: {what}"


# --- Programs ------------------------------------------------------------------------------------


def shared(size: int) -> Any:
    smpc = protocol(FSS, 64)
    return jax.eval_shape(lambda key, x: jsmpc.share(key, x, smpc), KEY, np.ones(size, np.float32))


FUNCTIONS = {
    "less": lambda x: x < 0.5,
    "equal": lambda x: x == 1,
    "relu": jax.nn.relu,
    "argmax": jnp.argmax,
    "max": jnp.max,
    "sort": jnp.sort,
    "divide": lambda x: x / (x + 1),
    "exp": jnp.exp,
    "log": jnp.log,
    "gelu": jax.nn.gelu,
    "softmax": jax.nn.softmax,
    "one_hot": lambda x: jax.nn.one_hot(jnp.argmax(x), 4),
    "integers": lambda x: (x * 8).astype(int) // (x * 4 + 1).astype(int),
    "loop": lambda x: lax.scan(lambda c, v: (jnp.maximum(c, v), c < v), x[0], x),
    "opened": lambda x: jsmpc.reveal(x > 0.5),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_proved(function: str) -> None:
    proof = jsmpc.verify(jsmpc.secure(FUNCTIONS[function]))(shared(4))
    assert proof, str(proof)
    assert bool(proof.openings) == (function == "opened")


def test_what_parties_see_of_keys_is_told() -> None:
    proof = jsmpc.verify(jsmpc.secure(FUNCTIONS["less"]))(shared(4))
    assert str(proof.proofs[0]) == "party0: proved; 3 messages: 2 uniform, 1 by a lemma"


@pytest.mark.parametrize("function", ["less", "relu", "equal"])
def test_many_are_proved(function: str) -> None:
    """In blocks: their masks are drawn in one loop, and again where a later one deals keys of them;
    the last block is not full."""
    proof = jsmpc.verify(jsmpc.secure(FUNCTIONS[function]))(shared(40_001))
    assert proof, str(proof)
