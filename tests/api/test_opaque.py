"""Whatever people try on a share outside of `secure` is refused, and told what to do."""

from __future__ import annotations

import functools
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jsmpc

KEY = jax.random.key(0)
SMPC = jsmpc.Replicated3()
X = np.float32([1.5, -2.0])
HINT = "inside a function passed to jsmpc.secure"


@pytest.fixture(scope="module")
def x():
    return jsmpc.share(KEY, X, SMPC)


BINARY = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift"),
    *("and_", "or_", "xor", "lt", "le", "gt", "ge", "eq", "ne", "iadd", "imul"),
)


@pytest.mark.parametrize("name", BINARY)
def test_operators(name, x):
    f = getattr(operator, name)
    for operands in ((x, 2.0), (2.0, x), (x, x), (x, X), (X, x), (x, jnp.asarray(X))):
        with pytest.raises(jsmpc.SecretError, match=HINT):
            f(*operands)


UNARY = {
    **{f.__name__: f for f in (abs, bool, complex, float, int, iter, len, list, max, round)},
    "divmod": lambda x: divmod(x, 2),
    "negative": operator.neg,
    "invert": operator.invert,
    "index": lambda x: [1, 2][x],
    "item": lambda x: x[0],
    "contains": lambda x: 1 in x,
    "floor": math.floor,
    "numpy": np.asarray,
    "ufunc": lambda x: np.add(x, 1),
    "numpy function": np.sum,
    "format": lambda x: f"{x:.2f}",
    "jnp": jnp.sum,
    "jnp.asarray": jnp.asarray,
    "jnp.add": lambda x: jnp.add(x, 1),
    "jnp.where": lambda x: jnp.where(True, x, 0),
}


@pytest.mark.parametrize("name", UNARY)
def test_conversions_and_functions(name, x):
    with pytest.raises(jsmpc.SecretError, match=HINT):
        UNARY[name](x)


@pytest.mark.parametrize("name", ["sum", "mean", "T", "astype", "at", "item", "reshape", "tolist"])
def test_methods_and_attributes_of_arrays(name, x):
    with pytest.raises(jsmpc.SecretError, match=HINT):
        getattr(x, name)
    assert not hasattr(x, name)
    with pytest.raises(AttributeError):
        x.no_such_thing  # noqa: B018


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("x64", [False, True])
def test_arithmetic_through_pytrees(x, x64):
    """In the 64-bit mode words would be added as words: the guard refuses before."""
    tree = {"w": x, "b": x}
    optimizer = optax.sgd(0.1)
    refused = (jsmpc.SecretError, TypeError, NotImplementedError)
    uses = (
        lambda: jax.tree.map(lambda a, b: a - 0.1 * b, tree, tree),
        lambda: jax.tree.map(jnp.add, tree, tree),
        lambda: jax.tree.map(lambda a: a * a, tree),
        lambda: jax.tree.map(jnp.sum, tree),
        lambda: optimizer.update(tree, optimizer.init(tree)),
        lambda: optax.apply_updates(tree, tree),
        lambda: optax.global_norm(tree),
        lambda: optax.adam(0.1).update(tree, optax.adam(0.1).init(tree)),
        lambda: optax.tree.scale(2.0, tree),
    )
    with jax.enable_x64(x64):
        for use in uses:
            with pytest.raises(refused):
                use()
        with pytest.raises(TypeError, match=r"share: compute on it inside a function passed"):
            jax.tree.map(lambda a: a + a if a.dtype != np.uint64 else a, tree)


def test_a_share_captured_by_closure(x):
    with pytest.raises(jsmpc.SecretError, match="passed as an argument"):
        jsmpc.secure(lambda y: y + x)(KEY, x)
    with pytest.raises(jsmpc.ProtocolError, match=r"no argument of .* captured by closure"):
        jsmpc.secure(lambda y: y * 2)(KEY, X)


def test_printing_and_identity_tell_nothing_and_work(x):
    assert repr(x) == "Share(float32[2], Replicated3, party0, party1, party2)"
    assert {x: 1}[x] == 1 and x in {x}


def test_differentiation_from_outside_is_refused(x):
    secure = jsmpc.secure(lambda v, w: jnp.sum(v * w))
    through = {
        "share": lambda w, key: jsmpc.reveal(secure(key, jsmpc.share(key, w, SMPC), X)),
        "a public argument": lambda w, key: jsmpc.reveal(secure(key, x, w)),
    }
    w = jnp.asarray(X)
    for f in through.values():
        for g in (
            jax.grad(f),
            jax.jit(jax.grad(f)),
            lambda w, key, f=f: jax.jvp(functools.partial(f, key=key), (w,), (w,)),
        ):
            with pytest.raises(jsmpc.SecretError, match="Put grad inside"):
                g(w, KEY)
        assert np.isfinite(f(w, KEY))
        jax.grad(lambda w, f=f: w[0] + f(jax.lax.stop_gradient(w), KEY))(w)
    with pytest.raises(TypeError):
        jax.grad(lambda s: jsmpc.reveal(secure(KEY, s, X)))(x)
    with pytest.raises(jsmpc.SecretError, match="put grad inside"):
        jax.grad(lambda s: jsmpc.reveal(secure(KEY, s, X)), allow_int=True)(x)
    inside = jsmpc.secure(jax.grad(lambda v: jnp.sum(v * v)))
    np.testing.assert_allclose(jsmpc.reveal(inside(KEY, x)), 2 * X, atol=1e-4)
