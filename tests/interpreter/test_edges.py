"""Operations at their edges, against plain JAX: nothing, one element, other types, masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.lax import linalg

import jsmpc
from agreement import KEY, both

PLAIN, REPLICATED = jsmpc.testing.InsecurePlain(), jsmpc.Replicated3()
X = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)


def agrees(f, *args, smpc=PLAIN, secret=None, rtol=1e-3):
    """Whether f gives on shares what it gives in JAX; `secret` are the positions of shares."""
    for name, ours, theirs in both(f, *args, smpc=smpc, secret=secret):
        pair = (np.asarray(v, np.float64) for v in (ours, theirs))
        np.testing.assert_allclose(*pair, rtol, 2e-4, err_msg=name)


def of_nothing(x):
    numbers, one = x.astype(jnp.int32), (((1,), (1,)), ((), ()))
    kernel = np.ones((3, 2, 3), np.float32)
    return {
        "sum": x.sum(0),
        "product": x.prod(0),
        "product of integers": numbers.prod(0),
        "any": (x > 0).any(0),
        "dot": lax.dot_general(x.T, x.T, one),
        "empty dot": x @ x.T,
        "convolution": lax.conv_general_dilated(x[None], kernel[:, :0, :2], (1,), "VALID"),
        "empty convolution": lax.conv_general_dilated(x[:, :2, None], kernel, (1,), "SAME"),
        "largest of each": x.max(1),
        "least of each": (x > 0).min(1),
        "place of each": jnp.argmax(x, 1),
        "top of each": lax.top_k(x, 2)[0],
        "softmax": jax.nn.softmax(x),
        "running product": jnp.cumprod(x, 0),
        "sorted": jnp.sort(x, 1),
        "looked up": jnp.arange(9.0)[numbers],
        "chosen": lax.select_n(jnp.clip(numbers, 0, 2), x, x, x),
    }


def test_reductions_products_and_places_of_nothing():
    agrees(of_nothing, np.zeros((0, 3), np.float32))
    share = jsmpc.share(KEY, np.zeros((0, 3), np.float32), PLAIN)
    with pytest.raises(jsmpc.UnsupportedError, match="extreme of no elements"):
        jsmpc.secure(lambda x: jax.nn.logsumexp(x, 0))(KEY, share)


@pytest.mark.parametrize("secret", [(1,), (0, 1)], ids=["position", "both"])
def test_a_table_of_one_element(secret):
    def f(x, i):
        result = {
            "read": x[i],
            "slice": lax.dynamic_slice(x, (i, 0), (1, 2)),
            "row": lax.dynamic_index_in_dim(x, i),
            "clipped": jnp.take(x, i, axis=0, mode="clip"),
            "boolean": (x > 0)[i],
            "update": lax.dynamic_update_slice(x, 2 * x[:, :1], (i, 1)),
        }
        for name in ("set", "add", "max"):
            result[name] = getattr(x.at[i], name)(5.0)
            result[f"{name} clips"] = getattr(x.at[i], name)(5.0, mode="clip")
        return result

    agrees(f, np.float32([[3, -1, 2]]), np.int32(0), secret=secret)


def test_writes_to_the_whole_of_a_table():
    def f(x):
        names, places = ("set", "multiply", "max"), (np.s_[:], np.s_[..., :1], np.s_[:, 1])
        return {f"{n} {i}": getattr(x.at[i], n)(0.5) for n in names for i in places}

    agrees(f, X)


def test_clamps_of_public_values_by_secrets():
    def f(low, high):
        line = jnp.arange(4.0)
        return {
            "both": lax.clamp(low, line, high),
            "below": lax.clamp(low, line, 2.0),
            "above": lax.clamp(0.0, line, high),
            "unbounded": lax.clamp(-jnp.inf, line, high),
        }

    agrees(f, np.float32(0.5), np.float32(1.5))


@pytest.mark.parametrize("secret", [(0,), (1,), (0, 1)], ids=["base", "exponent", "both"])
def test_powers_of_negative_numbers_and_of_other_types(secret):
    def f(x, y, n, b, c):
        return {"whole": x**y, "integer": lax.pow(x, n), "bfloat16": b**c, "constant": 2.0**y}

    x, y = np.float32([-2, -2, 2, 3, -1.5, 0]), np.float32([3, 2, -1, 0.5, 3, 2])
    n, half = np.int32([3, 2, -1, 0, 3, 2]), jnp.bfloat16([2, 3, 0.5])
    others = (3,) if secret == (0,) else (1, 2, 3, 4)
    agrees(f, x, y, n, half, half, secret=(*secret, *others), rtol=2e-2)


def test_results_have_the_type_that_the_equation_says():
    def f(x, u, i):
        over = (((1,), (0,)), ((), ()))
        return {
            "unsigned and signed": lax.dot_general(u, i, over),
            "signed and unsigned": lax.dot_general(i, u, over),
            "wider": lax.dot_general(u, i, over, None, jnp.int32),
            "float": lax.dot_general(i, u, over, None, jnp.float32),
            "wider product": lax.mul(i, i, out_dtype=jnp.int32),
            "product of integers": lax.mul(i, i, out_dtype=jnp.float32),
        }

    u, i = np.uint8([[200, 3], [3, 4]]), np.int8([[-2, 3], [100, 4]])
    for secret in ((1,), (2,), (1, 2)):
        agrees(f, X, u, i, secret=secret)


def test_reshapes_that_reorder():
    """An average with weights of several axes reshapes so, before it multiplies."""

    def f(x, w):
        reordered = lax.reshape(x, (16,), dimensions=(1, 0))
        mean = jnp.average(x[None] + w, axis=(2, 0, 1), weights=w.transpose(2, 0, 1))
        return {"reshape": (reordered + 1) * x.ravel(), "average": mean}

    w = np.abs(np.random.default_rng(3).normal(size=(2, 4, 4))).astype(np.float32)
    agrees(f, X, w, smpc=REPLICATED)


@pytest.mark.parametrize("secret", [(0,), (0, 1)], ids=["public", "secret"])
def test_branches_and_loops_with_public_numbers_of_python(secret):
    def f(x, k):
        def branch(number, array):
            return lambda v: {"value": v, "number": number, "array": array}

        branches = [branch(1.0, np.zeros(3, np.float32)), branch(np.float32(2), jnp.ones(3))]
        chosen = lax.switch(k, [*branches, branch(jnp.float32(3), jnp.full(3, 2.0))], x)
        loop = lax.fori_loop(0, 3, lambda i, c: (c[0] + x, c[1] * 2.0, i), (0.0, 1, 7))
        scanned = lax.scan(lambda c, v: (c + 1, (c, v * 2, 1.0)), 0, x[None] + jnp.arange(2))[1]
        return chosen | {
            "carried": loop[0],
            "public": loop[1],
            "counter": loop[2],
            "stacked": jnp.stack([v.astype(float) for v in scanned]),
            "where": jnp.where(x > 0, 1, 0),
            "where mixed": jnp.where(x > 0, 1, 0.5),
        }

    agrees(f, np.float32(2), np.int32(1), secret=secret)


def test_the_users_settings_of_jax_do_not_reach_the_protocol():
    def f(x, i):
        return {"scan": lax.scan(lambda c, v: (c + v, c), 0.0, x)[1], "bits": i & 3, "read": x[i]}

    args = X[0], np.int32([1, 3])
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        agrees(f, *args)
    theirs = f(*map(jnp.asarray, args))
    with jax.disable_jit():
        shared = jsmpc.share(KEY, args, PLAIN)
        ours = jsmpc.reveal(jsmpc.secure(f)(KEY, *shared))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs)


# Masks.

LOWEST = float(jnp.finfo(jnp.float32).min)


def masked(x, kept, mask, unit):
    def layer(c, row):
        return jax.nn.softmax(c + mask + row), row[0]

    def loss(v):
        return jnp.sum(jax.nn.softmax(v - (-mask)) ** 2)

    return {
        "sum": jax.nn.softmax(x + mask),
        "twice": jax.nn.softmax(mask + x + mask),
        "scan": lax.scan(layer, x, jnp.stack([mask, mask]))[0],
        "gradient": jax.grad(loss)(x),
        "product": jax.nn.softmax(x + (1 - kept) * unit),
        "product in a scan": lax.scan(lambda c, _: (c + (1 - kept) * unit, 0), x, length=2)[0] > -9,
        "attention": nn.dot_product_attention(*[x[:, None, None]] * 3, bias=mask[:, None, :1]),
    }


@pytest.mark.parametrize("infinity", [LOWEST, -np.inf], ids=["at run time", "constant"])
def test_public_masks_are_added_and_multiplied(infinity):
    kept = np.tril(np.ones((4, 4), np.float32))
    mask = np.where(kept, np.float32(0), np.float32(infinity))
    known = {"mask": mask, "unit": np.float32(LOWEST)}
    if np.isinf(infinity):
        agrees(lambda x, kept: masked(x, kept, **known), X, kept)
    else:
        agrees(masked, X, kept, *known.values(), secret=(0, 1))


# Matrices.


@pytest.mark.parametrize("lower", [False, True])
def test_triangular_solves(lower):
    def f(a, b):
        result = {}
        for transpose in (False, True):
            for left in (False, True):
                for unit in (False, True):
                    options = {"lower": lower, "transpose_a": transpose, "left_side": left}
                    result[str((options, unit))] = linalg.triangular_solve(
                        a, b[:, :, :2] if left else b[:, :2], unit_diagonal=unit, **options
                    )
        return result

    a = np.stack([X, X.T]) * 0.5 + 2 * np.eye(4, dtype=np.float32)
    agrees(f, a, np.stack([X, X + 1]))


def test_a_positive_definite_system_by_cholesky():
    def f(a, b):
        factor = jnp.linalg.cholesky(a)
        return {
            "factor": factor,
            "upper": jnp.linalg.cholesky(a, upper=True),
            "solution": jax.scipy.linalg.cho_solve((factor, True), b),
            "gradient": jax.grad(lambda v: jnp.linalg.cholesky(v).sum())(a),
        }

    agrees(f, X @ X.T + np.eye(4, dtype=np.float32), X[0])
