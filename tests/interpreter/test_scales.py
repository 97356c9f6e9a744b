"""Numbers in encodings other than the protocol's, and plans that say which these are."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from jax import lax

import jsmpc
from jsmpc.testing import InsecurePlain

KEY = jax.random.key(0)
DECIMAL = InsecurePlain(encoding=jsmpc.FixedPoint(base=10))
PROTOCOLS = {"64": InsecurePlain(), "32": InsecurePlain(bits=32), "decimal": DECIMAL}


def planned(f, *args, smpc=None, check=False):
    """f of secrets under a plan from the same numbers."""
    smpc = PROTOCOLS["64"] if smpc is None else smpc
    scales = jsmpc.calibrate(f, args, protocol=smpc)
    secure = jsmpc.secure(f, scales=scales, check=check)
    return jsmpc.reveal(secure(KEY, *jsmpc.share(KEY, args, smpc)))


def close(found, exact, relative):
    for a, b in zip(*map(jax.tree.leaves, (found, exact)), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        if b.dtype.kind == "f":
            np.testing.assert_allclose(a, b, atol=relative * np.abs(b).max())
        else:
            np.testing.assert_array_equal(a, b)


# Each rule, on numbers that a factor makes small or large, so that they have other encodings.

X = np.float32([[1.5, -0.75, 2.0, 0.25], [0.5, 1.25, -2.0, 1.0]])
Y = np.float32([[0.5, 1.5, -1.0, 2.0], [-0.25, 0.75, 1.0, -1.5]])
AT = np.int32([3, 1])


def _pooled(x, y):
    pool = lambda v: lax.reduce_window(v, -jnp.inf, lax.max, (1, 2), (1, 2), "VALID")  # noqa: E731
    moved = jax.grad(lambda v: (pool(v) * y[:, :2]).sum())(x)
    return pool(x), moved, lax.reduce_window(x, 0.0, lax.add, (1, 2), (1, 1), "VALID")


# By the power of the factor that results have.
RULES = {
    0: lambda x, y: (
        (x < y, x >= 0, x == y, jnp.argmax(x, 1), jnp.sign(x)),
        (x / y, jax.nn.softmax(x / y), x * lax.rsqrt(y * y)),
    ),
    1: lambda x, y: (
        (x + y, x - y, -x, x.sum(1), jnp.cumsum(x, 1)),
        (x.T, x[:, 1:3], x[::-1], jnp.stack([x, y]), jnp.pad(x, 1), x[:, :1] + y),
        (x[:, AT], x.at[0, 1].set(y[0, 0]), x.at[:, AT].add(y[:, :2])),
        (jnp.where(x > y, x, y), jnp.where(x > y, x, 0), jnp.abs(x), jnp.clip(x, 0, y)),
        (x.max(1), x.min(0), jnp.maximum(x, y), jnp.where(np.arange(4) < 3, x, -jnp.inf).max(1)),
        (x * 0.3, x * jnp.float32(-2), x / 3, x / 0.7, x @ np.full((4, 2), 0.1, np.float32)),
        (jnp.sqrt(y * y), (x > 0).astype(jnp.float32) * y, jnp.tanh(x / y) * y),
        jax.jit(lambda v: jax.checkpoint(lambda u: u * 2 + y)(v))(x),
        lax.scan(lambda c, v: (c * 0.5 + v, c), y[0], x),
        lax.fori_loop(0, x.shape[0], lambda i, c: c * 0.5 + x, y),
        lax.cond(x[0, 0] > y[0, 0], lambda: x * 2, lambda: y),
    ),
    2: lambda x, y: (x * y, x**2, x @ y.T, jnp.square(y)),
    3: lambda x, y: x**3,
}


def of_factor(factor):
    """All rules on numbers of a size, their results brought back to that of numbers near one."""

    def f(x, y):
        x, y = jnp.asarray(x) * np.float32(factor), jnp.asarray(y) * np.float32(factor)
        results = {
            n: jax.tree.map(lambda v, n=n: v * factor**-n if v.dtype.kind == "f" else v, g(x, y))
            for n, g in RULES.items()
        }
        return results, _pooled(x, y / factor)[0] / factor

    return f


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_rules_take_numbers_in_any_encoding(factor):
    f = of_factor(factor)
    close(planned(f, X, Y), f(X, Y), 2e-4)


def some(x, y):
    """A few of the rules, for other rings and protocols."""
    x, y = x / 64, y / 64
    chosen = jnp.where(x > y, x, y).max(1)
    loop = lax.fori_loop(0, 2, lambda i, c: c * 0.5 + x, y)
    return chosen * 64, loop * 64, (x @ y.T) * 2.0**12, jnp.sqrt(y * y) * 64, x / y


@pytest.mark.parametrize(("name", "relative"), [("32", 0.02), ("decimal", 1e-3)])
def test_rules_in_other_rings_and_bases(name, relative):
    close(planned(some, X, Y, smpc=PROTOCOLS[name]), some(X, Y), relative)


def test_rules_among_parties():
    close(planned(some, X, Y, smpc=jsmpc.Replicated3()), some(X, Y), 1e-5)


# What the default encoding cannot hold.

LARGE = {
    "1e4 * 1e4": (lambda x: (x * x) / 1e4, np.float32([1e4, 123.0])),
    "3e4 * 3e4": (lambda x: (x * x) / 1e4, np.float32([3e4, -2e4])),
    "exp(12)": (lambda x: jnp.exp(x) * jnp.exp(x) / 1e6, np.float32([12.0, 3.0])),
    "variance": (
        lambda x: jnp.var(x),
        (1e4 + 3 * np.random.default_rng(0).standard_normal(10**5)).astype(np.float32),
    ),
    "softmax": (jax.nn.softmax, np.float32([500.0, 499.0, 498.5, -500.0])),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_numbers(name):
    f, x = LARGE[name]
    close(planned(f, x), jax.jit(f)(x), 1e-3 if name == "variance" else 1e-4)


def test_a_matrix_product_in_the_small_ring():
    x = np.full((3, 50), 40, np.float32)
    f = lambda x: (x @ x.T) / 1e3  # noqa: E731
    close(planned(f, x, smpc=PROTOCOLS["32"]), f(x), 0.02)
    assert abs(jsmpc.reveal(jsmpc.secure(f)(KEY, jsmpc.share(KEY, x, PROTOCOLS["32"])))[0, 0]) < 70


# Plans.


def squares(x):
    return jnp.sqrt(jnp.mean(x * x)) * 1e3


SMALL = np.float32([1e-4, -3e-4])


@pytest.fixture(scope="module")
def plan():
    return jsmpc.calibrate(squares, (SMALL,))


def test_a_plan_is_of_one_function_shape_and_encoding(plan):
    share = lambda x, smpc=None: jsmpc.share(KEY, x, smpc or jsmpc.Replicated3())  # noqa: E731
    with pytest.raises(jsmpc.ProtocolError, match="another function"):
        jsmpc.secure(lambda x: x * x + 1, scales=plan)(KEY, share(SMALL))
    with pytest.raises(jsmpc.ProtocolError, match="other shapes"):
        jsmpc.secure(squares, scales=plan)(KEY, share(np.zeros(3, np.float32)))
    with pytest.raises(jsmpc.ProtocolError, match="bits=64, and the shares have 32"):
        jsmpc.secure(squares, scales=plan)(KEY, share(SMALL * 1e3, jsmpc.Replicated3(bits=32)))
    with pytest.raises(jsmpc.ProtocolError, match="base=2, and the shares have 10"):
        jsmpc.secure(squares, scales=plan)(KEY, share(SMALL * 1e3, DECIMAL))


def test_samples_are_values_of_one_shape():
    with pytest.raises(ValueError, match="needs a sample"):
        jsmpc.calibrate(squares)
    with pytest.raises(ValueError, match="a tuple of arguments, not ndarray"):
        jsmpc.calibrate(squares, SMALL)
    with pytest.raises(ValueError, match="several structures, shapes or dtypes"):
        jsmpc.calibrate(squares, (SMALL,), (SMALL[:1],))
    with pytest.raises(jsmpc.SecretError, match="not shares"):
        jsmpc.calibrate(squares, (jsmpc.share(KEY, SMALL, PROTOCOLS["64"]),))


def test_the_largest_of_all_samples_counts():
    top = lambda *samples: max(  # noqa: E731
        k.top for row in jsmpc.calibrate(squares, *samples).rows.values() for k in row.kept if k
    )
    with pytest.warns(jsmpc.EncodingWarning, match="no room for both"):
        of_both = top((SMALL,), (SMALL * 2**20,))
    assert of_both == top((SMALL * 2**20,)) > top((SMALL,))


def test_a_weak_type_is_that_of_a_share():
    weak = jnp.full(2, 2**-10)
    assert weak.weak_type
    close(planned(squares, weak), squares(weak), 1e-4)


def test_a_plan_is_saved_loaded_and_printed(plan, tmp_path):
    plan.save(tmp_path / "plan.json")
    loaded = jsmpc.Scales.load(tmp_path / "plan.json")
    assert loaded.plan == plan.plan and str(loaded) == str(plan)
    assert re.search(r"^ +\d+ +2\^-\d+ +mul at test_scales.py:\d+ \(squares\)$", str(plan), re.M)
    data = json.loads((tmp_path / "plan.json").read_text())
    for damage in (b"", b"[]", b"{}", json.dumps({**data, "rows": [1]}).encode(), b"\xff"):
        (tmp_path / "damaged.json").write_bytes(damage)
        with pytest.raises(jsmpc.ProtocolError, match="holds no scales"):
            jsmpc.Scales.load(tmp_path / "damaged.json")


def test_numbers_beyond_their_head_room_are_found():
    f = lambda x: (x * x).sum()  # noqa: E731
    scales = jsmpc.calibrate(f, (SMALL,), protocol=PROTOCOLS["64"])
    checked = jsmpc.secure(f, scales=scales, check=True)
    share = lambda x: jsmpc.share(KEY, np.float32(x), PROTOCOLS["64"])  # noqa: E731
    assert jsmpc.reveal(checked(KEY, share(SMALL))) < 1e-5
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        checked(KEY, share([9e3, 1e4]))


def test_a_plan_and_its_checks_agree():
    f = lambda x: (jnp.cumsum(x * 1e-5, 1).sum() * 1e5, (x * 1e5 * 3e4 / 1e9).sum(0))  # noqa: E731
    close(planned(f, X, check=True), f(X), 1e-4)


# Numbers of very different size at different times.


def adapted(steps):
    """D-Adaptation, whose estimates grow from 1e-20 by a factor of 1e11."""
    inputs = np.float32(np.random.default_rng(1).standard_normal((16, 8)))
    targets = inputs @ np.float32(np.random.default_rng(2).standard_normal(8))
    optimizer = optax.contrib.dadapt_adamw(1.0)

    def train(state):
        def step(state, _):
            w, inner = state
            gradient = 1e-3 * jax.grad(lambda w: jnp.mean((inputs @ w - targets) ** 2))(w)
            updates, inner = optimizer.update(gradient, inner, w)
            return (optax.apply_updates(w, updates), inner), None

        return lax.scan(step, state, None, steps)[0]

    return lambda w: train((w, optimizer.init(w))), train


def test_a_plan_warns_where_numbers_grow_beyond_it():
    start, (all_of_it, _), (first, second) = np.full(8, 0.125, np.float32), adapted(30), adapted(15)
    with pytest.warns(jsmpc.EncodingWarning, match=r"^mul at .*dadapt.*:\d+ .*e-20 at another"):
        jsmpc.calibrate(all_of_it, (start,))
    state, secret = start, jsmpc.share(KEY, start, PROTOCOLS["64"])
    for part in (first, second):
        scales = jsmpc.calibrate(part, (state,), protocol=PROTOCOLS["64"])
        secret = jsmpc.secure(part, scales=scales)(KEY, secret)
        state = jax.jit(part)(state)
    off = jsmpc.reveal(secret[0]) - state[0]
    assert np.linalg.norm(off) < 0.02 * np.linalg.norm(state[0] - start)


def test_a_plan_warns_where_a_rule_takes_no_more_digits():
    with pytest.warns(jsmpc.EncodingWarning, match=r"^sin at .*test_scales\.py.* 18 digits"):
        jsmpc.calibrate(lambda x: jnp.sin(x * 1e-7), (X,))
    jsmpc.calibrate(lambda x: jnp.sin(x * 1e-2) + jnp.sin(x * 0), (X,))


def test_roots_and_powers_of_small_numbers():
    f = lambda x: (jnp.cbrt(x * 1e-9) * 1e3, jnp.abs(x * 1e-5) ** 1.5 * 1e7, jnp.cbrt(x * 1e9))  # noqa: E731
    for name, relative in (("64", 1e-5), ("decimal", 3e-3)):
        close(planned(f, X, smpc=PROTOCOLS[name]), f(X), relative)


def test_a_large_factor_leaves_the_digits_of_small_numbers():
    f = lambda x: x * 2.0**-16 * jnp.float32([1, 1e-5]) / 1.1e-6  # noqa: E731
    x = np.float32([1.5, 1.5])
    np.testing.assert_allclose(planned(f, x), f(x), rtol=2e-5)


def test_a_plan_is_of_secrets_alone():
    def f(x):
        y = lax.fori_loop(0, 2, lambda i, c: c / (i + 1), x)
        return y + jnp.where(x > 0, x, 1) * jnp.cos(jnp.arange(2.0))

    made = {row.primitive for row in jsmpc.calibrate(f, (SMALL,)).rows.values()}
    assert made >= {"gt", "select_n", "mul", "add", "div", "scan"}
    assert not made & {"cos", "iota", "convert_element_type"}


# Whole numbers, which have no digits behind the point, beside public numbers that have a fraction.

WHOLE = np.int32([[1, -2, 3], [0, 5, -7]])


def _beside_fractions(i):
    w = i.astype(jnp.float32)
    quarter, one = jnp.full((1, 1), 0.25), i[0, 0]
    return {
        "sums": (w + 0.25, 0.25 - w, w - 0.25, w.sum() + 0.1),
        "compared": (w < 0.25, w == 0.5, w >= -1.5),
        "extremes": (jnp.maximum(w, 0.25), jnp.minimum(0.25, w), jnp.clip(w, -0.25, 0.75)),
        "chosen": (jnp.where(i > 0, w, 0.25), jnp.where(i > 0, 0.25, w)),
        "joined": (
            jnp.concatenate([w, quarter * jnp.ones((1, 3))]),
            jnp.pad(w, 1, "constant", constant_values=0.25),
        ),
        "written": (
            w.at[0, 1].set(0.25),
            w.at[0, 1].add(0.25),
            w.at[0, 1].multiply(0.25),
            w.at[0, 1].max(0.25),
            lax.dynamic_update_slice(w, quarter, (0, 1)),
        ),
        "written in secret": (
            w.at[0, one].set(0.25),
            lax.dynamic_update_slice(w, quarter, (one * 0, one)),
        ),
        "read": (jnp.take(w, np.int32([0, 7]), axis=1, fill_value=0.25, mode="fill"), w[0, one]),
        "gates": (jax.nn.silu(w), jax.nn.gelu(w), jax.nn.sigmoid(w), jnp.tanh(w)),
        "products": (w * 0.3, w * 1000.3, w @ jnp.full((3, 1), 0.3), w / 0.3, w / 3, w.mean()),
        "loops": lax.fori_loop(0, 3, lambda _, c: c * 0.5 + 0.1, w),
    }


def test_whole_numbers_beside_fractions():
    i = jsmpc.share(KEY, WHOLE, PROTOCOLS["64"])
    found = jsmpc.reveal(jsmpc.secure(_beside_fractions)(KEY, i))
    expected = _beside_fractions(jnp.asarray(WHOLE))
    for name, exact in expected.items():
        for a, b in zip(jax.tree.leaves(found[name]), jax.tree.leaves(exact), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-5, err_msg=name)
