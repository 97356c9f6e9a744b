"""What `jsmpc.verify` proves, and what it says."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
import programs
from harness import SECRET, A, protocol
from jsmpc._src.protocols.base import Protocol
from mutants import Traced
from operations import OPERATIONS

KEY = jax.random.key(3)


@functools.cache
def shares(name: str, bits: int = 64) -> tuple[jsmpc.Share, jsmpc.Share]:
    rng = np.random.default_rng(1)
    values = tuple(rng.uniform(0.5, 2, (2, 4)).astype(np.float32) for _ in range(2))
    x, y = jsmpc.share(KEY, values, protocol(name, bits))
    return x, y


# --- Operations and functions --------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("name", SECRET)
def test_operations_are_proved(name: str, operation: str) -> None:
    kinds, f = OPERATIONS[operation]
    smpc = protocol(name, 64)
    proof = Traced.of(smpc, functools.partial(f, smpc), kinds).proof()
    assert proof, str(proof)
    assert len(proof.proofs) == len(smpc.corrupt_sets)
    assert bool(proof.draws) == (operation != "linear")


@pytest.mark.parametrize("operation", ["mul_aa with divisor", "signs", "is_zero", "a2b", "mul_ba"])
@pytest.mark.parametrize("name", ["additive2", "replicated3", "securenn2", "fss22"])
def test_operations_of_the_32_bit_ring_are_proved(name: str, operation: str) -> None:
    kinds, f = OPERATIONS[operation]
    smpc = protocol(name, 32)
    proof = Traced.of(smpc, functools.partial(f, smpc), kinds).proof()
    assert proof, str(proof)


def in_turns(smpc: Protocol, ctx: Any, x: Any) -> Any:
    return smpc.relu(ctx, x), smpc.equal(ctx, x, x)


def test_operations_whose_roles_go_round_are_proved() -> None:
    smpc = protocol("replicated3", 64)
    step = functools.partial(in_turns, smpc)
    assert Traced.of(smpc, step, (A,), shape=(60_000,)).proof()


def test_openings_inside_of_a_protocol_are_not_declared_ones() -> None:
    smpc = protocol("replicated3", 64)

    def opening(ctx: Any, x: Any) -> Any:
        return smpc.open(ctx, smpc.mul_aa(ctx, x, x))

    proof = Traced.of(smpc, opening, (A,)).proof()
    assert not proof and not proof.openings


def test_programs_of_operations_are_proved() -> None:
    for name in SECRET:
        smpc = protocol(name, 64)
        step = functools.partial(programs.rounding_program, smpc)
        proof = Traced.of(smpc, step, (A,)).proof()
        assert proof, str(proof)


FUNCTIONS = {
    "linear": lambda x, y: 2 * x - y + 1,
    "product": lambda x, y: x * y,
    "matmul": lambda x, y: x @ y.T,
    "less": lambda x, y: x < y,
    "equal": lambda x, y: x == y,
    "where": lambda x, y: jnp.where(x > y, x, y * y),
    "max": lambda x, y: jnp.max(x, axis=-1),
    "argmax": lambda x, y: jnp.argmax(x, axis=-1),
    "relu": lambda x, y: jax.nn.relu(x),
    "divide": lambda x, y: x / y,
    "exp": lambda x, y: jnp.exp(x),
    "log": lambda x, y: jnp.log(x),
    "sqrt": lambda x, y: jnp.sqrt(x),
    "rsqrt": lambda x, y: lax.rsqrt(x),
    "sigmoid": lambda x, y: jax.nn.sigmoid(x),
    "tanh": lambda x, y: jnp.tanh(x),
    "erf": lambda x, y: lax.erf(x),
    "gelu": lambda x, y: jax.nn.gelu(x),
    "sin": lambda x, y: jnp.sin(x),
    "floor": lambda x, y: jnp.floor(x),
    "softmax": lambda x, y: jax.nn.softmax(x),
    "sort": lambda x, y: jnp.sort(x, axis=-1),
    "remainder": lambda x, y: x % y,
    "integers": lambda x, y: (x * 8).astype(int) // (y * 4 + 1).astype(int),
    "index": lambda x, y: x[0][jnp.argmax(y, axis=-1)],
    "one_hot": lambda x, y: jax.nn.one_hot(jnp.argmax(y, axis=-1), 4),
    "gradient": lambda x, y: jax.grad(lambda x: jnp.sum(jax.nn.log_softmax(x) * y))(x),
}


EVERYWHERE = ("product", "less", "equal", "where", "argmax", "divide", "exp", "floor", "index")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_are_proved(function: str) -> None:
    secure = jsmpc.secure(FUNCTIONS[function])
    others = ("additive2", "securenn2") if function in EVERYWHERE else ()
    for name in ("replicated3", *others):
        proof = jsmpc.verify(secure)(*shares(name))
        assert proof, str(proof)
        assert not proof.openings


@pytest.mark.parametrize("function", ["divide", "argmax", "gelu"])
def test_functions_of_other_rings_and_more_parties_are_proved(function: str) -> None:
    secure = jsmpc.secure(FUNCTIONS[function])
    for name, bits in (
        ("additive3", 64),
        ("additive2", 32),
        ("replicated3", 32),
        ("securenn2", 32),
    ):
        proof = jsmpc.verify(secure)(*shares(name, bits))
        assert proof, str(proof)


# --- Loops, branches, openings -------------------------------------------------------------------


def scanned(x: Any, y: Any) -> Any:
    return lax.scan(lambda c, row: (c * row, jnp.maximum(c, row)), y[0], x)


def nested(x: Any, y: Any) -> Any:
    def step(c: Any, row: Any) -> Any:
        return lax.fori_loop(0, 2, lambda i, v: jnp.maximum(v, row) * v, c), None

    return lax.scan(step, y[0], x, reverse=True)[0]


def counted(x: Any, y: Any) -> Any:
    return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * y), (0, x))


def until_revealed(x: Any, y: Any) -> Any:
    return lax.while_loop(lambda s: jsmpc.reveal(jnp.sum(s)) < 9.0, lambda s: s * 2 + y * y, x)


def branching(x: Any, y: Any) -> Any:
    return lax.cond(
        jsmpc.reveal(x[0, 0] > 1), lambda v: v * y, lambda v: jsmpc.reveal(v * v) + y, x
    )


def of_secret_condition(x: Any, y: Any) -> Any:
    return lax.cond(x[0, 0] > 1, lambda v: v * y, lambda v: v * 0.5, x)


LOOPS = [scanned, nested, counted, until_revealed, branching, of_secret_condition]


@pytest.mark.parametrize("f", LOOPS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", SECRET)
def test_loops_and_branches_are_proved(name: str, f: Any) -> None:
    proof = jsmpc.verify(jsmpc.secure(f))(*shares(name))
    assert proof, str(proof)


def test_how_often_a_loop_runs_may_not_depend_on_what_is_hidden() -> None:
    """A party that knows the condition alone, and others that run the loop."""
    smpc = protocol("replicated3", 64)

    def loop(ctx: Any, x: Any) -> Any:
        def body(_: Any, state: Any) -> Any:
            return state + state

        return ctx.while_loop(lambda _, s: s.values[0][0, 0] > 3, body, x)

    proof = Traced.of(smpc, loop, (A,)).proof()
    assert proof.verdict == "undecided"
    (finding, *_) = proof.proofs[1].findings
    assert "how often the loop runs" in finding.reason


def revealed(x: Any, y: Any) -> Any:
    product = jsmpc.reveal(x * y)
    return product, jsmpc.reveal(jnp.sum(x), to=1), product * jnp.sum(jsmpc.reveal(product * x))


@pytest.mark.parametrize("name", SECRET)
def test_openings_are_told_and_proved(name: str) -> None:
    x, y = shares(name)
    proof = jsmpc.verify(jsmpc.secure(revealed))(x, y)
    assert proof, str(proof)
    everyone = ", ".join(x.protocol.parties)
    first, second, third = proof.openings
    line = revealed.__code__.co_firstlineno + 1
    assert f"{everyone} learn a revealed value, 8 numbers at test_verify.py:{line} " in first
    assert second.startswith("party1 learns a revealed value, 1 number at ")
    assert third.startswith(f"{everyone} learn a revealed value, 8 numbers")
    opened = {p.corrupt: p.opened for p in proof.proofs}
    assert opened["party0",] == 2 and opened["party1",] == 3


def test_openings_in_a_loop_are_told_as_such() -> None:
    proof = jsmpc.verify(jsmpc.secure(until_revealed))(*shares("replicated3"))
    before, inside = proof.openings
    assert inside == f"{before}, in each run of a loop"


def test_what_a_check_tells_is_told() -> None:
    secure = jsmpc.secure(lambda x, y: x * y, check=True)
    proof = jsmpc.verify(secure)(*shares("replicated3"))
    assert proof, str(proof)
    assert "learn where a number left the range first, 1 number" in proof.openings[0]


def test_shares_that_fewer_than_all_corrupt_parties_hold_are_opened_by_all_of_them() -> None:
    """Of three parties with a dealer one alone sees the other two's shares of an input: one tells
    nothing, the other follows from the value."""
    proof = jsmpc.verify(jsmpc.secure(lambda x, y: jsmpc.reveal(x)))(*shares("additive3"))
    assert proof, str(proof)


# --- What it says --------------------------------------------------------------------------------


class Unmasked(jsmpc.Replicated3):
    """Parties send their summands as they are."""

    def _reshare(self, ctx: Any, z: Any, group: Any = None) -> Any:
        return ctx.network.replicate(z)


def test_a_leak_is_named_with_its_lines() -> None:
    smpc = Unmasked(parties=("alice", "bob", "carol"))
    x = jsmpc.share(KEY, np.arange(3), smpc)
    proof = jsmpc.verify(jsmpc.secure(lambda x: x * x))(x)
    assert not proof and proof.verdict == "leak"
    (finding,) = proof.proofs[0].findings
    assert finding.verdict == "leak"
    assert finding.message == "bob to alice, uint64[3], online"
    line = Unmasked._reshare.__code__.co_firstlineno + 1
    assert finding.protocol_line.startswith(f"test_verify.py:{line} (_reshare), in replicated.py:")
    assert finding.protocol_line.endswith("(product)")
    here = test_a_leak_is_named_with_its_lines.__code__.co_firstlineno
    assert finding.line.startswith(f"{__file__}:{here + 3} ")
    report = str(proof)
    assert "alice: leak; " in report and "1 open" in report
    assert f"sent at {finding.protocol_line}" in report
    assert f"for test_verify.py:{here + 3} " in report
    assert "/" not in report


def test_a_report_of_a_proof() -> None:
    x, _ = shares("additive2")
    proof = jsmpc.verify(jsmpc.secure(lambda x: jsmpc.reveal(x * x)))(x)
    lines = str(proof).splitlines()
    assert lines[0] == "proved"
    assert lines[1] == "  party0: proved; 7 messages: 6 uniform, 1 of what is opened"
    assert lines[3] == "  dealer: proved; 0 messages: 0 uniform"
    assert lines[-1] == "  no draw of 7 is made twice"


def test_a_report_of_what_is_uniform_modulo_a_number() -> None:
    x, y = shares("securenn2")
    proof = jsmpc.verify(jsmpc.secure(lambda x, y: x < y))(x, y)
    lines = str(proof).splitlines()
    assert lines[3] == "  helper: proved; 6 messages: 2 uniform, 4 by a lemma"
    assert lines[-1] == "  draws modulo 66, 67, 18446744073709551615: uniform up to 2^-40 a word"
    assert proof.moduli == (66, 67, 2**64 - 1)
    assert not jsmpc.verify(jsmpc.secure(lambda x, y: x * y))(x, y).moduli


def test_shapes_are_enough() -> None:
    x, y = shares("replicated3")
    kinds = jax.eval_shape(lambda: (x, y))
    assert jsmpc.verify(jsmpc.secure(lambda x, y: x * y))(*kinds)


def test_what_cannot_be_verified() -> None:
    with pytest.raises(TypeError, match=r"what jsmpc.secure returned, not function"):
        jsmpc.verify(lambda x: x)  # type: ignore[arg-type]
    x = jsmpc.share(KEY, np.ones(2), jsmpc.testing.InsecurePlain())
    with pytest.raises(jsmpc.ProtocolError, match="hides nothing"):
        jsmpc.verify(jsmpc.secure(jnp.square))(x)


def test_the_sets_of_corrupt_endpoints() -> None:
    assert protocol("replicated3", 64).corrupt_sets == ((0,), (1,), (2,))
    assert protocol("additive3", 64).corrupt_sets == (
        (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (3,),
    )  # fmt: skip
    assert protocol("insecure-plain", 64).corrupt_sets == ()
