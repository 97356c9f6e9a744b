"""Nonlinear functions keep their error bounds over the whole range of the encoding."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc

KEY = np.arange(8, dtype=np.uint32)
ENCODINGS = {
    "replicated3": lambda: jsmpc.Replicated3(),
    "additive2": lambda: jsmpc.Additive(),
    "plain": lambda: jsmpc.testing.InsecurePlain(),
    "decimal": lambda: jsmpc.testing.InsecurePlain(encoding=jsmpc.FixedPoint(10, 3)),
    "fine": lambda: jsmpc.testing.InsecurePlain(encoding=jsmpc.FixedPoint(2, 24)),
    "32 bits": lambda: jsmpc.Replicated3(bits=32),
}


@functools.cache
def _protocol(name):
    return ENCODINGS[name]()


@functools.cache
def _numbers(name):
    """Both signs, logarithmically spaced; powers of two and their neighbours; zero."""
    smpc = _protocol(name)
    top = smpc.bits - 2
    spaced = np.floor(2.0 ** np.linspace(0, top - 1e-6, 600)).astype(np.int64)
    powers = 1 << np.arange(top, dtype=np.int64)
    units = np.unique(np.concatenate([spaced, powers, powers + 1, 2 * powers - 1]))
    units = units[(units < (1 << top)) & (np.abs(units.astype(float)) < 2.0**top)]
    units = np.concatenate([-units[::-1], [0], units])
    return np.unique((units / smpc.encoding.scale).astype(np.float64))


def _erf(x):
    return np.vectorize(math.erf)(x)


def _logistic(x):
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))


def _gelu_tanh(x):
    bounded = np.clip(x, -20, 20)
    z = math.sqrt(2 / math.pi) * (bounded + 0.044715 * bounded**3)
    return x * np.clip((1 + np.tanh(z)) / 2, 0, 1)


def _power(x, y):
    return np.exp(np.minimum(y * np.log(x), 700))


# The function, its reference (of x, an array paired with it, and one unit in the last place),
# and where arguments are inside of its domain.
FUNCTIONS = {
    "exp": (jnp.exp, lambda x, y, u: np.exp(np.minimum(x, 700))),
    "reciprocal": (lambda x: 1 / x, lambda x, y, u: 1 / np.where(x == 0, u, x)),
    "sqrt": (jnp.sqrt, lambda x, y, u: np.sqrt(np.maximum(x, 0))),
    "rsqrt": (jax.lax.rsqrt, lambda x, y, u: 1 / np.sqrt(np.maximum(x, u))),
    "log": (jnp.log, lambda x, y, u: np.log(np.maximum(x, u))),
    "log1p": (jnp.log1p, lambda x, y, u: np.log(np.maximum(1 + x, u))),
    "cbrt": (jnp.cbrt, lambda x, y, u: np.cbrt(x)),
    "logistic": (jax.nn.sigmoid, lambda x, y, u: _logistic(x)),
    "tanh": (jnp.tanh, lambda x, y, u: np.tanh(x)),
    "erf": (jax.lax.erf, lambda x, y, u: _erf(x)),
    "gelu_tanh": (jax.nn.gelu, lambda x, y, u: _gelu_tanh(x)),
    "gelu": (
        functools.partial(jax.nn.gelu, approximate=False),
        lambda x, y, u: x * (1 + _erf(x / math.sqrt(2))) / 2,
    ),
    "silu": (jax.nn.silu, lambda x, y, u: x * _logistic(x)),
    "softplus": (jax.nn.softplus, lambda x, y, u: np.logaddexp(x, 0)),
    "arctan": (jnp.arctan, lambda x, y, u: np.arctan(x)),
    "power": (lambda x: x**0.3, lambda x, y, u: _power(np.maximum(x, 1e-300), 0.3)),
}


@functools.cache
def _pairing(name):
    return np.random.default_rng(1).permutation(_numbers(name))


@functools.cache
def _results(name):
    """All functions on all numbers, in one program."""
    smpc = _protocol(name)

    def everything(x, y):
        return {n: f(x) for n, (f, _) in FUNCTIONS.items()} | {"divide": x / y}

    with jax.enable_x64(True):
        numbers = jnp.asarray(_numbers(name)), jnp.asarray(_pairing(name))
        shares = jsmpc.share(KEY, numbers, smpc)
        opened = jsmpc.reveal(jsmpc.secure(everything)(KEY, *shares))
        return jax.tree.map(np.asarray, opened)


def _bound(name, want):
    """The larger of the relative and the absolute error that is allowed."""
    smpc = _protocol(name)
    wide = smpc.bits == 64
    relative, units = (2.0**-14, 8) if wide else (2.0**-6, 16)
    return np.maximum(relative * np.abs(want), units / smpc.encoding.scale)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("function", [*FUNCTIONS, "divide"])
def test_error_bound_over_the_whole_range(name, function):
    smpc = _protocol(name)
    x, y = _numbers(name), _pairing(name)
    unit, limit = 1 / smpc.encoding.scale, smpc.encoding.limit(smpc.ring)
    if function == "divide":
        want = x / np.where(y == 0, unit, y)
    else:
        want = FUNCTIONS[function][1](x, y, unit)
    got = _results(name)[function]
    inside = np.abs(want) < limit * (1 - 2.0**-10)
    error = np.abs(got - want) / _bound(name, want)
    worst = np.argmax(np.where(inside, error, 0))
    assert error[worst] <= 1, (x[worst], y[worst], got[worst], want[worst])
    beyond = ~inside
    assert (np.sign(got[beyond]) == np.sign(want[beyond])).all()
    assert (np.abs(got[beyond]) >= limit * (1 - 2.0**-6)).all()


def test_what_lies_outside_of_the_domain():
    """Results are those of the nearest argument inside, or the largest number."""
    smpc = _protocol("replicated3")
    ulp, limit = 1 / smpc.encoding.scale, smpc.encoding.limit(smpc.ring)
    table = {
        "1/0": (lambda x: 1 / (x - x), 1 / ulp),
        "0/0": (lambda x: (x - x) / (x - x), 0.0),
        "log 0": (lambda x: jnp.log(x - x), math.log(ulp)),
        "log -1": (lambda x: jnp.log(-x), math.log(ulp)),
        "sqrt -1": (lambda x: jnp.sqrt(-x), 0.0),
        "rsqrt 0": (lambda x: jax.lax.rsqrt(x - x), ulp**-0.5),
        "rsqrt -1": (lambda x: jax.lax.rsqrt(-x), ulp**-0.5),
        "exp 99": (lambda x: jnp.exp(99 * x), limit),
        "exp -99": (lambda x: jnp.exp(-99 * x), 0.0),
        "(-1)^0.3": (lambda x: (-x) ** 0.3, 0.0),
        "0^0": (lambda x: (x - x) ** (x - x), 1.0),
        "0^2.5": (lambda x: (x - x) ** 2.5, 0.0),
        "1000^9999": (lambda x: (1000 * x) ** (9999 * x), limit),
        "1000^-9999": (lambda x: (1000 * x) ** (-9999 * x), 0.0),
        "0.001^1e6": (lambda x: (0.001 * x) ** (1e6 * x), 0.0),
        "asin 2": (lambda x: jnp.arcsin(2 * x), math.pi / 2),
        "acos -2": (lambda x: jnp.arccos(-2 * x), math.pi),
        "acosh 0": (lambda x: jnp.arccosh(x - x), 0.0),
        "atanh 1": (jnp.arctanh, (math.log(2) - math.log(ulp)) / 2),
        "atan2(0, 0)": (lambda x: jnp.arctan2(x - x, x - x), 0.0),
    }

    def everything(x):
        return [f(x) for f, _ in table.values()]

    share = jsmpc.share(KEY, jnp.ones(1), smpc)
    got = [float(v[0]) for v in jsmpc.reveal(jsmpc.secure(everything)(KEY, share))]
    for (what, (_, want)), value in zip(table.items(), got, strict=True):
        assert value == pytest.approx(want, rel=2.0**-14, abs=8 * ulp), what
