"""`secure(f, check=True)` tells of products that leave the range, and of nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = jax.random.key(4)
PLAIN = jsmpc.Plain()
PROTOCOLS = [jsmpc.Replicated3(), jsmpc.Additive(), PLAIN, jsmpc.Replicated3(bits=32)]


def multiply(x, y):
    return x * y


def outcome(f, smpc, *args):
    """What is revealed, or the place of the overflow."""
    try:
        return jsmpc.reveal(f(KEY, *jsmpc.share(KEY, args, smpc)))
    except jsmpc.EncodingError as error:
        return str(error)


@pytest.mark.parametrize("smpc", PROTOCOLS, ids=["3", "2", "plain", "32 bits"])
def test_every_magnitude_of_a_product(smpc):
    """Found from half the limit on at the latest from the limit on; never below half of it."""
    f = jsmpc.secure(multiply, check=True)
    digits = (smpc.encoding.scale - 1).bit_length()
    limit = smpc.bits - 2 - 2 * digits  # of a product's exponent
    largest = smpc.bits - 15 - digits  # of an operand's exponent
    tried = 0
    for total in (0, limit - 3, limit, limit + 1, limit + 9, limit + 17, limit + 18, 2 * largest):
        for first in {max(total - largest, -3), total // 2}:
            second = total - first
            if first > largest or second > largest:
                continue
            x, y = np.float32([1.0, 1.5 * 2.0**first]), np.float32([1.0, -1.25 * 2.0**second])
            found, tried = outcome(f, smpc, x, y), tried + 1
            if total >= limit:
                assert "mul at" in str(found) and "test_overflow_check.py" in found, (first, second)
            else:
                np.testing.assert_allclose(found, x * y, rtol=1e-2, atol=1e-2)
    assert tried > 8


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


PLACES = {
    "matmul": lambda x, y: x @ y,
    "conv": lambda x, y: lax.conv(x[None, None], y[None, None], (1, 1), "SAME"),
    "power": lambda x, y: x**3 + y,
    "prod": lambda x, y: jnp.prod(x) + y,
    "cumprod": lambda x, y: jnp.cumprod(x, 0) + y,
    "scan": lambda x, y: lax.scan(lambda c, r: (c * y[0], None), y[0], x)[0],
    "while": lambda x, y: lax.while_loop(
        lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] * x), (0, y)
    )[1],
    "cond": lambda x, y: lax.cond(x[0, 0] > 0, lambda a: a * x, lambda a: a, y),
    "inner": lambda x, y: jax.jit(multiply)(x, y),
}


@pytest.mark.parametrize("name", PLACES)
def test_products_of_all_kinds_and_in_all_places(name):
    f = jsmpc.secure(PLACES[name], check=True)
    small, large = np.full((2, 2), 1.5, np.float32), np.full((2, 2), 2e4, np.float32)
    expected = PLACES[name](jnp.asarray(small), jnp.asarray(small))
    np.testing.assert_allclose(outcome(f, PLAIN, small, small), expected, atol=1e-3)
    assert "leaves the range" in outcome(f, PLAIN, large, large)


def test_one_number_is_opened_and_under_jit_the_result_is_poisoned():
    f, g = jsmpc.secure(several, check=True), jsmpc.secure(several)
    x, y = jsmpc.share(KEY, (np.float32([3e5]), np.float32([1.0])), PLAIN)
    with pytest.raises(jsmpc.EncodingError, match="earlier computation"):
        jsmpc.reveal(jax.jit(f)(KEY, x, y))
    assert np.isfinite(jsmpc.reveal(g(KEY, x, y))).all()
    material = f.offline(KEY, x, y)
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        f.online(material, x, y)
