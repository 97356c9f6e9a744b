"""Integers, bits, rounding, and comparison with what no secret is, against plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from agreement import KEY, both

PLAIN, REPLICATED = jsmpc.testing.InsecurePlain(), jsmpc.Replicated3()
NARROW, ADDITIVE = jsmpc.Replicated3(bits=32), jsmpc.Additive(("bob", "alice"))
TEN = jsmpc.FixedPoint(base=10)

secretly = pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=["replicated", "additive"])


def agrees(f, *args, smpc, secret=None, atol=0.0):
    """Whether f gives on shares what it gives in JAX; `secret` are the positions of shares."""
    for name, ours, theirs in both(f, *args, smpc=smpc, secret=secret):
        np.testing.assert_allclose(
            np.asarray(ours, np.float64), np.asarray(theirs, np.float64), 0, atol, err_msg=name
        )


# Integers.

TOP = 2**31 - 1
XS = np.int32([7, -7, TOP, -TOP - 1, 5, 0, -1, 123456, -987, 2])
YS = np.int32([3, 2, -7, -1, 0, 5, 0, -100, 31, 40])


def division(x, y):
    return {
        "quotient": lax.div(x, y),
        "remainder": lax.rem(x, y),
    }


def division_by_numbers(x):
    return {
        "by 3": lax.div(x, x.dtype.type(3)),
        "by -3": lax.div(x, jnp.int32(-3).astype(x.dtype)),
        "by 4": lax.div(x, x.dtype.type(4)),
        "by a large number": lax.div(x, x.dtype.type(jnp.iinfo(x.dtype).max)),
        "rest of 3": lax.rem(x, x.dtype.type(3)),
        "floor": x // 3,
        "modulo": x % 4,
    }


@secretly
def test_division_of_integers_rounds_toward_zero(smpc):
    agrees(division, XS, YS, smpc=smpc)
    agrees(division_by_numbers, XS, smpc=smpc)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint32])
def test_division_of_other_types(dtype):
    agrees(division, XS.astype(dtype), YS.astype(dtype), smpc=PLAIN)
    agrees(division, XS.astype(dtype)[:2], YS.astype(dtype)[:2], smpc=PLAIN, secret=(1,))
    agrees(division_by_numbers, XS.astype(dtype), smpc=PLAIN)


@pytest.mark.parametrize("bits", [32, 64])
def test_division_up_to_the_limits_of_the_ring(bits):
    limit = 2 ** (bits - 2) - 1
    with jax.enable_x64(True):
        dtype = np.dtype(f"int{bits}")
        x = np.array([limit, -limit, limit, limit - 1, -limit, 1], dtype)
        y = np.array([limit, limit, 1, -2, 3, -limit], dtype)
        agrees(division, x, y, smpc=jsmpc.Replicated3(bits=bits))


def logic(x, y):
    five, low = x.dtype.type(5), x.dtype.type(1)
    return {
        "and": x & y,
        "or": x | y,
        "xor": x ^ y,
        "not": ~x,
        "with a mask": x & five,
        "parity": (x & low) == low,
        "or a mask": x | five,
        "xor a mask": x ^ five,
        "complement of a mask": x & ~five,
        "ones": lax.population_count(x),
        "leading zeros": lax.clz(x),
    }


SHIFTS = (lax.shift_left, lax.shift_right_arithmetic, lax.shift_right_logical)


def shifts(x, amount):
    result = {}
    for f in SHIFTS:
        result[f.__name__] = f(x, amount)
        for n in (0, 3, 40):
            result[f"{f.__name__} by {n}"] = f(x, x.dtype.type(n))
    return result


AMOUNTS = np.int32([0, 1, 5, 31, 32, 33, -1, 16, 8, 3])


@secretly
def test_bits_of_integers(smpc):
    agrees(logic, XS, YS, smpc=smpc)


@secretly
def test_shifts_by_secret_and_public_amounts(smpc):
    agrees(shifts, XS, AMOUNTS, smpc=smpc)
    agrees(shifts, XS, AMOUNTS, smpc=smpc, secret=(0,))
    agrees(lambda x, n: {"one": lax.shift_left(x, n)}, XS, AMOUNTS, smpc=smpc, secret=(1,))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint32])
def test_bits_and_shifts_of_other_types(dtype):
    agrees(logic, XS.astype(dtype), YS.astype(dtype), smpc=PLAIN)
    agrees(shifts, XS.astype(dtype), AMOUNTS.astype(dtype), smpc=PLAIN)


def test_sums_and_products_beyond_the_type_wrap_when_their_bits_are_used():
    def f(x):
        y = x * 1103515245 + 12345
        return {"product": y, "masked": y & 0x7FFF, "shifted": y >> 3, "mixed": (y ^ (x << 7)) >> 9}

    agrees(f, XS, smpc=REPLICATED)


def test_bits_in_the_ring_of_32_bits():
    x, y = XS[[0, 1, 4, 5, 6, 7]], YS[[0, 1, 2, 3, 8, 9]]
    agrees(logic, x, y, smpc=NARROW)
    with jax.enable_x64(True), pytest.raises(jsmpc.UnsupportedError, match=r"int64.*64-bit ring"):
        jsmpc.secure(lambda v: v & v)(KEY, jsmpc.share(KEY, x.astype(np.int64), NARROW))


# Rounding.


def rounding(x):
    return {
        "floor": jnp.floor(x),
        "ceil": jnp.ceil(x),
        "to even": jnp.round(x),
        "away": lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
        "trunc": jnp.trunc(x),
        "fraction": jnp.modf(x)[0],
        "integer": x.astype(jnp.int32),
        "remainder": lax.rem(x, x.dtype.type(2.5)),
        "of a negative number": lax.rem(x, x.dtype.type(-0.75)),
    }


HALVES = np.float32([-2.5, -1.5, -0.5, -0.25, 0, 0.25, 0.5, 1.5, 2.5, 3.75, -3.75, 7, -7, 99.5])


TENS = [jsmpc.testing.InsecurePlain(encoding=TEN), jsmpc.Replicated3(encoding=TEN)]


@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE, *TENS], ids=lambda s: s.__class__.__name__)
def test_rounding(smpc):
    agrees(rounding, HALVES, smpc=smpc)


@pytest.mark.parametrize("base", [2, 10])
@pytest.mark.parametrize("bits", [32, 64])
def test_rounding_is_exact_up_to_the_limits(base, bits):
    smpc = jsmpc.Replicated3(bits=bits, encoding=jsmpc.FixedPoint(base))
    scale, bound = smpc.encoding.scale, smpc.ring.bound
    units = np.random.default_rng(0).integers(-bound + 1, bound, 400)
    near = np.arange(-3, 4) + scale // 2 * np.arange(-5, 6)[:, None]
    edge = bound - 1 - np.arange(2 * scale, step=max(scale // 20, 1))
    units = np.concatenate([units, near.ravel(), edge, -edge])
    with jax.enable_x64(True):
        components = np.zeros((3, units.size), smpc.ring.dtype)
        components[1] = units.astype(smpc.ring.dtype)
        share = jsmpc.Share((jnp.asarray(components),), smpc, np.float64)

        def f(x):
            away = lax.RoundingMethod.AWAY_FROM_ZERO
            return jnp.floor(x), jnp.ceil(x), jnp.round(x), lax.round(x, away)

        results = jsmpc.secure(f)(KEY, share)
    ours = [np.asarray(r.components[0]).sum(0, dtype=smpc.ring.dtype) for r in results]
    ours = [w.view(smpc.ring.signed).astype(np.int64) for w in ours]
    floor = units // scale
    twice = 2 * (units - floor * scale)
    even = floor + ((twice > scale) | ((twice == scale) & (floor % 2 == 1)))
    away = floor + ((twice > scale) | ((twice == scale) & (units >= 0)))
    for got, whole in zip(ours, (floor, -(-units // scale), even, away), strict=True):
        np.testing.assert_array_equal(got, whole * scale)


def test_remainder_by_a_divisor_that_is_not_known():
    y = np.float32([1, 2, -0.25, 0.5, 3, 1, 0.125, 1, 2, 0.5, -0.5, 3, 5, 100])
    agrees(lambda x, y: {"rem": lax.rem(x, y)}, HALVES, y, smpc=REPLICATED)
    agrees(lambda x, y: {"rem": lax.rem(x, y)}, HALVES, y, smpc=PLAIN, secret=(0,))
    agrees(lambda x: {"modulo": x % 2.5, "floor": x // 2.5}, HALVES, smpc=PLAIN)
    with pytest.raises(jsmpc.UnsupportedError, match="public zero"):
        jsmpc.secure(lambda x: lax.rem(x, np.float32(0)))(KEY, jsmpc.share(KEY, HALVES, PLAIN))


# Infinities and NaN.

ODD = np.float32([0, np.inf, -np.inf, np.nan, 1e30, -1e30, -2.5, 3, 2.5, 3.75, 0, 7, -7, 99.5])


def comparisons(x, y):
    return {
        "<": x < y,
        "<=": x <= y,
        ">": x > y,
        ">=": x >= y,
        "==": x == y,
        "!=": x != y,
        "reversed": y < x,
        "constant": x < ODD,
        "constant equal": x == ODD,
    }


@secretly
def test_comparison_with_infinities_and_nan(smpc):
    agrees(comparisons, HALVES, ODD, smpc=smpc, secret=(0,))


def test_comparison_with_infinity_is_public_and_costs_nothing():
    def f(x):
        inf = jnp.inf
        return {
            "isnan": jnp.isnan(x),
            "isposinf": jnp.isposinf(x),
            "isneginf": jnp.isneginf(x),
            "isfinite": jnp.isfinite(x),
            "==": x == inf,
            "<": x < inf,
            "<=": x <= -inf,
            ">": x > -inf,
            ">=": x >= np.float32(np.nan),
            "!=": x != inf,
            "identical": x == x,
        }

    share = jsmpc.share(KEY, HALVES, REPLICATED)
    ours = jsmpc.secure(f)(KEY, share)
    for name, value in f(jnp.asarray(HALVES)).items():
        assert not isinstance(ours[name], jsmpc.Share), name
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    agrees(lambda x: {"": jnp.nan_to_num(x), "isinf": jnp.isinf(x)}, HALVES, smpc=REPLICATED)


def masks(x):
    lowest, number = jnp.finfo(x.dtype).min, jnp.arange(x.size)
    return {
        "public mask": jnp.where(number > 3, x, -jnp.inf),
        "public mask, lowest": jnp.where(number > 3, x, lowest),
        "secret mask": jnp.where(x > 0, x, -jnp.inf),
        "secret mask, lowest": jnp.where(x > 0, lowest, x),
        "pad": jnp.pad(x, 1, constant_values=jnp.inf),
        "concatenate": jnp.concatenate([x, jnp.full(1, -jnp.inf)]),
        "largest": jnp.max(jnp.where(x < 3, x, -jnp.inf)),
        "difference": jnp.where(x < 3, x, -jnp.inf) - jnp.where(x < 3, x, jnp.inf) < -9,
        "where it is largest": jnp.argmax(jnp.where(x > 100, x, -jnp.inf)),
    }


@pytest.mark.parametrize("smpc", [REPLICATED, NARROW, ADDITIVE], ids=["64", "32", "additive"])
def test_infinities_where_values_are_selected_are_a_quarter_of_the_limit(smpc):
    ours = jsmpc.reveal(jsmpc.secure(masks)(KEY, jsmpc.share(KEY, HALVES, smpc)))
    quarter = smpc.encoding.limit(smpc.ring) / 4
    for name, value in masks(jnp.asarray(HALVES)).items():
        expected = np.clip(np.asarray(value, np.float64), -quarter, quarter)
        np.testing.assert_allclose(np.asarray(ours[name], np.float64), expected, err_msg=name)


def test_other_values_that_cannot_be_encoded_are_errors():
    share = jsmpc.share(KEY, HALVES, REPLICATED)
    for f in (
        lambda x: jnp.maximum(x, np.float32(np.inf)),
        lambda x: jnp.minimum(x, np.float32(-np.inf)),
        lambda x: jnp.where(x > 0, x, jnp.nan),
        lambda x: jnp.where(x > 0, x, 1e30),
    ):
        with pytest.raises(jsmpc.EncodingError, match=r"(max|min|select_n) at .*test_integers"):
            jsmpc.secure(f)(KEY, share)


# What is refused.

REFUSED = {
    "bitcast_convert_type": (lambda x: lax.bitcast_convert_type(x, jnp.int32), "astype"),
    "nextafter": (lambda x: jnp.nextafter(x, x), "tolerance"),
    "convert_element_type": (lambda x: jnp.fft.fft(x), "public matrix"),
    "qr": (lambda x: jnp.linalg.qr(x[:4].reshape(2, 2)), "Reveal the matrix"),
    "svd": (lambda x: jnp.linalg.svd(x[:4].reshape(2, 2)), "Reveal the matrix"),
    "lu": (lambda x: jnp.linalg.solve(x[:4].reshape(2, 2), x[:2]), "Reveal the matrix"),
    "random_wrap": (
        lambda x: jax.random.normal(jax.random.wrap_key_data(x[:2].astype(jnp.uint32))),
        "public key",
    ),
    "debug": (lambda x: (jax.debug.print("{}", x), x)[1], "jsmpc.reveal"),
    "pure_callback": (lambda x: jax.pure_callback(np.sin, x, x), "jsmpc.reveal"),
    "igamma": (lambda x: lax.igamma(x, x), "polynomial"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_remedy(name):
    f, remedy = REFUSED[name]
    with pytest.raises(jsmpc.UnsupportedError, match=rf"{name}.* at .*{remedy}"):
        jsmpc.secure(f)(KEY, jsmpc.share(KEY, HALVES, PLAIN))
