"""`secure(f, check=True)` tells of products that leave the range, and of nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = jax.random.key(4)
PLAIN = jsmpc.testing.InsecurePlain()
PROTOCOLS = [jsmpc.Replicated3(), jsmpc.Additive(), PLAIN, jsmpc.Replicated3(bits=32)]


def multiply(x, y):
    return x * y


def outcome(f, smpc, *args):
    """What is revealed, or the place of the overflow."""
    try:
        return jsmpc.reveal(f(KEY, *jsmpc.share(KEY, args, smpc)))
    except jsmpc.EncodingError as error:
        return str(error)


def floats(*values):
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=["3", "2", "plain", "32 bits"])
def test_products_of_all_sizes(smpc):
    """None beyond the limit is missed, none below 0.99 of it is taken for one."""
    f = jsmpc.secure(multiply, check=True)
    limit = (1 << (smpc.bits - 2)) / smpc.encoding.scale**2
    sizes = (2.0**-8, 1.0, 3e3, 2.0**13, 1e7, 2.0**33) if smpc.bits == 64 else (0.25, 1.0, 30.0)
    largest = 2.0**34 if smpc.bits == 64 else 2.0**11
    for size in sizes:
        for product, overflows in ((0.95, False), (1.05, True), (-300.0, True)):
            other = product * limit / size
            if abs(other) < largest:
                found = outcome(f, smpc, floats(size), floats(other))
                assert isinstance(found, str) == overflows, (size, product)


CASES = {
    "square": (lambda x: x * x, floats(8e3), floats(8.2e3)),
    "power": (lambda x: x**5, floats(36.0), floats(1e5)),
    "whole factor": (lambda x: x * 1000.0, floats(1e10), floats(3e10)),
    "small factor": (lambda x: x * 1e-3, floats(1e8), floats(4e8)),
    "sum": (lambda x: x + x, floats(8e12), floats(-1e13)),
    "sum of many": (
        lambda x: x.sum(),
        np.full(64, 2e11, np.float32),
        np.full(64, 1.1e12, np.float32),
    ),
    "cancelling sum": (lambda x: (x * x[::-1]).sum(), floats(1e3, -1e3), floats(1e5, -1e5)),
    "dot": (lambda x: x @ x, np.full(300, 4e2, np.float32), np.full(300, 5e2, np.float32)),
    "dot with public": (
        lambda x: x @ np.full((4, 2), 0.3),
        np.full(4, 1e7, np.float32),
        np.full(4, 8e7, np.float32),
    ),
    "public at the left": (
        lambda x: np.full((2, 4), 0.3) @ x,
        np.full(4, 1e7, np.float32),
        np.full(4, 8e7, np.float32),
    ),
    "exponential": (lambda x: jnp.exp(x), floats(29.0), floats(40.0)),
    "quotient": (lambda x: x / (x - x + 0.001), floats(1e9), floats(1e11)),
    "product of many": (
        lambda x: jnp.prod(x),
        np.full(4, 80.0, np.float32),
        np.full(4, 500.0, np.float32),
    ),
    "convolution": (
        lambda x: jnp.convolve(x, x),
        np.full(4, 3e3, np.float32),
        np.full(4, 5e3, np.float32),
    ),
    "scan": (
        lambda x: lax.scan(lambda c, _: (c * c, None), x, None, 3)[0],
        floats(9.0),
        floats(99),
    ),
    "while": (
        lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * s[1]), (0, x)),
        floats(9.0),
        floats(99.0),
    ),
    "secret branch": (
        lambda x: lax.cond(x[0] > 100, lambda: x * x, lambda: x + 1),
        floats(8e3),
        floats(1e5),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_operation_that_may_leave_the_range(name):
    f, inside, beyond = CASES[name]
    checked = jsmpc.secure(f, check=True)
    assert not isinstance(outcome(checked, PLAIN, inside), str)
    assert "test_overflow_check.py" in outcome(checked, PLAIN, beyond)


def test_a_factor_known_when_the_program_runs():
    f = jsmpc.secure(multiply, check=True)
    x = jsmpc.share(KEY, floats(1e9), PLAIN)
    np.testing.assert_allclose(jsmpc.reveal(f(KEY, x, floats(1e-3))), 1e6, rtol=1e-4)
    with pytest.raises(jsmpc.EncodingError, match=r"mul at .*leaves the range"):
        f(KEY, x, floats(0.1))


def line_of(f, text):
    import inspect

    lines, start = inspect.getsourcelines(f)
    return start + next(i for i, line in enumerate(lines) if text in line)


def several(x, y):
    first = x * x
    second = jnp.sum(y * y)
    return first + second @ jnp.eye(1)[0] if second.ndim else first + second


def test_the_first_line_is_named_and_no_other():
    f = jsmpc.secure(several, check=True)
    small, large = np.float32([2.0]), np.float32([3e5])
    for x, y, text in ((large, small, "x * x"), (small, large, "y * y"), (large, large, "x * x")):
        assert f"test_overflow_check.py:{line_of(several, text)} " in outcome(f, PLAIN, x, y)
    np.testing.assert_allclose(outcome(f, PLAIN, small, small), [8.0], atol=1e-4)


def test_one_number_is_opened_and_under_jit_the_result_is_poisoned():
    f, g = jsmpc.secure(several, check=True), jsmpc.secure(several)
    x, y = jsmpc.share(KEY, (np.float32([3e5]), np.float32([1.0])), PLAIN)
    with pytest.raises(jsmpc.EncodingError, match="earlier computation"):
        jsmpc.reveal(jax.jit(f)(KEY, x, y))
    assert np.isfinite(jsmpc.reveal(g(KEY, x, y))).all()
    material = f.offline(KEY, x, y)
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        f.online(material, x, y)
