"""Parts of a whole: which quotients are such, and that all are right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src.interpreter.recognition import recognized
from jsmpc.testing import InsecurePlain

X = np.float32(4 * np.random.default_rng(0).normal(size=(4, 4)))


def quotients(x, largest, total):
    e = jnp.exp(x - largest)
    return e / total(e)


def along(axis):
    return lambda e: e.sum(axis, keepdims=True)


PARTS = {
    "softmax": jax.nn.softmax,
    "of columns": lambda x: jax.nn.softmax(x, 0),
    "of all": lambda x: jax.nn.softmax(x, (0, 1)),
    "spread": lambda x: quotients(
        x,
        jnp.broadcast_to(x.max(1, keepdims=True), x.shape),
        lambda e: jnp.broadcast_to(e.sum(1, keepdims=True), e.shape),
    ),
}
# The exponentials may be above 1, or their sum below.
OTHERS = {
    "largest along another axis": lambda x: quotients(x, x.max(0), along(1)),
    "sum along another axis": lambda x: quotients(x, x.max(1, keepdims=True), along(0)),
    "columns beside rows": lambda x: quotients(x, x.max(1), lambda e: e.sum(1)),
    "a largest of its own": lambda x: quotients(
        x, jnp.maximum(2.0, x.max(1, keepdims=True)), along(1)
    ),
    "no largest": lambda x: quotients(x, 0.0, along(1)),
    "of other exponentials": lambda x: (
        jnp.exp(x - x.max(1, keepdims=True)) / jnp.exp(x * 0.5).sum(1, keepdims=True)
    ),
}


@pytest.mark.parametrize("name", [*PARTS, *OTHERS])
def test_quotients(name):
    f = {**PARTS, **OTHERS}[name]
    program = recognized(jax.make_jaxpr(f)(X).jaxpr)
    assert (name in PARTS) == any(e.primitive.name == "part_of_whole" for e in program.eqns)
    x = jsmpc.share(jax.random.key(0), X, InsecurePlain())
    found, expected = jsmpc.reveal(jsmpc.secure(f)(jax.random.key(1), x)), f(jnp.asarray(X))
    np.testing.assert_allclose(found, expected, atol=2e-4 * float(np.abs(expected).max()))
