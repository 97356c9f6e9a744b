"""Public operands: as precise as the encoding allows, and checked wherever they are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = np.arange(8, dtype=np.uint32)
PLAIN, REPLICATED, ADDITIVE = jsmpc.testing.InsecurePlain(), jsmpc.Replicated3(), jsmpc.Additive()
TEN = jsmpc.testing.InsecurePlain(encoding=jsmpc.FixedPoint(base=10))
ULP = 2.0**-18
SIZES = np.array([1e-7, -3e-5, 1.7e-3, 0.3, 2.0, -900.7, 4.4e5, 3e7], np.float64)


def computed(f, smpc, x, *public, online=False):
    """The results of f on a secret x, and on public operands known when the program runs."""
    share = jsmpc.share(jax.random.key(1), x, smpc)
    g = jsmpc.secure(f)
    out = (
        g.online(g.offline(KEY, share, *public), share, *public)
        if online
        else g(KEY, share, *public)
    )
    return np.asarray(jsmpc.reveal(out), np.float64)


@pytest.mark.parametrize("smpc", [PLAIN, REPLICATED, ADDITIVE], ids=lambda s: type(s).__name__)
def test_a_factor_known_when_the_program_runs_is_as_precise_as_a_constant(smpc):
    """The range is that of the product: a large secret may meet a small factor."""
    x = jnp.asarray([2e7, 1e6, 1e5, 3e3, 1e3, 1e2, 40.0, 1.5], jnp.float32)
    y = jnp.asarray(SIZES, jnp.float32)
    exact = np.asarray(x, np.float64) * np.asarray(y, np.float64)
    with jax.enable_x64(True):
        ours = computed(lambda x, y: (x * y).astype(jnp.float64), smpc, x, y, online=smpc != PLAIN)
    error = np.abs(ours - exact)
    assert (error <= 2 * ULP + abs(exact) * 2.0**-22).all(), error / ULP


def test_rates_and_divisors_as_arguments():
    x = np.array([1e2, 3e2, 1e5], np.float32)
    f = jsmpc.secure(lambda x, r, s: (x * r, x / s))
    for smpc, ulp in ((PLAIN, ULP), (TEN, 1e-3)):
        share = jsmpc.share(jax.random.key(1), x, smpc)
        for rate in (1e-5, 3e-4, 0.1, 1.0, 700.0):
            for found in jsmpc.reveal(f(KEY, share, jnp.float32(rate), jnp.float32(1 / rate))):
                np.testing.assert_allclose(found, x * rate, rtol=2e-5, atol=2 * ulp)


def test_a_matrix_known_when_the_program_runs():
    x = np.linspace(-300, 300, 12, dtype=np.float32).reshape(3, 4)
    w = np.float32(1e-5) * np.arange(1, 9, dtype=np.float32).reshape(4, 2)
    exact = x.astype(np.float64) @ w.astype(np.float64)
    assert abs(computed(lambda x, w: x @ w, REPLICATED, x, w) - exact).max() <= 3.1 * ULP
    left = computed(lambda x, w: w.T @ x.T, REPLICATED, x, w)
    assert abs(left - exact.T).max() <= 3.1 * ULP


@pytest.mark.parametrize("smpc", [PLAIN, REPLICATED, ADDITIVE], ids=lambda s: type(s).__name__)
def test_vectors_of_constants_of_very_different_size(smpc):
    x = np.array([1e5, 4e5, 1e4, 3e3, 1e3, 1e2, 40.0, 1.5], np.float32)
    exact = x.astype(np.float64) * SIZES
    with jax.enable_x64(True):
        ours = computed(lambda x: x.astype(jnp.float64) * SIZES, smpc, x, online=smpc != PLAIN)
        quotient = computed(lambda x: x.astype(jnp.float64) / (1 / SIZES), smpc, x)
    for found in (ours, quotient):
        assert (abs(found - exact) <= 1.01 * ULP + abs(exact) * 2.0**-17).all()


@pytest.mark.parametrize("smpc", [PLAIN, REPLICATED, ADDITIVE], ids=lambda s: type(s).__name__)
def test_quotients_by_whole_numbers_are_exact(smpc):
    x = np.array([1.6e13, -1e12, 3e6, 3e6, -7.0, 5.0], np.float64)
    y = np.array([3.0, 7.0, 1000.0, -13.0, 2.0, 1e9])
    with jax.enable_x64(True):
        ours = computed(lambda x: x / y, smpc, x, online=smpc != PLAIN)
        assert (abs(ours - x / y) <= ULP).all()


def test_vectors_of_constants_in_base_ten():
    x, y = np.array([1e5, 3e3, 2.0], np.float64), np.array([1e-4, 0.25, 3e3])
    with jax.enable_x64(True):
        np.testing.assert_allclose(computed(lambda x: x * y, TEN, x), x * y, atol=1e-3)
        np.testing.assert_allclose(
            computed(lambda x: x / y[::-1], TEN, x), x / y[::-1], atol=2e-3, rtol=1e-3
        )


def in_scan(f):
    return lambda x, y: lax.scan(lambda c, _: (f(c, y), None), x, None, 2)[0]


def in_while(f):
    def g(x, y):
        return lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, f(s[1], y)), (0, x))[1]

    return g


def in_condition(f):
    """Of a while loop, whose value is revealed."""

    def g(x, y):
        def goes_on(s):
            later = jnp.where(s[0] > 1, y, 0.0)
            return (s[0] < 2) & (jsmpc.reveal(f(s[1], later)).sum() < 1e3)

        return lax.while_loop(goes_on, lambda s: (s[0] + 1, s[1]), (0, x))[1]

    return g


def in_branch(f):
    return lambda x, y: lax.cond(jnp.isnan(y) | True, lambda: f(x, y), lambda: x - 2)


def in_nested(f):
    return in_scan(in_branch(in_while(f)))


PLACES = (lambda f: f, in_scan, in_while, in_condition, in_branch, in_nested)


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.__name__.strip("<>"))
@pytest.mark.parametrize("value", [np.nan, -1e20, 2.0**44])
def test_a_fault_is_an_error_wherever_it_lies(place, value):
    f = jsmpc.secure(place(lambda x, y: x + y))
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    jsmpc.reveal(f(KEY, x, jnp.float32(0.5)))
    with pytest.raises(jsmpc.EncodingError, match=r"add at .*test_public_operands\.py:\d+"):
        f(KEY, x, jnp.float32(value))


def test_a_branch_that_is_not_taken_has_no_faults():
    f = jsmpc.secure(lambda x, y: lax.cond(y > 0, lambda: x + 1, lambda: (x / y) * y))
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    np.testing.assert_array_equal(jsmpc.reveal(f(KEY, x, jnp.float32(np.inf))), 2)
    with pytest.raises(jsmpc.EncodingError, match="div at"):
        f(KEY, x, jnp.float32(0))


# Which a public condition leaves out.

LEFT_OUT = {
    "factor": lambda x, y: jnp.where(y > 0, x * jnp.sqrt(y), x),
    "divisor": lambda x, y: jnp.where(y > 0, x / jnp.maximum(y, 0), x),
    "summand": lambda x, y: jnp.where(y > 0, x + jnp.log(y), x),
    "constant": lambda x, y: jnp.where(y > 0, x * np.float32(np.nan), x),
    "case": lambda x, y: jnp.where(y > 0, jnp.sqrt(y), x),
    "moved": lambda x, y: jnp.where(
        y > 0, -jnp.exp(x * jnp.sqrt(y))[::-1].reshape(2, 2).T.ravel(), x
    ),
    "beside another": lambda x, y: jnp.where(y > 0, x * jnp.sqrt(y) + x, x),
    "compared": lambda x, y: jnp.where(y > 0, (x * jnp.sqrt(y) < 1).astype(x.dtype), x),
    "of three": lambda x, y: lax.select_n(
        jnp.sign(y).astype(jnp.int32) + 1, x, jnp.sqrt(y) * x, x / (y + 1)
    ),
    "in a loop": lambda x, y: lax.scan(
        lambda c, _: (jnp.where(y > 0, c * jnp.sqrt(y), c), None), x, None, 2
    )[0],
    "unused": lambda x, y: (x * jnp.sqrt(y), x)[1],
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_does_not_fit_may_be_left_out_by_a_public_condition(name):
    f, x = LEFT_OUT[name], jnp.asarray([0.5, 2.0, 4.0, 1.0])
    y = jnp.asarray([-1.0] * 4)
    np.testing.assert_allclose(computed(f, PLAIN, x, y), x, atol=1e-4)


KEPT = {
    "chosen": lambda x, y: jnp.where(y < 0, x * jnp.sqrt(y), x),
    "of one element": lambda x, y: jnp.where(jnp.arange(2) < 1, x * jnp.sqrt(y), x),
    "in the condition": lambda x, y: jnp.where(x * jnp.sqrt(y) > 0, x, 2 * x),
    "by a secret": lambda x, y: jnp.where(x > 5, x * jnp.sqrt(y), x),
    "summed": lambda x, y: jnp.where(y > 0, jnp.sum(x * jnp.sqrt(y)), x),
    "carried": lambda x, y: lax.scan(lambda c, _: (c * jnp.sqrt(y), None), x, None, 1, unroll=1)[0],
}


@pytest.mark.parametrize("name", KEPT)
def test_what_does_not_fit_and_counts_is_an_error_of_its_line(name):
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    with pytest.raises(jsmpc.EncodingError, match=r"mul at .*test_public_operands\.py:\d+"):
        jsmpc.secure(KEPT[name])(KEY, x, jnp.float32([-1, -1]))


def test_a_known_constant_that_counts_is_an_error_when_traced():
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    public = np.float32([1, np.nan])
    for which, fits in ((np.array([True, False]), True), (np.array([False, True]), False)):
        f = jax.jit(jsmpc.secure(lambda x, which=which: jnp.where(which, x * public, x)))
        if fits:
            np.testing.assert_array_equal(jsmpc.reveal(f(KEY, x)), [1, 1])
        else:
            with pytest.raises(jsmpc.EncodingError, match=r"mul at .*NaN at index"):
                f(KEY, x)


def test_two_equations_of_a_line_and_all_iterations_are_checked():
    f = jsmpc.secure(lambda x, v: lax.scan(lambda c, v: (c + v[0] + v[1], None), x, v)[0])
    x = jsmpc.share(jax.random.key(1), jnp.ones(2), PLAIN)
    for place in np.ndindex(3, 2):
        v = np.ones((3, 2), np.float32)
        v[place] = np.nan
        with pytest.raises(jsmpc.EncodingError, match="add at"):
            f(KEY, x, v)


@pytest.mark.parametrize(
    "smpc, dtype, value, fits",
    [
        (PLAIN, jnp.int64, 2**62, False),
        (PLAIN, jnp.int64, -(2**62) + 1, True),
        (PLAIN, jnp.uint64, 2**63, False),
        (jsmpc.testing.InsecurePlain(bits=32), jnp.int32, -(2**31), False),
        (jsmpc.testing.InsecurePlain(bits=32), jnp.uint32, 2**30 - 1, True),
        (PLAIN, jnp.uint32, 2**32 - 1, True),
    ],
)
def test_public_integers_out_of_the_ring(smpc, dtype, value, fits):
    with jax.enable_x64(True):
        x = jsmpc.share(jax.random.key(1), jnp.zeros(2, dtype), smpc)
        y = jnp.asarray(np.asarray(value, np.dtype(dtype)))
        f = jsmpc.secure(lambda x, y: x + y)
        if fits:
            np.testing.assert_array_equal(jsmpc.reveal(f(KEY, x, y)), np.asarray(y))
        else:
            with pytest.raises(jsmpc.EncodingError, match="add at"):
                f(KEY, x, y)


def test_where_a_fault_cannot_raise_no_result_holds_anything_of_the_secret():
    f = jsmpc.secure(lambda x, y: (x + y, x * y))
    x = jsmpc.share(jax.random.key(1), jnp.asarray([3.0, 4.0]), PLAIN)
    for share in jax.jit(f)(KEY, x, jnp.asarray([np.nan, 2.0])):
        assert np.unique(share.components[0]).size == 1


@pytest.mark.parametrize("running", [False, True], ids=["constants", "arguments"])
def test_the_leading_coefficients_of_a_polynomial_are_factors(running):
    """polyval is a loop that begins with 0·x: unrolled, its first coefficients stay public."""
    x = np.array([300.0, -200.0, 50.0, 7.0], np.float32)
    p = np.array([1e-5, -3e-4, 0.5], np.float32)
    exact = np.polyval(p.astype(np.float64), x)
    if running:
        ours = computed(lambda x, p: jnp.polyval(p, x), PLAIN, x, p)
    else:
        ours = computed(lambda x: jnp.polyval(p, x), PLAIN, x)
    assert (abs(ours - exact) <= ULP * (3 + abs(x))).all()


def test_a_product_with_zero_is_public():
    x = jsmpc.share(jax.random.key(1), np.array([3.0, -2.0], np.float32), REPLICATED)

    def f(x):
        none = 0 * x
        return none, none > -1, jnp.where(none < 1, x, none), lax.scan(_last, x[0], x, unroll=2)

    none, above, chosen, (last, rows) = jsmpc.secure(f)(KEY, x)
    assert not isinstance(none, jsmpc.Share) and not isinstance(above, jsmpc.Share)
    np.testing.assert_array_equal(none, [0, 0])
    np.testing.assert_array_equal(above, [True, True])
    np.testing.assert_array_equal(jsmpc.reveal(chosen), [3, -2])
    assert jsmpc.reveal(last) == -2
    np.testing.assert_array_equal(jsmpc.reveal(rows), [9, -6])


def _last(carry, row):
    return 0 * carry + row, carry * row
