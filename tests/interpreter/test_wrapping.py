"""Integers narrower than the ring wrap as JAX's do, and only where it must be done."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from agreement import KEY, both
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.runtime.context import Context

PLAIN, REPLICATED = jsmpc.testing.InsecurePlain(), jsmpc.Replicated3()
TYPES = [np.int8, np.uint16, np.uint32]


def numbers(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.array([low, high, 2, high - 5, 7, high // 2 + 1], dtype)


def agrees(f, *args, smpc=PLAIN, secret=None):
    for name, ours, theirs in both(f, *args, smpc=smpc, secret=secret):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def beyond(x):
    """Values that have left the dtype, by every operation that takes them there."""
    c = np.iinfo(x.dtype).max // 3
    return {
        "difference": x - 3,
        "constant less": x.dtype.type(3) - x,
        "sum": x + c,
        "product": x * c,
        "negative": -x,
        "square": x * x,
        "power": x**3,
        "shifted": x << 3,
        "not": ~(x + x),
        "or": (x + c) | x,
        "cumulative": lax.cumsum(x),
        "carried": lax.fori_loop(0, 3, lambda _, v: v + x, x),
        "chosen": lax.cond(x[2] > 1, lambda v: v + v, lambda v: v, x),
        "selected": jnp.where(x > 4, x + x, x),
        "moved": jnp.pad(jnp.roll(x - c, 1)[1:], (0, 1)),
        "added at": x.at[jnp.array([1, 1])].add(x[1]),
    }


def uses(x):
    """Every kind of operation that needs the number itself."""
    v, one = x - 3, x.dtype.type(1)
    return {name: value.astype(jnp.int32) for name, value in beyond(x).items()} | {
        "less": v < x,
        "equal": v == x[::-1],
        "float": v * 1.0,
        "quotient": lax.div(v, x.dtype.type(7)),
        "remainder": lax.rem(x + one, x | one),
        "sorted": jnp.sort(v),
        "largest": jnp.max(v),
        "place": jnp.argmax(v),
        "magnitude": jnp.abs(v),
        "sign": jnp.sign(v),
        "clamped": lax.clamp(one, v, x.dtype.type(9)),
        "read": jnp.arange(8)[v + (x - v)],
        "shifted by": x >> (v + (x - v) & 3),
    }


@pytest.mark.parametrize("dtype", TYPES)
def test_integers_that_left_their_dtype_wrap_where_they_are_used(dtype):
    agrees(uses, numbers(dtype))


def test_they_wrap_on_shares():
    def f(x):
        v = x - 3
        over = (((0,), (0,)), ((), ()))
        return {
            "float": v * 1.0,
            "less": v < x,
            "quotient": v // 7,
            "sum": (v + x).astype(int),
            "wider": lax.dot_general(v[2:], v[2:], over, None, jnp.int32),
            "number": lax.dot_general(v[4:5], x[4:5], over, None, jnp.float32),
        }

    agrees(f, numbers(np.uint8), smpc=REPLICATED)
    agrees(f, numbers(np.int16), smpc=jsmpc.Additive())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_conversions_wrap(dtype):
    def f(x):
        narrow = [np.int8, np.uint8, np.int16, np.uint16]
        return {np.dtype(d).name: x.astype(d).astype(jnp.float32) for d in narrow}

    agrees(f, numbers(dtype))


def test_results_and_loops_hold_integers_of_their_dtype():
    """What leaves the function is within its dtype: another call finds it so."""

    def twice(x):
        return {"": x + x}

    x = numbers(np.uint8)
    doubled = jsmpc.secure(twice)(KEY, jsmpc.share(KEY, x, PLAIN))[""]
    ours = jsmpc.reveal(jsmpc.secure(lambda v: v < 9)(KEY, doubled))
    np.testing.assert_array_equal(ours, x + x < 9)
    words = np.asarray(doubled.components[0])
    np.testing.assert_array_equal(words[0], x + x)


def cost(f, *args):
    shared = [jsmpc.share(KEY, a, REPLICATED) for a in args]
    total = jsmpc.secure(f).cost(*shared)
    return total.rounds, total.bytes_sent


def test_what_cannot_have_left_its_dtype_costs_no_wrapping():
    x, number = numbers(np.uint8), np.int32([3, 4, 5])
    wide = x.astype(np.int32)
    pairs = [
        (lambda v: v < 3, (x,), lambda v: v < 3, (wide,)),
        (lambda v: v[::-1] * 1.0, (x,), lambda v: v[::-1] * 1.0, (wide,)),
        (lambda v: (v > 3).astype(jnp.uint8).sum() < 3, (x,), lambda v: (v > 3).sum() < 3, (wide,)),
        (lambda v: (v + 1) * 2.0, (number,), lambda v: v * 2.0, (number,)),
        (lambda v: v.astype(jnp.int32) - 300 < 0, (x,), lambda v: v - 300 < 0, (wide,)),
        (lambda v: jnp.argmax(v) == v, (number,), lambda v: jnp.argmax(v) == v, (number,)),
    ]
    for f, args, g, others in pairs:
        assert cost(f, *args) == cost(g, *others)
    assert cost(lambda v: v + 1 < 3, x)[0] > cost(lambda v: v < 3, x)[0]


REACHED = {
    **{name: lambda x, y, name=name: beyond(x)[name] for name in beyond(jnp.zeros(3, jnp.int8))},
    "products": lambda x, y: x * y,
    "differences": lambda x, y: x - y,
    "dot": lambda x, y: jnp.dot(x, y, preferred_element_type=jnp.int8),
    "convolved": lambda x, y: jnp.convolve(x, y, preferred_element_type=jnp.int8),
    "total": lambda x, y: jnp.sum(x, dtype=jnp.int8),
    "product": lambda x, y: jnp.prod(x, dtype=jnp.int8),
    "running product": lambda x, y: lax.cumprod(x),
    "windows": lambda x, y: lax.reduce_window(x, np.int8(0), lax.add, (2,), (1,), "SAME"),
    "joined": lambda x, y: jnp.concatenate([x, y + y]),
    "subtracted at": lambda x, y: x.at[jnp.array([0, 0])].subtract(y[:2]),
    "written": lambda x, y: lax.dynamic_update_slice(x, y[:2] - x[1:3], (1,)),
    "written at": lambda x, y: x.at[1:3].set(y[:2] * 5),
    "filled": lambda x, y: jnp.take(x - y, jnp.array([1, 9]), mode="fill"),
}


def test_the_ranges_that_are_kept_hold_the_numbers():
    def f(x, y):
        return {name: g(x, y) for name, g in REACHED.items()}

    ranges = {}

    def reached(*xs):
        network = Network(1)
        ctx = Context(network, PLAIN.setup(network, [jnp.zeros(8, jnp.uint32)]))
        secrets = [Secret(PLAIN.constant(ctx, PLAIN.encode(x)), np.dtype(np.int8)) for x in xs]
        out = Evaluator(PLAIN, ctx).evaluate(jax.make_jaxpr(f)(*xs), secrets)
        ranges.update({name: x.range for name, x in zip(sorted(REACHED), out, strict=True)})
        return {n: x.value.example for n, x in zip(sorted(REACHED), out, strict=True)}

    rng = np.random.default_rng(1)
    inputs = [rng.integers(-128, 128, (2, 5)).astype(np.int8) for _ in range(4)]
    inputs += [np.full((2, 5), -128, np.int8), np.full((2, 5), 127, np.int8)]
    with compat.protocol_mode():
        run, plain = jax.jit(reached), jax.jit(f)
        for xs in inputs:
            ours, theirs = run(*xs), plain(*xs)
            for name, (low, high) in ranges.items():
                number = np.asarray(ours[name]).view(np.int64)
                assert (low <= number).all() and (number <= high).all(), name
                np.testing.assert_array_equal(number.astype(np.int8), theirs[name], err_msg=name)
    assert max(high for _, high in ranges.values()) > 127
