"""Order and windows on secrets: sorting, running extremes, pooling and its gradients."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import jsmpc
from jsmpc._src.functions import sorting

KEY = jax.random.key(3)
PROTOCOLS = {"replicated": jsmpc.Replicated3(), "replicated-32": jsmpc.Replicated3(bits=32)}
ADDITIVE = jsmpc.Additive(("bob", "alice"), dealer="james")
REPLICATED = PROTOCOLS["replicated"]
RNG = np.random.default_rng(5)


def values(*shape):
    """Multiples of a quarter, exact in any encoding, many of them equal."""
    return (RNG.integers(-8, 9, shape) / 4).astype(np.float32)


X, LONG = values(3, 10), values(40)
NUMBERS, BITS = RNG.integers(-4, 4, (2, 3, 5)).astype(np.int32), values(3, 10) > 0
IMAGES = values(2, 6, 7, 2)


def run(f, *args, smpc=REPLICATED):
    return jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, smpc)))


def agree(f, *args, smpc=REPLICATED, units=0):
    """Secrets give what plain JAX gives, up to some units in the last place of the encoding."""
    ours, theirs = run(f, *args, smpc=smpc), f(*map(jnp.asarray, args))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        bound = units / smpc.encoding.scale if a.dtype.kind == "f" else 0
        a, b = (np.asarray(v, np.float64) for v in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-5 if units else 0, atol=bound)


protocols = pytest.mark.parametrize("smpc", PROTOCOLS.values(), ids=PROTOCOLS)
PLACES = np.arange(30, dtype=np.float32).reshape(3, 10)


def sorts(x, numbers, bits):
    return (
        jnp.sort(x, 1),
        jnp.sort(numbers, 0),
        jnp.argsort(x, 1, descending=True),
        lax.sort((x, PLACES, bits), dimension=1),
        lax.sort((bits, x, PLACES), dimension=1, num_keys=2),
        lax.sort((jnp.cos(PLACES[0]), x[0], PLACES[1])),
    )


def long_sorts(x):
    return (
        lax.sort((x > 0, x, np.arange(40)), num_keys=2),
        -jnp.sort(-x, stable=False),
        lax.top_k(x, 3),
        lax.top_k(x, 20),
    )


def extremes(x, numbers, bits):
    return (
        lax.top_k(x, 3),
        lax.approx_min_k(numbers[0, 0].astype(float), 2),
        lax.cummax(x, 0),
        lax.cummin(numbers, 2, reverse=True),
        lax.reduce(bits, False, lax.bitwise_xor, (1,)),
    )


@protocols
@pytest.mark.parametrize("f", [sorts, extremes])
def test_order(f, smpc):
    agree(f, X, NUMBERS, BITS, smpc=smpc)


@protocols
def test_sorts_by_a_network_are_stable_too(smpc):
    agree(long_sorts, LONG, smpc=smpc)


def greater(a, b):
    """The larger of two pairs by their first numbers, the first of equals."""
    right = a[0] < b[0]
    return jnp.where(right, b[0], a[0]), jnp.where(right, b[1], a[1])


def products(x, numbers, bits):
    windows = (2, 3), (1, 2), "SAME"
    return (
        jnp.cumprod(x, 1),
        lax.cumprod(numbers, 2, reverse=True),
        lax.reduce_window(x, 1.0, lax.mul, *windows),
        lax.reduce_window(x, 2.0, lax.mul, (1, 3), (1, 2), "VALID"),
        lax.reduce_window(bits, True, lax.bitwise_and, *windows),
        lax.reduce(x, np.float32(0), lambda a, b: a + b - a * b * 0.5, (0,)),
        lax.reduce((x, PLACES), (np.float32(-9), np.float32(-1)), greater, (1,)),
    )


@protocols
def test_products_and_functions_of_the_program(smpc):
    agree(products, X, NUMBERS, BITS, smpc=smpc, units=400)


def over_windows(x):
    return (
        lax.reduce_window(x, -jnp.inf, lax.max, (2, 3), (1, 2), "SAME"),
        lax.reduce_window(x, jnp.inf, lax.min, (1, 6), (1, 1), "VALID"),
        lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (3, 3), "VALID"),
        lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), ((1, 1), (0, 1)), (1, 2), (1, 3)),
        jax.grad(lambda v: lax.reduce_window(v, jnp.inf, lax.min, (2, 3), (1, 2), "SAME").sum())(x),
    )


@protocols
def test_extremes_of_windows(smpc):
    agree(over_windows, X, smpc=smpc)


POOLS = [
    ((2, 2), (2, 2), "VALID"),
    ((3, 3), (2, 2), "SAME"),
    ((3, 2), (1, 2), "VALID"),
    ((2, 2), (3, 3), "SAME"),
]


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_pooling_and_its_gradients_with_ties(pool):
    """Ties only in reverse mode: in forward mode JAX does not say which of them it takes."""

    def f(x, weights, different, tangents):
        largest, pull = jax.vjp(lambda v: nn.max_pool(v, *pool), x)
        push = jax.jvp(lambda v: nn.max_pool(v, *pool), (different,), (tangents,))[1]
        return largest, pull(weights[:, : largest.shape[1], : largest.shape[2]]), push

    weights, tangents = values(*IMAGES.shape), values(*IMAGES.shape)
    different = RNG.permutation(IMAGES.size).reshape(IMAGES.shape).astype(np.float32)
    agree(f, IMAGES, weights, different, tangents)
    agree(lambda x: nn.avg_pool(x, *pool), IMAGES, units=2)


def test_equal_pixels_give_the_gradient_to_the_first():
    zeros = np.zeros((1, 4, 4, 1), np.float32)
    gradient = run(jax.grad(lambda x: nn.max_pool(x, (2, 2), (2, 2)).sum()), zeros)
    np.testing.assert_array_equal(gradient[0, :, :, 0], np.tile([[1, 0], [0, 0]], (2, 2)))


def test_gradients_follow_the_order():
    def f(x):
        return jnp.sort(x, 1) @ PLACES[0] + (lax.top_k(x, 2)[0] @ PLACES[0, :2])

    agree(jax.grad(lambda x: f(x).sum()), X)


def test_nothing_to_sort():
    agree(lambda x: (jnp.sort(x, 0), jnp.argsort(x, 0)), np.zeros((4, 0), np.float32))


@pytest.mark.parametrize("n", range(1, 18))
def test_the_network_sorts_whatever_it_is_given(n):
    """By the 0-1 principle, it sorts all numbers if it sorts all zeros and ones."""
    every = np.array(list(itertools.product((0, 1), repeat=n)))[:: 1 if n < 13 else 17]
    for layer in sorting.network(n):
        assert len(np.unique(layer)) == layer.size
        low, high = every[:, layer[:, 0]], every[:, layer[:, 1]]
        every[:, layer[:, 0]], every[:, layer[:, 1]] = low & high, low | high
    assert (np.diff(every, axis=1) >= 0).all()


def test_the_material_of_a_sort_is_dealt_beforehand():
    shared = jsmpc.share(KEY, LONG, ADDITIVE)
    secure = jsmpc.secure(jnp.argsort)
    together, apart = secure(KEY, shared), secure.online(secure.offline(KEY, shared), shared)
    np.testing.assert_array_equal(together.components[0], apart.components[0])
    np.testing.assert_array_equal(jsmpc.reveal(apart), jnp.argsort(LONG))


def test_what_depends_on_no_secret_stays_public():
    shared = jsmpc.share(KEY, X[0], REPLICATED)
    keys, secret = jsmpc.secure(lambda x: lax.sort((jnp.cos(PLACES[0]), x)))(KEY, shared)
    assert not isinstance(keys, jsmpc.Share) and isinstance(secret, jsmpc.Share)


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (
            lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2), (1, 2), ((0, 0), (2, 0))),
            "pad",
        ),
        (lambda x: lax.reduce((x > 0).astype(int), 0, lax.bitwise_xor, (0,)), "integers"),
    ],
)
def test_refusals_say_why(f, match):
    with pytest.raises(jsmpc.UnsupportedError, match=match):
        run(f, X)
