"""`reveal` opens what it says: the bits of the dtype, to whom it names, and nothing by accident."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from jsmpc._src.jaxprs import walk
from jsmpc._src.jaxprs.structure import Call, structure
from jsmpc._src.network.messages import message_p
from jsmpc._src.readings.projection import projection

KEY = jax.random.key(11)
SMPC = [jsmpc.Replicated3(), jsmpc.Additive(3), jsmpc.Replicated3(bits=32)]
each = pytest.mark.parametrize("smpc", SMPC, ids=["replicated", "additive", "32 bits"])
DTYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.bool_]


def messages(jaxpr, inputs):
    """The values of all messages of a program."""
    found = []

    def apply(eqn, operands):
        inner = structure(eqn)
        if isinstance(inner, Call):
            return walk.evaluate(inner.body, operands, apply)
        if eqn.primitive is message_p:
            found.append(np.asarray(operands[0]))
        out = eqn.primitive.bind(*operands, **eqn.params)
        return out if eqn.primitive.multiple_results else [out]

    with jax.enable_x64(True):
        walk.evaluate(jaxpr, inputs, apply)
    return found


@each
@pytest.mark.parametrize("dtype", DTYPES)
def test_no_bit_above_the_dtype_is_opened(smpc, dtype):
    x = jsmpc.share(KEY, np.ones(5, dtype), smpc)
    cost = jsmpc.secure(jsmpc.reveal).cost(x)
    copies = smpc.size - 1 if isinstance(smpc, jsmpc.Additive) else 1
    assert set(cost.bytes_sent) == {5 * np.dtype(dtype).itemsize * copies}
    opened = messages(jsmpc.secure(jsmpc.reveal).trace(x), [jnp.zeros(8, np.uint32), *x.components])
    sent = [m for m in opened if m.shape == (5,)]
    assert sent and {m.dtype.itemsize for m in sent} == {np.dtype(dtype).itemsize}
    if dtype == np.bool_:
        assert all((m <= 1).all() for m in sent)


@each
@pytest.mark.parametrize("dtype", DTYPES[:6])
def test_what_wrapped_away_is_not_there(smpc, dtype):
    """The secret's ring element goes beyond its dtype: what is seen is what JAX gives."""
    info = np.iinfo(dtype)
    x = np.asarray([info.max, info.min, 3, 77 % info.max], dtype)
    if np.dtype(dtype).itemsize * 8 == smpc.bits:
        x = x // dtype(4)  # what the ring can hold
    f = jsmpc.secure(lambda v: v + v + v)
    share = f(KEY, jsmpc.share(KEY, x, smpc))
    expected = np.asarray(jnp.asarray(x) + jnp.asarray(x) + jnp.asarray(x))
    for party in (None, 0, smpc.parties[-1]):
        ours = jsmpc.reveal(share, to=party)
        np.testing.assert_array_equal(ours, expected)
        assert ours.dtype == dtype
    inside = jsmpc.secure(lambda v: jsmpc.reveal(v + v + v))(KEY, jsmpc.share(KEY, x, smpc))
    np.testing.assert_array_equal(inside, expected)


def test_booleans_at_rest_are_bits():
    x = jsmpc.share(KEY, np.arange(50) > 7, SMPC[0])
    y = jsmpc.secure(lambda b: ~b)(KEY, x)
    for share in (x, y):
        assert (np.asarray(share.components[0]) <= 1).all()
    np.testing.assert_array_equal(jsmpc.reveal(y), np.arange(50) <= 7)


def test_reveal_in_a_branch_of_a_secret_condition_is_refused():
    """All branches run, so that it would disclose what is not taken."""
    x = jsmpc.share(KEY, np.float32([1.0, -2.0]), SMPC[0])

    def inner(v):
        return jax.jit(lambda w: jsmpc.reveal(w) + 1)(v)

    for branch in (jsmpc.reveal, inner, lambda v: lax.fori_loop(0, 2, lambda i, w: inner(w), v)):
        with pytest.raises(jsmpc.UnsupportedError, match=r"reveal.*though it is not taken"):
            jsmpc.secure(lambda v, f=branch: lax.cond(v[0] > 0, f, lambda w: w, v))(KEY, x)
    public = jsmpc.secure(lambda v, p: lax.cond(p > 0, jsmpc.reveal, lambda w: w * 0, v))
    assert jsmpc.reveal(public(KEY, x, 1)).shape == (2,)


def test_what_one_party_learns_inside_is_a_result():
    """In a simulation the value itself, as outside; also after public computing, and stacked."""
    values = np.float32([[0.5, -2.0], [1.0, 3.0]])
    x = jsmpc.share(KEY, values, SMPC[0])

    def told(v):
        own = jax.jit(lambda w: jax.nn.softmax(jsmpc.reveal(w, to="party1")))(v)
        last, rows = lax.scan(lambda c, r: (c * r, jsmpc.reveal(r, to=2)), v[0], v)
        return own * jsmpc.reveal(v.sum()), rows, last

    own, rows, last = jsmpc.secure(told)(KEY, x)
    np.testing.assert_allclose(own, jax.nn.softmax(values) * values.sum(), atol=1e-4)
    np.testing.assert_array_equal(rows, values)
    assert isinstance(last, jsmpc.Share)
    mapped = jax.vmap(jsmpc.secure(lambda v: jsmpc.reveal(v, to=1)), in_axes=(None, 1))
    np.testing.assert_array_equal(mapped(KEY, x), values)
    own = jax.grad(lambda v: jsmpc.reveal((v * v).sum(), to="party1"))(values)
    np.testing.assert_array_equal(own, 2 * values)  # in plain JAX the identity


@pytest.mark.parametrize("smpc", SMPC[:2], ids=["replicated", "additive"])
def test_what_one_party_learns_is_sent_to_it_alone(smpc):
    x = jsmpc.share(KEY, np.ones(5, np.float32), smpc)
    program = jsmpc.secure(lambda v: jsmpc.reveal(v, to="party1") + 1).project(x)
    assert {m.target for m in projection.messages(program.block)} == {1}
    assert [port.endpoints for port in program.outputs] == [{1}]


def own(v):
    return jsmpc.reveal(v, to="party1")


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda v: own(v) * v, "mul at .*test_disclosure.* what party1 alone knows meets a secret"),
        (lambda v: own(v) + jsmpc.reveal(v, to=0), "add .*party1 .* what party0 alone knows meet"),
        (lambda v: lax.fori_loop(0, 3, lambda i, c: c + 1, own(v)), "scan .*enters a loop"),
        (lambda v: lax.fori_loop(0, 3, lambda i, c: own(c), v), "scan .*would be carried on"),
        (
            lambda v: lax.cond(own(v)[0] > 0, jnp.sin, jnp.cos, v),
            "cond .*enters a loop or",
        ),
        (
            lambda v: lax.while_loop(lambda w: own(w)[0] < 5, lambda w: w * 2, v),
            "decides how often",
        ),
        (lambda v: jsmpc.reveal(own(v)), "cannot be revealed further"),
    ],
)
def test_what_one_party_knows_meets_nothing_of_the_others(f, why):
    x = jsmpc.share(KEY, np.float32([1.0, 2.0]), SMPC[0])
    with pytest.raises(jsmpc.UnsupportedError, match=f"(?s){why}.*jsmpc.input, owner='party1'"):
        jsmpc.secure(f).cost(x)


def test_a_stranger_learns_nothing_inside_either():
    x = jsmpc.share(KEY, np.float32([1.0, 2.0]), SMPC[0])
    with pytest.raises(jsmpc.ProtocolError, match=r"reveal at .*_disclosure.*'dave' is no party"):
        jsmpc.secure(lambda v: jsmpc.reveal(v, to="dave")).cost(x)


@pytest.mark.parametrize("smpc", [jsmpc.Replicated3(), jsmpc.Additive(2)], ids=["3", "2"])
def test_a_forgotten_out_axes_is_refused_also_for_as_many_elements_as_parties(smpc):
    square = jsmpc.secure(lambda v: v * v)
    for count in (smpc.size, smpc.size + 2, 1):
        x = jsmpc.share(KEY, np.ones((count, 4), np.float32), smpc)
        for transform in (lambda f: f, jax.jit):
            out = transform(jax.vmap(square, in_axes=(None, 1)))(KEY, x)
            with pytest.raises(jsmpc.ProtocolError, match="out_axes=1"):
                jsmpc.reveal(out)
            with pytest.raises(jsmpc.ProtocolError, match="out_axes=1"):
                square(KEY, out)
        right = jax.vmap(square, in_axes=(None, 1), out_axes=1)(KEY, x)
        np.testing.assert_allclose(jsmpc.reveal(right), np.ones((count, 4)), atol=1e-4)
        with pytest.raises(ValueError, match="axes start at 1"):
            jax.vmap(square, in_axes=(None, 0), out_axes=1)(KEY, x)
