"""What `cost` says is what the messages of a run add up to, and what the protocols document."""

from __future__ import annotations

import collections
import dataclasses
import functools
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import Primitive

import jsmpc
from harness import BITS, SECRET, key, protocol
from jsmpc._src import kernels
from jsmpc._src.api import ports
from jsmpc._src.functions import (
    division,
    exponential,
    floating,
    roots,
    sigmoid,
    trigonometry,
)
from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.structure import Scan, bodies, structure
from jsmpc._src.network.messages import message_p
from jsmpc._src.network.network import Network
from jsmpc._src.protocols import circuits
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.readings.cost import measure
from jsmpc._src.readings.projection.projection import Port, project
from jsmpc._src.ring import bilinear
from jsmpc._src.ring.groups import BOOLEAN
from jsmpc._src.runtime.context import Context
from jsmpc.bench.table import WORKLOADS
from recording import Recorder, words_of

# --- cost() against the messages of a run --------------------------------------------------------


def chain(x: Any, w: Any) -> Any:
    return lax.scan(lambda c, row: (c * row, None), w, x)[0]


def nested(x: Any, w: Any) -> Any:
    def step(c: Any, row: Any) -> Any:
        return lax.fori_loop(0, 2, lambda i, v: jnp.maximum(v, row), c), None

    return lax.scan(step, w, x, reverse=True)[0]


FUNCTIONS = {
    "sum": lambda x, w: x.sum() + w,
    "product": lambda x, w: x * w,
    "matmul": lambda x, w: x @ w,
    "two at once": lambda x, w: (x * x, jax.nn.relu(w)),
    "one after another": lambda x, w: jax.nn.relu(x * w) * 0.3,
    "argmax": lambda x, w: jnp.argmax(x, 0),
    "equal": lambda x, w: x[0] == w,
    "revealed": lambda x, w: jsmpc.reveal((x @ w).sum()) * w,
    "secret condition": lambda x, w: lax.cond(w[0] > 1, jnp.abs, lambda v: v * v, w),
    "chain": chain,
    "nested": nested,
}


def counted(recorder: Recorder, smpc: jsmpc.Protocol) -> tuple[int, tuple[int, ...], int]:
    """Online rounds, online bytes of all who send any, and bytes that the dealer sends before."""
    sent: collections.Counter[Any] = collections.Counter()
    for message in recorder.messages:
        sent[message.source, message.phase] += message.value.nbytes
    rounds = max((m.round for m in recorder.messages), default=0)
    senders = [*range(smpc.size), "dealer"][: len(smpc.computing)]
    return rounds, tuple(sent[i, "online"] for i in senders), sent["dealer", "offline"]


def record_sizes(secure: Any, *args: Any) -> Recorder:
    """What a run of a secure function would send; nothing is computed."""
    closed, recorder = secure.trace(*args), Recorder()
    with jax.enable_x64(True):
        jax.eval_shape(lambda *x: recorder.run(closed, x), jnp.asarray(key(2)), *words_of(args))
    return _sized(recorder)


def sent_by(secure: Any, endpoint: int, *shares: Any) -> int:
    """The bytes that an endpoint's own program sends in a run, all phases together."""
    projection = secure.project(*shares)
    with jax.enable_x64(True):
        mine = [
            jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
            for v, port in zip(projection.block.inputs, projection.inputs, strict=True)
            if endpoint in port.endpoints
        ]
        program = projection.program([endpoint], carry, lambda token, _: token, kernels.evaluate)
        return _carried(jax.make_jaxpr(program)(jnp.zeros((), jnp.uint32), [mine]))


carried_p = Primitive("carried")
carried_p.multiple_results = True
carried_p.def_abstract_eval(lambda *_, expected, sent: list(expected))


def carry(token: Any, arrays: Any, targets: Any, expected: Any, sources: Any) -> Any:
    """An exchange of which a program only tells what it sends."""
    shapes = tuple(jax.core.ShapedArray(x.shape, x.dtype) for x in [token, *expected])
    sent = sum(x.size * x.dtype.itemsize for x in arrays)
    token, *received = carried_p.bind(token, *arrays, expected=shapes, sent=sent)
    return token, received


def _carried(jaxpr: Any) -> int:
    total = 0
    for eqn in compat.open_jaxpr(jaxpr)[0].eqns:
        if eqn.primitive is carried_p:
            total += eqn.params["sent"]
        form = structure(eqn)
        times = form.length if isinstance(form, Scan) else 1
        total += times * sum(_carried(body) for body in bodies(eqn))
    return total


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", SECRET)
def test_the_cost_is_what_the_messages_add_up_to(name: str, function: str) -> None:
    smpc = protocol(name, 64)
    values = np.ones((3, 4), np.float32), np.ones(4, np.float32)
    shares = jsmpc.share(key(1), values, smpc)
    secure = jsmpc.secure(FUNCTIONS[function])
    cost = secure.cost(*shares)
    rounds, most, dealt = counted(record_sizes(secure, *shares), smpc)
    online = tuple(sent_by(secure, rank, *shares) for rank in range(smpc.size))
    counted_too = zip(cost.bytes_sent[: smpc.size], cost.setup_bytes, strict=False)
    assert tuple(map(sum, counted_too)) == online
    assert all(a <= b for a, b in zip(cost.bytes_sent, most, strict=True))
    assert abs(cost.rounds - rounds) <= 1  # what is opened is not known to all at once
    assert cost.dealer_bytes <= dealt
    if smpc.dealer is not None:
        beside = sum(cost.bytes_sent[smpc.size :]) + cost.setup_bytes[-1]
        assert cost.dealer_bytes + beside == sent_by(secure, smpc.size, *shares)
    assert max(cost.setup_bytes) <= 32 * smpc.size
    online = cost.bytes_sent
    assert sum(cost.by_line.values()) == sum(online)
    assert cost.bytes_per_party == sum(online) / len(smpc.computing)
    assert cost.parties == smpc.computing
    assert not cost.lower_bound
    assert (sum(online) > 0) == (function != "sum")


def test_a_loop_of_unknown_length_is_a_lower_bound() -> None:
    def halve(x: Any) -> Any:
        return lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * s[1]), (0, x))[1]

    share = jsmpc.share(key(1), np.ones(3, np.float32), jsmpc.Replicated3())
    cost = jsmpc.secure(halve).cost(share)
    assert cost.lower_bound
    assert cost.bytes_sent == (3 * 12,) * 3
    assert "at least" in str(cost)


def test_bytes_are_attributed_to_the_users_lines() -> None:
    def function(x: Any) -> Any:
        doubled = x + x
        squared = doubled * doubled
        return squared > 1

    line = function.__code__.co_firstlineno
    share = jsmpc.share(key(1), np.ones(10, np.float32), jsmpc.Replicated3())
    by_line = jsmpc.secure(function).cost(share).by_line
    assert len(by_line) == 2
    square, compare = (
        next(count for where, count in by_line.items() if f"test_cost.py:{line + i} " in where)
        for i in (2, 3)
    )
    assert square == 28 * 10  # of 36 bytes, a word is needed by nobody
    assert compare > square


def test_a_product_of_a_value_with_itself_is_a_square() -> None:
    share = jsmpc.share(key(1), np.ones(3, np.float32), jsmpc.Additive())
    own, square, product = (
        jsmpc.secure(f).cost(*[share] * count)
        for f, count in ((lambda x: x * x, 1), (jnp.square, 1), (jnp.multiply, 2))
    )
    assert own.bytes_sent == square.bytes_sent < product.bytes_sent


@pytest.mark.parametrize("f", [jnp.square, jax.nn.softmax, jnp.median])
def test_a_library_function_is_attributed_to_the_callers_line(f: Any) -> None:
    share = jsmpc.share(key(1), np.ones(4, np.float32), jsmpc.Replicated3())
    by_line = jsmpc.secure(f).cost(share).by_line
    assert by_line and all("test_cost.py:" in line for line in by_line)


def test_the_setup_and_the_key_cost_nothing_online() -> None:
    smpc = jsmpc.Replicated3()
    cost = jsmpc.secure(jnp.negative).cost(jsmpc.share(key(1), np.ones(3, np.float32), smpc))
    assert (cost.rounds, cost.bytes_sent, cost.dealer_bytes) == (0, (0, 0, 0), 0)


# --- The documented costs of the protocols -------------------------------------------------------


def measured(name: str, bits: int, f: Any, *kinds: Any) -> tuple[int, list[float], float]:
    """Rounds, words that each party sends, or a helper too, and that the dealer sends before, an
    element."""
    smpc = protocol(name, bits)
    net, count = Network(smpc.size), 32
    recorder = Recorder()

    def program(key: Any, *stacked: Any) -> Any:
        def inner(key: Any, *stacked: Any) -> Any:
            ctx = Context(net, smpc.setup(net, [key] * len(smpc.endpoints)))
            out = f(smpc, ctx, *(smpc.unpack(net, (s,)) for s in stacked))
            return jax.tree.leaves(out)

        closed = jax.make_jaxpr(inner)(key, *stacked)
        return recorder.run(closed, (key, *stacked))

    with jax.enable_x64(True):
        shapes = [jax.ShapeDtypeStruct((smpc.size, count), kind) for kind in kinds]
        jax.eval_shape(program, jax.ShapeDtypeStruct((8,), np.uint32), *shapes)
    rounds, online, dealer = counted(_sized(recorder), smpc)
    word = bits // 8 * count
    return rounds, [b / word for b in online], dealer / word


def _sized(recorder: Recorder) -> Recorder:
    for i, message in enumerate(recorder.messages):
        aval = message.value.aval
        empty = np.broadcast_to(np.zeros((), aval.dtype), aval.shape)
        recorder.messages[i] = dataclasses.replace(message, value=empty)
    return recorder


LEVELS = {32: 3, 64: 4}  # log2 of the number of blocks of 4 bits

# operation: (function, operands, rounds, words of each party); w is a word, b a byte.
REPLICATED: dict[str, Any] = {
    "mul_aa": (lambda s, c, x, y: s.mul_aa(c, x, y), "ww", 1, (1, 1, 1)),
    "mul_aa with divisor": (lambda s, c, x, y: s.mul_aa(c, x, y, 1000), "ww", 2, (2, 2, 2)),
    "square": (lambda s, c, x: s.square(c, x), "w", 1, (1, 1, 1)),
    "mul_aa with power of two": (
        lambda s, c, x, y: s.mul_aa(c, x, y, 1 << 8),
        "ww",
        2,
        ("1 + b",) * 3,
    ),
    "truncate": (lambda s, c, x: s.truncate(c, x, 4), "w", 2, ("1 + b", "b", "b")),
    "truncate decimal": (lambda s, c, x: s.truncate(c, x, 10), "w", 2, (2, 1, 1)),
    "and_bb": (lambda s, c, x, y: s.and_bb(c, Bits(x), Bits(y)), "ww", 1, (1, 1, 1)),
    "open": (lambda s, c, x: s.open(c, x), "w", 1, (1, 1, 1)),
    "open_to 1": (lambda s, c, x: s.open_to(c, x, 1), "w", 1, (1, 0, 0)),
    "open_to 0": (lambda s, c, x: s.open_to(c, x, 0), "w", 1, (0, 0, 1)),
    "b2a": (lambda s, c, p: s.b2a(c, Bits(p, 1)), "b", 2, (1, 1, 1)),
    "mul_ba": (lambda s, c, p, x: s.mul_ba(c, Bits(p, 1), x), "bw", 2, (3, 1, 1)),
    "sum_ba": (
        lambda s, c, p, x: s.sum_ba(c, (Bits(p, 1), x), (Bits(p, 1), x + x)),
        "bw",
        2,
        (5, 1, 1),
    ),
    "power_of_two": (lambda s, c, x: s.power_of_two(c, x), "w", 3, ("1/2 + 1 + 1", 2, 2)),
    "generate_propagate": (lambda s, c, x: s.generate_propagate(c, x), "w", 2, (2, 1, 1)),
    "generate_propagate_blocks": (
        lambda s, c, x: s.generate_propagate_blocks(c, x, (0,)),
        "w",
        2,
        ("15/4 + b", "1/2", "1/2"),
    ),
}

# operation: (function, operands, rounds, words of each of two parties, words of the dealer);
# with n parties each opened word is sent n-1 times.
ADDITIVE: dict[str, Any] = {
    "mul_aa": (lambda s, c, x, y: s.mul_aa(c, x, y), "ww", 1, 2, 1),
    "mul_aa with divisor": (lambda s, c, x, y: s.mul_aa(c, x, y, 1000), "ww", 2, 3, 3),
    "square": (lambda s, c, x: s.square(c, x), "w", 1, 1, 1),
    "truncate": (lambda s, c, x: s.truncate(c, x, 4), "w", 1, 1, 2),
    "open": (lambda s, c, x: s.open(c, x), "w", 1, 1, 0),
    "b2a": (lambda s, c, p: s.b2a(c, Bits(p, 1)), "b", 1, "b", 1),
    "mul_ba": (lambda s, c, p, x: s.mul_ba(c, Bits(p, 1), x), "bw", 1, "1 + b", 2),
    "generate_propagate_blocks": (
        lambda s, c, x: s.generate_propagate_blocks(c, x, (0,)),
        "w",
        1,
        1,
        "15/4 + b",
    ),
    "generate_propagate": (lambda s, c, x: s.generate_propagate(c, x), "w", 1, 1, 1),
}


# operation: (function, operands, rounds, bytes of each party, of the helper, and of it before); of
# k bits of a word. Products and conversions are those of ADDITIVE, of two parties.
SECURENN: dict[str, Any] = {
    "msb": (lambda s, c, x: s.msb(c, x), 7, lambda k: (k / 4 + 2 * k, k / 8 * 3 + 1 + k, k + 1)),
    "relu": (
        lambda s, c, x: s.relu(c, x),
        8,
        lambda k: (k / 4 + 2 * k + k / 8 + 1, k / 8 * 3 + 1 + k, k + 1 + k / 4),
    ),
    "share_convert": (
        lambda s, c, x: s.share_convert(c, x),
        4,
        lambda k: (k / 8 + k, k / 8 * 3 + k, 0),
    ),
    "odd_msb": (lambda s, c, x: s.odd_msb(c, x), 3, lambda k: (k / 8 + k, 1, k + 1)),
}

# operation: (function, operands, rounds, words of each party, bytes of the dealer for each width).
FSS: dict[str, Any] = {
    "msb": (lambda s, c, x: s.msb(c, x), "w", 1, 1, {64: 2 * 912, 32: 2 * 400}),
    "signs": (lambda s, c, x: s.msbs(c, x, (0, 7)), "w", 1, 1, {64: 2 * 912, 32: 2 * 400}),
    "less": (lambda s, c, x, y: s.less(c, x, y), "ww", 1, 1, {64: 2 * 912, 32: 2 * 400}),
    "is_zero": (lambda s, c, x: s.is_zero(c, x), "w", 1, 1, {64: 2 * 1024, 32: 2 * 512}),
    "equal as a number": (
        lambda s, c, x, y: s.b2a(c, s.equal(c, x, y)),
        "ww",
        1,
        1,
        {64: 2 * 1024, 32: 2 * 512},
    ),
    "relu": (lambda s, c, x: s.relu(c, x), "w", 2, "1 + b", {64: 2 * 920, 32: 2 * 404}),
    "all_set": (
        lambda s, c, x: s.all_set(c, Bits(x, 9)),
        "w",
        1,
        1,
        {64: 2 * 144, 32: 2 * 144},
    ),
}

TABLES = {
    "replicated3": REPLICATED,
    "additive2": ADDITIVE,
    "additive3": ADDITIVE,
    "securenn2": ADDITIVE | SECURENN,
    "fss22": FSS | ADDITIVE,
}


def test_every_protocol_has_a_table() -> None:
    assert set(TABLES) == set(SECRET)


def in_words(text: Any, bits: int) -> float:
    """Words an element, from a number or a sum of numbers, fractions and `b`, a byte."""
    if not isinstance(text, str):
        return float(text)
    parts = {"b": 8 / bits, "1": 1.0, "1/2": 0.5, "15/4": 3.75}
    return sum(parts[part] for part in text.split(" + "))


def kinds_of(operands: str, bits: int) -> list[Any]:
    return [np.dtype(f"uint{bits}") if k == "w" else np.uint8 for k in operands]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("operation", REPLICATED)
def test_replicated_sharing_costs_what_it_documents(operation: str, bits: int) -> None:
    f, operands, rounds, words = REPLICATED[operation]
    found = measured("replicated3", bits, f, *kinds_of(operands, bits))
    assert found == (rounds, [in_words(w, bits) for w in words], 0)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", ["additive2", "additive3", "fss22", "securenn2"])
@pytest.mark.parametrize("operation", ADDITIVE)
def test_additive_sharing_costs_what_it_documents(operation: str, name: str, bits: int) -> None:
    f, operands, rounds, words, dealt = ADDITIVE[operation]
    found = measured(name, bits, f, *kinds_of(operands, bits))
    smpc = protocol(name, bits)
    others = smpc.size - 1
    each = [others * in_words(words, bits)] * smpc.size + [0.0] * smpc.helped
    assert found == (rounds, each, in_words(dealt, bits))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("operation", SECURENN)
def test_securenn_costs_what_it_documents(operation: str, bits: int) -> None:
    f, rounds, sizes = SECURENN[operation]
    party, helper, before = (size * 8 / bits for size in sizes(bits))
    assert measured("securenn2", bits, f, f"uint{bits}") == (rounds, [party, party, helper], before)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("operation", FSS)
def test_function_secret_sharing_costs_what_it_documents(operation: str, bits: int) -> None:
    f, operands, rounds, words, dealt = FSS[operation]
    found = measured("fss22", bits, f, *kinds_of(operands, bits))
    assert found == (rounds, [in_words(words, bits)] * 2, dealt[bits] * 8 / bits)


@pytest.mark.parametrize("name", ["mlp_infer_b1", "mlp_infer_b128"])
def test_a_private_network_takes_ten_rounds_at_most(name: str) -> None:
    workload = WORKLOADS[name]
    secret = jsmpc.share(key(1), workload.inputs(), protocol("fss22", 64))
    assert jsmpc.secure(workload.function).cost(*secret).rounds <= 10


@pytest.mark.parametrize("bits", BITS)
def test_opening_to_one_party_takes_a_word_from_each_other(bits: int) -> None:
    found = measured("additive3", bits, lambda s, c, x: s.open_to(c, x, 1), f"uint{bits}")
    assert found == (1, [1, 0, 1], 0)


CIRCUITS = [name for name in SECRET if name != "fss22"]
ROUNDS = {  # by the rounds that the leaves and a multiplication by a bit take, and the levels
    "msb": (lambda s, c, x: s.msb(c, x), lambda leaves, levels: leaves + levels),
    "is_zero": (lambda s, c, x: s.is_zero(c, x), lambda leaves, levels: leaves + levels),
    "relu": (lambda s, c, x: s.relu(c, x), lambda leaves, levels: 2 * leaves + levels),
    "a2b": (lambda s, c, x: s.a2b(c, x), lambda leaves, levels: leaves + levels + 2),
}


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("name", "function"),
    [(name, f) for name in CIRCUITS for f in ROUNDS if name != "securenn2" or f not in SECURENN],
)
def test_rounds_are_logarithmic(function: str, name: str, bits: int) -> None:
    """Every party's: none can go on before it has received what it lacks."""
    f, rounds = ROUNDS[function]
    leaves = 2 if name == "replicated3" else 1
    assert measured(name, bits, f, f"uint{bits}")[0] == rounds(leaves, LEVELS[bits])


@pytest.mark.parametrize("bits", BITS)
def test_the_words_of_the_carry_tree_shrink(bits: int) -> None:
    """Each level sends both halves of a pair of words of half the width, the last a byte."""

    def carry(s: Any, c: Any, gp: Any) -> Any:
        return circuits.carry_out(functools.partial(s.and_bb, c), Bits(gp))

    _, tree, _ = measured("replicated3", bits, carry, f"uint{bits // 2}")
    assert [w * bits / 8 for w in tree] == [{32: 1 + 1 + 1, 64: 2 + 1 + 1 + 1}[bits]] * 3
    _, relu, _ = measured("replicated3", bits, lambda s, c, x: s.relu(c, x), f"uint{bits}")
    assert sum(relu) / 3 * bits / 8 <= {32: 18, 64: 32}[bits]


def test_openings_and_messages_of_booleans_are_bytes() -> None:
    found = measured("replicated3", 64, lambda s, c, p: s.open(c, p, BOOLEAN), np.uint8)
    assert found == (1, [1 / 8] * 3, 0)


def test_matrix_products_send_only_their_operands_or_their_result() -> None:
    def matmul(s: Any, c: Any, x: Any, y: Any) -> Any:
        left, right = x.map(lambda w: w.reshape(4, 8)), y.map(lambda w: w.reshape(8, 4))
        return s.product(c, bilinear.MATMUL, left, right)

    assert measured("replicated3", 64, matmul, np.uint64, np.uint64)[:2] == (1, [0.5] * 3)
    assert measured("additive2", 64, matmul, np.uint64, np.uint64) == (1, [2, 2], 0.5)


def test_the_count_is_of_what_is_sent_and_needed() -> None:
    """Not of what someone wrote down: what is known already is not sent again, a relay is."""
    smpc = jsmpc.Additive(parties=3)
    share = jsmpc.share(key(1), np.ones(3, np.float32), smpc)
    honest = jsmpc.secure(jnp.square).cost(share).bytes_sent

    def send(self: Any, x: Any, source: Any, target: Any) -> Any:
        return message_p.bind(x, source=source, target=target, phase=self.phase)

    def twice(self: Any, x: Any, source: Any, target: Any) -> Any:
        return send(self, send(self, x, source, target), source, target)

    def by_way_of_party_1(self: Any, x: Any, source: Any, target: Any) -> Any:
        return (
            send(self, send(self, x, source, 1), 1, target)
            if source == 0
            else send(self, x, source, target)
        )

    with mock.patch.object(Network, "_message", twice):
        assert jsmpc.secure(jnp.square).cost(share).bytes_sent == honest
    with mock.patch.object(Network, "_message", by_way_of_party_1):
        relayed = jsmpc.secure(jnp.square).cost(share).bytes_sent
    assert relayed == (honest[0] // 2, honest[1] * 3 // 2, honest[2])


# --- functions over any protocol -----------------------------------------------------------------

SCALE = float(protocol("replicated3", 64).encoding.scale)
RATE = 1.4427 / SCALE
NONLINEAR = {
    floating.normalize: lambda s, c, x: floating.normalize(s, c, x).divisor,
    floating.normalize_positive: lambda s, c, x: floating.normalize_positive(s, c, x).divisor,
    floating.assemble: lambda s, c, x: floating.assemble(s, c, x, x),
    division.reciprocal_of_mantissa: division.reciprocal_of_mantissa,
    division.reciprocal: lambda s, c, x: division.reciprocal(s, c, x, SCALE**2),
    division.divide: lambda s, c, x: division.divide(s, c, x, x + x, SCALE),
    division.part: lambda s, c, x: division.part(
        s, c, x, x.map(lambda w: w[:1]), SCALE, 10, 1 << 29
    ),
    roots.rsqrt_of_mantissa: lambda s, c, x: roots.rsqrt_of_mantissa(s, c, x, x),
    roots.square_root: lambda s, c, x: roots.square_root(s, c, x, SCALE),
    roots.inverse_square_root: lambda s, c, x: roots.inverse_square_root(s, c, x, SCALE**1.5),
    exponential.exponential: lambda s, c, x: exponential.exponential(s, c, x, RATE, SCALE),
    exponential.decay: lambda s, c, x: exponential.decay(s, c, x, RATE, 1 << 26)[0],
    exponential.logarithm: lambda s, c, x: exponential.logarithm(s, c, x, SCALE, SCALE / 1.4427),
    exponential.public_power: lambda s, c, x: exponential.public_power(s, c, x, 0.3, SCALE, SCALE),
    exponential.power_of: lambda s, c, x: exponential.power_of(s, c, x, x, int(SCALE)),
    exponential.cube_root: lambda s, c, x: exponential.cube_root(s, c, x, SCALE**2),
    sigmoid.logistic: lambda s, c, x: sigmoid.logistic(s, c, x, RATE, SCALE, 0, 1),
    sigmoid.logistic_gate: lambda s, c, x: sigmoid.logistic_gate(s, c, x, SCALE),
    sigmoid.normal_gate: lambda s, c, x: sigmoid.normal_gate(s, c, x, SCALE, sigmoid.gelu_gate),
    sigmoid.error_function: lambda s, c, x: sigmoid.error_function(s, c, x, SCALE, SCALE),
    sigmoid.inverse_error_function: lambda s, c, x: sigmoid.inverse_error_function(s, c, x, SCALE),
    trigonometry.sine: lambda s, c, x: trigonometry.sine(s, c, x, SCALE, SCALE),
    trigonometry.arc_tangent: lambda s, c, x: trigonometry.arc_tangent(s, c, x, x + x, SCALE),
}


@pytest.mark.parametrize("function", NONLINEAR, ids=lambda f: f.__name__)
def test_documented_cost_of_nonlinear_functions(function):
    smpc, count = protocol("replicated3", 64), 1024
    net = Network(3)

    def program(keys: Any, rows: Any) -> Any:
        ctx = Context(net, smpc.setup(net, keys))
        return net.pack(NONLINEAR[function](smpc, ctx, smpc.unpack(net, (rows,))))

    with jax.enable_x64(True):
        rows = [jnp.zeros(count, jnp.uint64)] * 3
        jaxpr, _ = jax.make_jaxpr(program, return_shape=True)([key(0)] * 3, rows)
        row_ports = [Port(ports.holders(smpc, i)) for i in range(3)]
        inputs = [*ports.of_keys(smpc), *row_ports]
        projection = project(jaxpr, inputs, row_ports, smpc.parties, dealer=False)
    cost = measure(projection, smpc.parties)
    said = f"Cost: {cost.rounds} rounds, {cost.bytes_per_party / count:.0f} bytes a party"
    assert said in function.__doc__
