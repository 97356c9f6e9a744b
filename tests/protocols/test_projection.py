"""Projected programs against the simulation: the same shares, bit for bit, and nothing borrowed."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
import programs
from harness import SECRET, A, At, B, Runner, mixed, protocol, run_together, split, words
from jsmpc._src.api import choreographed
from jsmpc._src.functions import division, exponential, extremes
from jsmpc._src.network.messages import held_p
from jsmpc._src.readings.projection.choreography import Control, Message
from jsmpc._src.ring import bilinear
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from recording import words_of

BITS = 64


def products_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> Any:
    (image, kernel, params), *_ = programs.convolutions()
    cut = x.map(lambda w: jnp.resize(w, image))
    taps = y.map(lambda w: jnp.resize(w, kernel))
    left, right = x.map(lambda w: w[:600].reshape(20, 30)), y.map(lambda w: w[:600].reshape(30, 20))
    scale = smpc.encoding.scale
    return {
        "matmul": A(smpc.product(ctx, bilinear.MATMUL, left, right)),
        "matmul_divided": A(smpc.product(ctx, bilinear.MATMUL, left, right, scale)),
        "convolution": A(smpc.product(ctx, programs.product_of(params), cut, taps)),
        "square_divided": A(smpc.square(ctx, x, scale)),
        "truncate": A(smpc.truncate(ctx, x, scale)),
        "truncate_decimal": A(smpc.truncate(ctx, x, 1000)),
        "scalar": A(smpc.mul_aa(ctx, x.map(lambda w: w[0]), y.map(lambda w: w[1]))),
    }


def largest_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    value, index = extremes.argument_of_largest(smpc, ctx, x)
    return {"max": A(value), "argmax": A(index), "largest": A(extremes.largest(smpc, ctx, x))}


def nonlinear_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    scale = smpc.encoding.scale
    return {
        "divide": A(division.divide(smpc, ctx, x, -x, scale)),
        "exponential": A(exponential.exponential(smpc, ctx, x, 1.4427 / scale, scale)),
    }


def operands_of(program: Any) -> list[A | B]:
    rng = np.random.default_rng(3)
    x, y, p, q = programs.elementwise_operands(BITS)
    if program is programs.elementwise_program:
        return [A(x), A(y), B(p), B(q)]
    if program is programs.comparison_program:
        return [A(x[:300]), A(y[:300]), B(p[:300])]  # too few for turns: see `test_turns`
    if program is programs.conversions_program:
        return [A(x[:100]), B(q[:100])]
    if program is largest_program:
        return [A(words(rng.integers(-3, 3, (3, 40)).astype(object), BITS))]
    if program is nonlinear_program:
        return [A(words(mixed(BITS, 200, 2), BITS))]
    if program is programs.rounding_program:
        return [A(words(mixed(BITS, 300, 2), BITS))]
    return [A(x), A(y)]


OPERATIONS = [
    programs.elementwise_program,
    programs.comparison_program,
    programs.conversions_program,
    products_program,
]
# Written over any protocol: without a dealer, and with one who computes too.
FUNCTIONS = [largest_program, programs.rounding_program, nonlinear_program]
CASES = [
    *itertools.product(SECRET, OPERATIONS),
    *itertools.product(["replicated3", "securenn2"], FUNCTIONS),
]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "program"),
    CASES,
    ids=lambda x: x if isinstance(x, str) else x.__name__.removesuffix("_program"),
)
def test_endpoints_compute_the_same_shares(name: str, program: Any) -> None:
    smpc = protocol(name, BITS)
    runner = Runner(smpc, lambda ctx, *operands: program(smpc, ctx, *operands))
    shares = split(smpc, 4, operands_of(program))
    simulated, parties = runner.stacked(5, shares), runner.by_endpoint(5, shares)
    for rank, results in enumerate(parties):
        for operation, expected in simulated.items():
            if runner.kinds[operation] is not None:
                expected = expected[sorted(smpc.holds(rank))]
            elif runner.places[operation] not in (None, rank):
                assert operation not in results
                continue
            else:
                expected = expected[None]
            np.testing.assert_array_equal(results[operation], expected, err_msg=operation)


def cheating(ctx: Context, x: Any) -> Any:
    return {"sum": A(x.map(lambda w: w + x.values[0]))}


def cheating_in_a_loop(ctx: Context, x: Any) -> Any:
    def body(ctx: Context, carry: Any, _: Any) -> Any:
        return carry.map(lambda w: w + carry.values[0]), ()

    return {"sum": A(ctx.scan(body, x, None, 2)[0])}


def cheating_in_a_message(ctx: Context, x: Any) -> Any:
    stolen = ctx.network.only(2, x.values[0])
    return {"stolen": At(1, ctx.network.send(stolen, {2: 1}))}


def cheating_in_a_circle(ctx: Context, x: Any) -> Any:
    """Two parties tell each other what neither of them holds."""
    net, stolen = ctx.network, x.values[0]
    net.send(net.only(1, stolen), {1: 2})
    net.send(net.only(2, stolen), {2: 1})
    return {"stolen": At(2, net.only(2, stolen + stolen))}


def told_later(ctx: Context, x: Any) -> Any:
    """A value that two parties compute in their own ways; one is told the other's afterwards."""
    net, first = ctx.network, x.values[0]
    twice = first + first
    net.send(net.only(0, first), {0: 1})
    either = held_p.bind(twice, first * 2)
    net.send(net.only(0, twice), {0: 1})
    return {"twice": At(1, net.only(1, either))}


@pytest.mark.usefixtures("x64")
def test_of_equal_values_the_one_at_hand_is_taken() -> None:
    smpc = protocol("additive2", BITS)
    runner = Runner(smpc, told_later)
    shares = split(smpc, 4, operands_of(products_program)[:1])
    found = runner.by_endpoint(5, shares)[1]["twice"][0]
    np.testing.assert_array_equal(found, 2 * shares[0][0])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("name", "f", "thief"),
    [
        *((name, f, 1) for name in SECRET for f in (cheating, cheating_in_a_loop)),
        ("additive3", cheating_in_a_message, 2),
        ("additive3", cheating_in_a_circle, 1),
    ],
)
def test_reaching_into_another_partys_share_is_refused(name: str, f: Any, thief: int) -> None:
    """What the simulation would let pass is an error while it is projected."""
    smpc = protocol(name, BITS)
    runner = Runner(smpc, f)
    shares = split(smpc, 4, operands_of(products_program)[:1])
    assert runner.stacked(5, shares)
    with pytest.raises(jsmpc.ProtocolError, match=rf"party{thief} needs a value that it does not"):
        runner.by_endpoint(5, shares)


# --- jsmpc.secure --------------------------------------------------------------------------------


def classify(params: Any, images: Any, labels: Any) -> Any:
    hidden = jax.nn.relu(images @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"]
    correct = jnp.argmax(logits, -1) == labels
    return logits, jsmpc.reveal(correct.sum()), correct


def looped(x: Any) -> Any:
    return jax.lax.fori_loop(0, 3, lambda i, c: jnp.maximum(c * 0.5, x) * c, x)


@functools.cache
def network_values() -> Any:
    rng = np.random.default_rng(8)
    params = {
        "w1": rng.normal(size=(6, 8)).astype(np.float32),
        "b1": rng.normal(size=8).astype(np.float32),
        "w2": rng.normal(size=(8, 4)).astype(np.float32),
    }
    images = rng.normal(size=(5, 6)).astype(np.float32)
    plain = jax.nn.relu(images @ params["w1"] + params["b1"]) @ params["w2"]
    labels = np.array(jnp.argmax(plain, -1), np.int32)
    labels[2] = (labels[2] + 1) % 4
    return params, images, labels


def both_ways(f: Any, smpc: jsmpc.Protocol, values: Any, *public: Any) -> tuple[Any, Any]:
    """Each output of a secure function at every endpoint that gets it, and as simulated."""
    secure, key_run = jsmpc.secure(f), jax.random.key(2)
    args = (*jsmpc.share(jax.random.key(1), values, smpc), *public)
    projection = secure.project(*args)
    with jax.enable_x64(True):
        keys = [prf.as_key(key_run)] * len(smpc.endpoints)
        given = [row for x in words_of(args[: len(values)]) for row in x]
        found = run_together(projection, [*keys, *given, *map(jnp.asarray, public)])
    out = jax.tree.leaves(secure(key_run, *args), is_leaf=lambda x: isinstance(x, jsmpc.Share))
    shares = [x.components[0] if isinstance(x, jsmpc.Share) else [x] for x in out]
    return found, [np.asarray(row) for rows in shares for row in rows]


def check_both_ways(f: Any, smpc: jsmpc.Protocol, values: Any, *public: Any) -> None:
    found, expected = both_ways(f, smpc, values, *public)
    for held, value in zip(found, expected, strict=False):
        for endpoint, x in held.items():
            np.testing.assert_array_equal(x, value, err_msg=f"{f.__name__} at {endpoint}")
        assert held


@pytest.mark.parametrize(
    ("name", "bits"), [("additive3", 64), ("securenn2", 64), ("replicated3", 32)]
)
def test_a_network(name: str, bits: int) -> None:
    check_both_ways(classify, protocol(name, bits), network_values())


def branched(x: Any, which: Any) -> Any:
    def step(carry: Any, row: Any) -> Any:
        carry = jax.lax.cond(which > 0, lambda v: v * row, lambda v: v + row, carry)
        return carry, carry * carry

    return jax.lax.scan(step, x[0], x, reverse=True)


def until_revealed(x: Any) -> Any:
    total = jax.lax.while_loop(lambda s: jsmpc.reveal(s.sum()) < 50, lambda s: s * s + 1, x)
    return jax.lax.cond(jsmpc.reveal(total[0]) > 3, lambda v: v * x, lambda v: v - x, total)


def nested(x: Any) -> Any:
    def outer(carry: Any, row: Any) -> Any:
        inner = jax.lax.fori_loop(0, 2, lambda i, c: c * row + i, carry)
        return inner, jnp.maximum(inner, row)

    return jax.lax.scan(outer, x, jnp.stack([x, 2 * x]))


X = np.linspace(-1, 1.5, 5).astype(np.float32)


@pytest.mark.parametrize("name", ["additive2", "replicated3", "securenn2"])
@pytest.mark.parametrize(("f", "public"), [(looped, ()), (branched, (np.int32(1),)), (nested, ())])
def test_loops_and_branches(f: Any, public: Any, name: str) -> None:
    check_both_ways(f, protocol(name, 64), (X,), *public)


def weighted(x: Any, p: Any) -> Any:
    return jsmpc.reveal((x * p).sum()) * p, jax.lax.fori_loop(0, 2, lambda i, c: c * p, x)


def masked(x: Any, p: Any) -> Any:
    return jsmpc.reveal(x + p), jsmpc.reveal(x)


@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize(("f", "public"), [(weighted, X), (masked, X), (branched, np.int32(1))])
def test_what_depends_on_a_public_argument_waits_until_it_is_compared(
    f: Any, public: Any, name: str
) -> None:
    smpc = protocol(name, 64)
    program = jsmpc.secure(f).project(jsmpc.share(jax.random.key(1), X, smpc), public)
    block, (group,) = program.block, program.compared
    # A dealer, who deals by the condition of a branch, compares that, and is told nothing else.
    assert group.endpoints == set(range(len(smpc.endpoints) if f is branched else smpc.size))
    digests = block.inputs[-len(group.endpoints) :]
    told = [m for m in block.steps if isinstance(m, Message) and m.value in digests]
    assert {(m.source, m.target) for m in told} == set(itertools.permutations(group.endpoints, 2))
    (compared,) = {m.slot for m in told}
    follow = {block.inputs[i] for i in group.inputs}
    after = []
    for step in block.steps:
        if follow.intersection(step.operands):
            follow.update(step.results)
            if isinstance(step, Message) and step.live:
                after.append(step.slot > compared)
            if isinstance(step, Control) and step.exchanges:  # between exchanges, so in order
                after += [slot >= compared for slot in step.slots.values()]
    assert after and all(after)


def test_what_comes_from_a_loop_or_a_branch_may_be_sent_as_it_is() -> None:
    def opened(x: Any) -> Any:
        doubled = jax.lax.fori_loop(0, 2, lambda i, c: c + c, x)
        either = jax.lax.cond(jsmpc.reveal(x[0]) > 0, lambda v: v, lambda v: v + v, x)
        return jsmpc.reveal(doubled), jsmpc.reveal(either)

    check_both_ways(opened, protocol("additive2", 64), (X,))


@pytest.mark.parametrize("name", SECRET)
def test_a_loop_that_ends_when_a_revealed_number_says_so(name: str) -> None:
    check_both_ways(until_revealed, protocol(name, 64), (X,))


def test_a_dealer_is_told_what_it_deals_by_and_nothing_else() -> None:
    def told(f: Any, *public: Any) -> list[Any]:
        smpc = protocol("additive2", 64)
        projection = jsmpc.secure(f).project(jsmpc.share(jax.random.key(0), X, smpc), *public)
        return [(r.to, r.elements) for r in choreographed.told(smpc, projection.block)]

    # Whether to go on, before the loop and in it, and which branch is taken.
    assert told(until_revealed) == [("dealer", 1)] * 3
    assert told(branched, np.int32(1)) == told(looped) == []  # it knows these
    local = jax.lax.while_loop  # a loop for which nothing is dealt
    assert told(lambda x: local(lambda c: jsmpc.reveal(c.sum()) < 50, lambda c: c + c, x)) == []
