"""`secure` takes and shows what `jax.jit` takes and shows."""

from __future__ import annotations

import dataclasses
import inspect
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jsmpc

KEY = jax.random.key(2)
SMPC = jsmpc.Replicated3()
X = np.float32([[1.0, -2.0], [0.5, 3.0]])


@pytest.fixture(scope="module")
def x():
    return jsmpc.share(KEY, X, SMPC)


def close(ours, theirs):
    np.testing.assert_allclose(jsmpc.reveal(ours), theirs, atol=1e-4)


@jsmpc.secure
def doubled(x, *, scale=2.0):
    """Twice a number."""
    return x * scale


@jsmpc.secure(static_argnames=("mode",))
def chosen(x, mode, *, sign=1):
    return x * (2 if mode == "double" else 1) * sign


def test_as_a_decorator_with_and_without_options(x):
    close(doubled(KEY, x), 2 * X)
    close(doubled(KEY, x, scale=3.0), 3 * X)
    for call in (
        lambda: chosen(KEY, x, "double"),
        lambda: chosen(KEY, x, mode="double"),
        lambda: chosen(KEY, x, mode="double", sign=1),
    ):
        close(call(), 2 * X)
    by_number = jsmpc.secure(lambda x, mode: x * len(mode), static_argnums=-1)
    close(by_number(KEY, x, "abc"), 3 * X)
    close(by_number(KEY, x, mode="ab"), 2 * X)
    material = by_number.offline(KEY, x, "abc")
    close(by_number.online(material, x, "abc"), 3 * X)


def test_static_arguments_are_hashable_and_are_told_apart(x):
    with pytest.raises(TypeError, match="static argument 1 of chosen must be hashable"):
        chosen(KEY, x, ["double"])
    with pytest.raises(TypeError, match=r"chosen .*\[1\].*type str.*static_argn"):
        jsmpc.secure(chosen._f)(KEY, x, "double")
    with pytest.raises(TypeError, match=r"mode.*type dict|neither an array"):
        jsmpc.secure(lambda x, mode: x)(KEY, x, object())


def test_flax_modules_with_their_options(x):
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(2)(x))
            return nn.Dropout(0.5, deterministic=not train)(x)

    model = Model()
    variables = model.init(KEY, X, train=False)
    shared = jsmpc.share(KEY, variables, SMPC)
    apply = jsmpc.secure(model.apply, static_argnames=("train", "mutable"))
    close(apply(KEY, shared, x, train=False), model.apply(variables, X, train=False))
    rngs = {"dropout": jax.random.key(9)}
    ours, state = apply(KEY, shared, x, train=True, mutable=("batch_stats",), rngs=rngs)
    theirs, expected = model.apply(variables, X, train=True, mutable=["batch_stats"], rngs=rngs)
    np.testing.assert_allclose(jsmpc.reveal(ours), theirs, atol=2e-3)
    for a, b in zip(*map(jax.tree.leaves, (jsmpc.reveal(state), expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_signature_name_and_documentation():
    assert str(inspect.signature(doubled)) == "(key, /, x, *, scale=2.0)"
    assert doubled.__name__ == "doubled" and doubled.__doc__ == "Twice a number."
    assert repr(doubled) == "<secure doubled>"
    assert inspect.signature(jsmpc.secure(lambda key, x: x)).parameters["key_"].kind.name == (
        "POSITIONAL_ONLY"
    )


def test_an_argument_called_key_and_jit_by_name(x):
    f = jsmpc.secure(lambda key, x: x + key)
    close(f(KEY, x=x, key=1.0), X + 1)
    jitted = jax.jit(doubled, donate_argnums=1)
    close(jitted(KEY, jsmpc.share(KEY, X, SMPC)), 2 * X)
    named = jax.jit(chosen, static_argnames="mode")
    close(named(KEY, x, mode="double"), 2 * X)


@dataclasses.dataclass
class Unhashable:
    w: float

    @jsmpc.secure
    def apply(self, x):
        return x * self.w


class Model:
    def __init__(self, w):
        self.w = w
        self.traces = 0

    @jsmpc.secure
    def apply(self, x):
        self.traces += 1
        return x * self.w


def test_methods(x):
    one, two = Model(2.0), Model(3.0)
    for _ in range(2):
        close(one.apply(KEY, x), 2 * X)
        close(two.apply(KEY, x), 3 * X)
    assert (one.traces, two.traces) == (1, 1)
    close(jsmpc.secure(one.apply._f)(KEY, x), 2 * X)
    with pytest.raises(TypeError, match=r"'self' of apply must be hashable; its type Unhashable"):
        Unhashable(2.0).apply(KEY, x)


def test_lower_cost_and_offline_on_shapes(x):
    shapes = jax.eval_shape(lambda k: jsmpc.share(k, X, SMPC), KEY)
    square = jsmpc.secure(lambda v: v * v)
    assert square.cost(shapes).bytes_sent == square.cost(x).bytes_sent == (48, 48, 48)
    material = square.offline(KEY, shapes)
    close(square.online(material, x), X * X)
    for key in (KEY, jax.ShapeDtypeStruct((8,), np.uint32)):
        lowered = square.lower(key, shapes)
        assert "uint64" in lowered.as_text() or "ui64" in lowered.as_text()
    assert square.lower(KEY, x).compile().memory_analysis() is not None
    jaxpr = square.trace(x)
    assert len(jaxpr.jaxpr.invars if hasattr(jaxpr, "jaxpr") else jaxpr.invars) == 2


def python_if(x, y):
    z = x * 2
    return z if z[0, 0] > 0 else y


PYTHON = {
    "if": python_if,
    "float": lambda x, y: float(x[0, 0]),
    "index": lambda x, y: y[x.astype(int)[0, 0] : 3],
    "numpy": lambda x, y: np.asarray(x) + y,
    "range": lambda x, y: [y for _ in range(x.astype(int)[0, 0])],
    "mask": lambda x, y: x[x > 0],
    "shape": lambda x, y: jnp.zeros(x.astype(int)[0, 0]),
}


@pytest.mark.parametrize("name", PYTHON)
def test_what_needs_the_value_of_a_secret(name, x):
    f = PYTHON[name]
    with pytest.raises(jsmpc.SecretError) as caught:
        jsmpc.secure(f)(KEY, x, X)
    message = str(caught.value)
    line = f.__code__.co_firstlineno + 2 * (name == "if")
    assert f"{f.__name__} at " in message and f"test_interface.py:{line} " in message
    assert "argument x" in message or name in ("index", "mask")
    assert "jnp.where" in message and "jsmpc.reveal" in message and "static_argn" in message
    ours = [f for f in traceback.extract_tb(caught.tb) if "jsmpc/_src" in f.filename]
    assert len(ours) == 1


def test_errors_are_short(x):
    for use in (
        lambda: doubled(KEY, X),
        lambda: jsmpc.secure(jax.lax.lgamma)(KEY, x),
        lambda: jsmpc.secure(lambda v: v / 0)(KEY, x),
    ):
        with pytest.raises(jsmpc.JsmpcError) as caught:
            use()
        frames = traceback.extract_tb(caught.tb)
        assert sum("jsmpc/_src" in f.filename for f in frames) == 1
