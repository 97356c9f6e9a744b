"""`jsmpc.diagnose` names the line where fixed point goes wrong, and measures it rightly."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc

KEY = jax.random.key(3)
X = np.linspace(-3, 3, 24, dtype=np.float32).reshape(4, 6) + np.float32(0.01)
DEFAULT = jsmpc.testing.InsecurePlain(encoding=jsmpc.Replicated3().encoding)


def secure(f, *args, smpc=DEFAULT):
    return jsmpc.reveal(jsmpc.secure(f)(KEY, *jsmpc.share(KEY, args, smpc)))


def line_of(f, text):
    """The file and line of the source of f that holds a text."""
    lines, start = inspect.getsourcelines(f)
    return f"{__file__}:{start + next(i for i, line in enumerate(lines) if text in line)} "


def test_names_the_line_where_values_overflow():
    def f(x):
        y = x * 1000.0
        z = y * y
        w = z * z
        return w * 1e-9 + 1.0

    found = jsmpc.diagnose(f)(X)
    assert found.first_overflow.line.startswith(line_of(f, "w = z * z"))
    assert found.first_overflow.largest > 1e5 and found.first_underflow is None
    assert "Overflow begins at mul" in found.verdict and "test_diagnose.py" in found.verdict
    assert "a plan of jsmpc.calibrate" in found.verdict
    assert "use the 64-bit ring" not in found.verdict
    narrow = jsmpc.diagnose(f, jsmpc.Replicated3(bits=32))(X)
    assert narrow.first_overflow.line.startswith(line_of(f, "z = y * y"))
    assert "use the 64-bit ring" in narrow.verdict


def test_a_product_overflows_before_its_truncation():
    """2^28 fits the encoding of 2^44, but not with 36 fractional bits."""
    found = jsmpc.diagnose(lambda x: x * x)(np.float32(2.0**14))
    (overflow,) = [e for e in found.equations if e.overflow]
    assert overflow.primitive == "mul" and 3 < overflow.largest < 5
    fits = jsmpc.diagnose(lambda x: x * x)(np.float32(2.0**12.9))
    assert fits.first_overflow is None and 0.8 < fits.equations[-1].largest < 1


def test_names_the_line_where_values_underflow():
    def f(x):
        y = x * 1e-3 * x
        z = y * 1e-4
        return z * 1e4

    found = jsmpc.diagnose(f)(X)
    assert found.first_underflow.line.startswith(line_of(f, "z = y * 1e-4"))
    assert found.first_underflow.lost > 0.9 and found.first_underflow.smallest < 0.1
    assert found.first_overflow is None
    assert "Underflow begins" in found.verdict and "precision_fractional" in found.verdict
    assert found.verdict.index("a plan of jsmpc.calibrate") < found.verdict.index("raise precision")
    zeros = jsmpc.diagnose(lambda x: x * 0.0)(X)
    assert zeros.first_underflow is None and zeros.equations[-1].smallest is None


def test_lists_all_that_is_unsupported_and_goes_on():
    def f(x):
        y = lax.lgamma(x * x + 1)
        spectrum = jnp.fft.fft(y)
        z = spectrum.real + jnp.imag(spectrum)
        w = lax.while_loop(lambda s: s[0] < 3, lambda s: s * 2 + 1, jnp.abs(x[0]))
        return lax.digamma(z * z + 1) * w

    found = jsmpc.diagnose(f)(X)
    names = [e.primitive for e in found.unsupported]
    assert {"lgamma", "fft", "while", "digamma"} <= set(names)
    lgamma = found.unsupported[0]
    assert lgamma.line.startswith(line_of(f, "lax.lgamma"))
    assert lgamma.note and lgamma.note in str(found)
    assert "Fails on secrets: lgamma" in found.verdict
    assert found.equations[-1].primitive == "mul"
    with jax.enable_x64(True):
        expected = f(jnp.asarray(X, jnp.float64))
    np.testing.assert_allclose(found.expected, expected, rtol=1e-5)
    np.testing.assert_allclose(found.result, expected, rtol=1e-3, atol=1e-3)


def test_an_error_of_the_encoding_is_reported_at_its_line():
    def f(x, bound):
        y = x * np.float32(1e20)
        return y * 1e-20 + bound

    found = jsmpc.diagnose(f, public_argnums=1)(X, np.float32(1e30))
    failed = [e for e in found.equations if e.failed]
    assert [e.failed for e in failed] == ["EncodingError"] * 2 and not found.unsupported
    assert failed[0].line.startswith(line_of(f, "y = x")) and failed[1].primitive == "add"
    assert "Fails on secrets: mul" in found.verdict and "and 1 more" in found.verdict
    with pytest.raises(jsmpc.EncodingError):
        secure(lambda x: x * np.float32(1e20), X)


@pytest.mark.parametrize("low", [-np.inf, np.finfo(np.float32).min])
def test_masks_are_no_overflow(low):
    found = jsmpc.diagnose(lambda x: jnp.max(jnp.where(x > 0, x, low), 1))(X)
    assert not any(e.trouble for e in found.equations)
    assert found.result_error < found.ulp
    assert jsmpc.diagnose(lambda x: 1 / (x - x))(X).first_overflow.primitive == "div"


def test_a_constant_that_the_encoding_loses_is_noted():
    found = jsmpc.diagnose(lambda x: x + 1e-8)(X)
    assert "rounded to zero" in found.equations[-1].note and "rounded to zero" in str(found)


def train(params, images, targets):
    def loss(p):
        hidden = jax.nn.relu(images @ p["w1"] + p["b1"])
        return jnp.mean((hidden @ p["w2"] + p["b2"] - targets) ** 2)

    value, grads = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), value


def training_arguments():
    draw = np.random.default_rng(0).normal
    shapes = {"w1": (6, 5), "b1": (5,), "w2": (5, 2), "b2": (2,)}
    params = {name: draw(size=s).astype(np.float32) for name, s in shapes.items()}
    return params, X, draw(size=(4, 2)).astype(np.float32)


def test_a_training_step_has_the_errors_of_a_direct_computation():
    args = training_arguments()
    found = jsmpc.diagnose(train)(*args)
    direct = secure(train, *args)
    jax.tree.map(np.testing.assert_array_equal, found.result, direct)
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), args)
    with jax.enable_x64(True):
        expected = train(*wide)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8),
        found.expected,
        expected,
    )
    pairs = zip(jax.tree.leaves(direct), jax.tree.leaves(expected), strict=True)
    error = max(np.abs(np.asarray(a, np.float64) - np.asarray(b)).max() for a, b in pairs)
    assert found.result_error == pytest.approx(error, rel=1e-2)
    assert not any(e.trouble for e in found.equations)
    for e in found.equations:
        if e.primitive in ("dot_general", "square"):
            assert 0 < e.added_error_ulp <= 1, e
    assert found.worst(1)[0].max_error == max(e.max_error for e in found.equations)
    assert "Fits; the result's error is" in str(found)
    assert any("test_diagnose.py" in e.line and "loss" in e.line for e in found.worst(3))
    inputs = [e for e in found.equations if e.primitive == "input"]
    assert len(inputs) == 6 and inputs[0].line == "argument [0]['b1']"
    assert all(0 < e.max_error_ulp <= 0.5 for e in inputs)


def test_secret_products_add_at_most_one_unit():
    found = jsmpc.diagnose(lambda x: (x * x, x @ x.T, (x * 100) * x))(X)
    products = [e for e in found.equations if e.primitive in ("mul", "dot_general")]
    assert len(products) == 4 and all(e.added_error_ulp <= 1 for e in products)
    assert max(e.max_error_ulp for e in products) > 100


def test_decimal_digits_reduce_the_error():
    errors = []
    for digits in (2, 4):
        encoding = jsmpc.FixedPoint(base=10, precision_fractional=digits)
        smpc = jsmpc.Additive(encoding=encoding)
        found = jsmpc.diagnose(train, smpc)(*training_arguments())
        assert found.ulp == 10.0**-digits
        errors.append(found.result_error)
    assert errors[1] < errors[0] / 20


def test_a_scan_is_followed_by_iteration():
    def f(x):
        def step(carry, row):
            grown = carry * carry
            return grown, row + grown

        return lax.scan(step, x[0] * 2.0, x, reverse=True)

    x = np.full((6, 2), 1.5, np.float32)
    found = jsmpc.diagnose(f)(x)
    grown = found.first_overflow
    assert grown.line.startswith(line_of(f, "grown = carry * carry")) and grown.iterations == 6
    assert "overflow from iteration 4 on" in grown.note  # 3^32 > 2^26
    small = jsmpc.diagnose(f)(x / 4)
    assert small.first_overflow is None
    jax.tree.map(np.testing.assert_array_equal, small.result, secure(f, x / 4))


def control(x, n):
    doubled = lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 0.7), (0, x[2]))[1]
    chosen = lax.cond(x[0, 0] > 0, lambda a: a + 1, lambda a: a * a, x[1])
    switched = lax.switch(n, [jnp.negative, lambda a: a * 0.3, jnp.abs], x[1])
    summed = lax.fori_loop(0, 3, lambda i, c: c + x[i] * 0.5, jnp.zeros(6))
    revealed = jsmpc.reveal(x[0]) * 3.0
    return doubled, chosen, switched, summed, revealed, jnp.argmax(x, 1), x[3].astype(jnp.int32)


def test_control_flow_is_as_in_a_secure_run():
    found = jsmpc.diagnose(control, public_argnums=1)(X, 2)
    shared = jsmpc.share(KEY, X, DEFAULT)
    direct = jsmpc.reveal(jsmpc.secure(control)(KEY, shared, 2))
    jax.tree.map(np.testing.assert_array_equal, found.result, direct)
    for ours, theirs in zip(found.expected, control(jnp.asarray(X), 2), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    times = {e.iterations for e in found.equations}
    assert {1, 2, 3} <= times and not any(e.trouble for e in found.equations)
    inside = [e for e in found.equations if "control.<locals>" in e.line and e.primitive == "mul"]
    assert len(inside) == 3  # both branches of the secret condition are examined


def test_a_failure_in_a_branch_or_a_carry_is_reported_inside():
    def f(x):
        low = lax.scan(lambda c, row: (jnp.maximum(c, row), None), jnp.full(6, -jnp.inf), x)[0]
        return lax.cond(x[0, 0] > 0, lambda a: lax.lgamma(a * a + 1), lambda a: a, low)

    found = jsmpc.diagnose(f)(X)
    assert [e.primitive for e in found.unsupported] == ["lgamma"]
    assert [e.failed for e in found.equations if e.primitive == "scan"] == ["EncodingError"]
    np.testing.assert_allclose(found.result, X.max(0), atol=1e-5)


def test_decisions_that_differ_are_counted():
    ulp = jsmpc.diagnose(jnp.sin)(1.0).ulp
    found = jsmpc.diagnose(lambda x: x > 0.8 * ulp)(np.float32([0, 1, 1.2, 2]) * ulp)
    assert "2 of 4 decisions differ" in found.equations[-1].note
    assert found.equations[-1].added_error == 1


def test_what_is_no_secret_is_not_diagnosed():
    def f(x, key, how):
        return jax.random.normal(key, (2,)) * how("pi") + x

    found = jsmpc.diagnose(f, static_argnums=2)(1.0, KEY, lambda _: 3.14)
    assert [e.primitive for e in found.equations] == ["input", "convert_element_type", "add"]
    public = jsmpc.diagnose(lambda x, y: x * y, public_argnums=(0, 1))(2.0, y=3.0)
    assert [e.line for e in public.equations] == ["argument ['y']", public.equations[-1].line]
    nothing = jsmpc.diagnose(lambda x: x + 1, public_argnums=0)(2.0)
    assert nothing.equations == () and "nothing is secret" in str(nothing)


def test_shares_are_refused():
    with pytest.raises(jsmpc.SecretError, match="needs the values"):
        jsmpc.diagnose(lambda x: x)(jsmpc.share(KEY, X, DEFAULT))


def test_plots_the_error_against_depth():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    found = jsmpc.diagnose(lambda x: lax.lgamma(x * 1e-8 * x) * 1e9 * x)(X)
    ax = found.plot()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"error", "overflow", "underflow", "failed", "one ulp"} <= set(labels)
    assert ax.get_xlabel() and ax.get_ylabel() and ax.get_yscale() == "symlog"
    assert found.plot(ax) is ax


@pytest.mark.parametrize(
    "x", [np.float32([1.0, np.nan]), np.float32([-1.0, 4.0])], ids=["in", "made"]
)
def test_nan_does_not_fit(x):
    found = jsmpc.diagnose(lambda v: jnp.log(v) * 2)(x)
    first = "input" if np.isnan(x).any() else "log"
    assert found.first_nan.primitive == first and found.first_nan.trouble
    assert f"NaN begins at {first}" in found.verdict and "Fits" not in str(found)
    assert jsmpc.diagnose(lambda v: jnp.log(v) * 2)(np.abs(np.nan_to_num(x) + 3)).first_nan is None


def test_plots_no_error_as_zero():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    found = jsmpc.diagnose(lambda x: (x + x) * 0.3)(jnp.array([1.5, 2.0]))
    line = found.plot().get_lines()[0]
    heights = [e.max_error for e in found.equations]
    assert line.get_ydata().tolist() == heights and min(heights) == 0 < max(heights)
    zero, (low, high) = 0.0, line.axes.get_ylim()
    assert low <= zero < high


# What one party alone learns.

PAIR = jsmpc.Additive(parties=("bob", "alice"), dealer="james")


def test_a_value_revealed_to_a_party_says_to_whom_and_stays_there():
    def f(x):
        mine = jsmpc.reveal(x * 0.5, to="bob") + 1
        rows = lax.scan(lambda c, v: (c + v, jsmpc.reveal(v, to=1)), x[0], x)[1]
        return mine, rows

    found = jsmpc.diagnose(f, PAIR)(X)
    notes = [e.note for e in found.equations if e.primitive == "reveal"]
    assert notes == ["revealed to bob alone", "revealed to alice alone"]
    assert not found.unsupported and "revealed to bob alone" in str(found)
    np.testing.assert_allclose(found.result[0], X * 0.5 + 1, atol=1e-5)
    np.testing.assert_allclose(found.result[1], X, atol=1e-5)


MISUSED = {
    "meets a secret": lambda x, mine: mine + x,
    "a secret, on which all": lambda x, mine: (
        lax.scan(lambda c, v: (c, jsmpc.reveal(v, to="bob")), x[0], x)[1] + x
    ),
    "enters a loop": lambda x, mine: lax.scan(lambda c, v: (c, None), mine, x)[0],
    "revealed further": lambda x, mine: jsmpc.reveal(mine, to="alice"),
    "carried on by a loop": lambda x, mine: lax.fori_loop(
        0, 2, lambda _, c: jsmpc.reveal(c * 0.5, to="bob"), x
    ),
}


@pytest.mark.parametrize("why", MISUSED)
def test_what_a_party_alone_knows_meets_nothing_else(why):
    f = lambda x: MISUSED[why](x, jsmpc.reveal(x, to="bob"))  # noqa: E731
    found = jsmpc.diagnose(f, PAIR)(X)
    assert [why in e.note for e in found.unsupported] == [True]
    with pytest.raises(jsmpc.UnsupportedError, match=why):
        secure(f, X, smpc=PAIR)


def test_a_party_of_another_protocol_is_told_from_those_there_are():
    found = jsmpc.diagnose(lambda x: jsmpc.reveal(x, to="bob"))(X)
    (failed,) = [e for e in found.equations if e.failed]
    assert "'bob' is no party" in failed.note and "jsmpc.diagnose(f, protocol)" in failed.note


def test_what_a_public_condition_leaves_out_is_no_trouble():
    f = lambda x, y: 2 * jnp.where(y > 0, x * jnp.sqrt(y), x)  # noqa: E731
    y = np.tile(np.float32([4, -4]), (4, 3))
    found = jsmpc.diagnose(f, public_argnums=1)(X, y)
    assert found.verdict.startswith("Fits")
    np.testing.assert_allclose(found.result, found.expected, atol=1e-4)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x * jnp.sqrt(y) + 1,
        lambda x, y: jnp.where(y < 0, x * jnp.sqrt(y), x),
        lambda x, y: jnp.where(y > 0, jnp.sum(x * jnp.sqrt(y)), x),
        lambda x, y: lax.fori_loop(0, 2, lambda _, c: c * 0.5, x * jnp.sqrt(y)),
    ],
)
def test_what_counts_and_does_not_fit_fails(f):
    found = jsmpc.diagnose(f, public_argnums=1)(X, np.tile(np.float32([4, -4]), (4, 3)))
    (failed,) = [e for e in found.equations if e.failed]
    assert failed.failed == "EncodingError" and "a public operand is NaN" in failed.note
    assert failed.primitive == "mul" or "mul at" in failed.note
