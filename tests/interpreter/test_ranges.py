"""Ranges of floating-point secrets: what they prove costs no check, and what they say is true."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

import jsmpc
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.runtime.context import Context

KEY = jax.random.key(6)
PLAIN = jsmpc.testing.InsecurePlain()
DECIMAL = jsmpc.FixedPoint(base=10, precision_fractional=3)
RINGS = {
    "64": PLAIN,
    "32": jsmpc.testing.InsecurePlain(bits=32),
    "decimal": jsmpc.testing.InsecurePlain(encoding=DECIMAL),
}
COLUMN = np.float32([[0.3, -2.0, 0.0], [1e-3, 1.0, -0.7], [2.0, 0.1, 0.9], [0.25, -0.01, 1.0]])


def ranged(x, y):
    """Results of which something is known, by every operation that may know it; of any numbers."""
    a, b = jnp.clip(x, -1.0, 1.0), jnp.minimum(jnp.maximum(-0.5, y), 2.0)
    c, bit, place = jnp.maximum(jnp.minimum(x, 3.0), 0.5), x < y, jnp.argmax(x)
    small = (bit.astype(jnp.int8) + 3).astype(jnp.float32)
    return {
        "clipped": (a, b, c, lax.clamp(np.float32(-0.1), y, np.float32(0.2))),
        "half": (nn.relu(x), jnp.minimum(y, 0.25), jnp.minimum(a, y)),
        "sums": (a + b, a - b, 2.5 - a, a + bit, -a, a.sum(), jnp.cumsum(b), x - x + a),
        "products": (a * b, a * a, a**5, a * 3.0, a * 1e-3, b * COLUMN[:, 0], a * bit, c * small),
        "contractions": (a @ b, a @ COLUMN, COLUMN.T @ b, jnp.convolve(a, b), bit @ a),
        "quotients": (a / 7, b.mean(), bit.mean(), a / np.float32([1, 3, -2, 9])),
        "functions": (nn.sigmoid(x), jnp.tanh(y), jnp.sin(x), jnp.cos(y), jnp.sign(x)),
        "of any word": (jnp.log(x), jnp.log1p(y), lax.erf(x), lax.erfc(y)),
        "of numbers": (lax.erf(b), lax.erfc(a), jnp.exp(a), jnp.exp(c - 3.0), jnp.expm1(a)),
        "softmax": (nn.softmax(a), nn.softmax(c * 9.0), nn.log_softmax(a)),
        "magnitudes": (jnp.abs(x), jnp.abs(a), jnp.max(a), jnp.min(b), jnp.ptp(c)),
        "chosen": (
            jnp.where(bit, a, b),
            jnp.where(a > 0, c, 9.0),
            lax.select_n(place % 3, a, b, c),
        ),
        "public": jnp.where(np.array([True, False, True, True]), a, b),
        "moved": (jnp.pad(a, 2, constant_values=-4.0), jnp.stack([a, b, c]), a[::-1], b[1:3]),
        "read": (a[place], b[jnp.array([0, 3])], lax.dynamic_slice(c, (place,), (2,))),
        "written": (a.at[jnp.array([1, 1])].add(b[:2]), a.at[1:3].set(c[:2]), a.at[place].set(3.0)),
        "bits": (bit.astype(jnp.float32), nn.one_hot(place, 4) @ a, small, bit.sum() * 0.5),
        "together": (jnp.prod(a), lax.cumprod(b), jnp.sort(c), (1 - a * a) * (1 + jnp.tanh(x))),
        "branches": lax.cond(x[0] > 0, lambda: a + b, lambda: a * c),
        "loop": lax.scan(lambda s, v: (s * 0.5 + v, s * v), a[0], b),
        "unrolled": lax.fori_loop(0, 3, lambda _, v: v + a, b, unroll=True),
    }


def words_of_all_kinds(smpc):
    """Words that stand for moderate numbers, and others that nobody would encode."""
    rng, scale, bits = np.random.default_rng(8), smpc.encoding.scale, smpc.bits
    signed = np.dtype(f"int{bits}")
    info = np.iinfo(signed)
    for size in (1.0, 3.0, 30.0):
        yield (rng.uniform(-size, size, (2, 4)) * scale).astype(signed)
    yield np.round(np.array([[1, -1, 0, 2], [-0.5, 2, 3, 0.5]]) * scale).astype(signed)
    for _ in range(3):
        yield rng.integers(info.min, info.max, (2, 4), signed)
    ends = [info.max, info.min, info.max // 2, 0], [info.min + 2, 1, -1, info.max]
    yield np.array(ends, signed)
    near = (rng.uniform(0, 4, (2, 4)) * scale).astype(signed)
    yield np.array([[info.min], [info.max]], signed) + near * np.array([[1], [-1]], signed)


@pytest.mark.parametrize("ring", RINGS)
def test_the_words_of_every_equation_are_in_their_ranges(ring):
    smpc, noted = RINGS[ring], []
    jaxpr = jax.make_jaxpr(ranged)(*np.zeros((2, 4), np.float32))

    @dataclasses.dataclass(frozen=True)
    class Watched(Evaluator):
        watching: bool = dataclasses.field(default=True, kw_only=True)

        def enter(self, ctx: Context) -> Evaluator:
            return dataclasses.replace(super().enter(ctx), watching=False)

        def apply(self, operands: list[Any]) -> list[Any]:
            results = super().apply(operands)
            for x in results if self.watching else ():
                if is_secret(x) and jnp.issubdtype(x.dtype, jnp.floating) and x.bounds:
                    noted.append((self.place, x.bounds, x.value.example))
            return results

    def run(*words):
        noted.clear()
        network = Network(1)
        ctx = Context(network, smpc.setup(network, [jnp.zeros(8, jnp.uint32)]))
        secrets = [Secret(smpc.constant(ctx, w), np.dtype(np.float32)) for w in words]
        out = Watched(smpc, ctx).evaluate(jaxpr, secrets)
        known.extend(is_secret(x) and x.bounds is not None for x in out)
        return [word for _, _, word in noted]

    known: list[bool] = []
    with compat.protocol_mode():
        compiled = jax.jit(run)
        for words in words_of_all_kinds(smpc):
            results = compiled(*words.view(smpc.ring.dtype))
            for (place, (low, high), _), word in zip(noted, results, strict=True):
                above = (np.asarray(word).astype(object) - low) % (1 << smpc.bits)
                assert np.all(above <= high - low), (place, low, high, word)
    assert sum(known) > 0.8 * len(known)


PROTOCOLS = {
    "3": jsmpc.Replicated3(),
    "2": jsmpc.Additive(),
    "3 of 32 bits": jsmpc.Replicated3(bits=32),
    "3 decimal": jsmpc.Replicated3(encoding=DECIMAL),
}
X = np.linspace(-3, 3, 6).astype(np.float32)
W = np.linspace(-2, 2, 12).astype(np.float32).reshape(6, 2)
LABELS = np.int32([3, 0])
PROVEN = {
    "sigmoids": (lambda x: nn.sigmoid(x) * nn.sigmoid(-x), X),
    "one-hot rows": (lambda i, w: nn.one_hot(i, 6) @ jnp.clip(w, -1, 1), LABELS, W),
    "attention": (lambda x, w: nn.softmax(jnp.clip(x, -2, 2)) @ jnp.clip(w, -1, 1), X, W),
    "mean of bits": (lambda x: (x > 0).mean(), X),
    "variance of bits": (lambda x: (x > 0).astype(jnp.float32).var(), X),
    "clipped probability": (lambda x: jnp.log(jnp.clip(x, 0.125, 0.875)) * 0.5, X),
    "waves": (lambda x: jnp.sin(x) ** 2 + jnp.cos(x) * jnp.tanh(x), X),
    "signs": (lambda x: jnp.sign(x) * jnp.where(x > 1, 3.0, -0.5), X),
    "decay": (lambda x: jnp.exp(-jnp.abs(jnp.clip(x, -2, 2))) - 1, X),
    "derivatives": (jax.grad(lambda x: (jnp.tanh(x) + nn.sigmoid(x)).sum()), X),
    "small integers": (lambda i: (i.astype(jnp.float32) ** 2).sum() / 7, np.int8([3, -7])),
}


def cost(f, smpc, args, **options):
    total = jsmpc.secure(f, **options).cost(*jsmpc.share(KEY, args, smpc))
    return total.rounds, total.bytes_sent


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "2"])
def test_what_is_proven_costs_no_check(protocol):
    smpc = PROTOCOLS[protocol]
    for name, (f, *args) in PROVEN.items():
        assert cost(f, smpc, args) == cost(f, smpc, args, check=True), name
    assert cost(lambda x: x * x, smpc, [X]) < cost(lambda x: x * x, smpc, [X], check=True)


def test_a_checked_product_bounds_what_follows():
    def f(x):
        y = x * x
        return y + y

    smpc = PROTOCOLS["3"]
    assert cost(f, smpc, [X], check=True) == cost(lambda x: x * x, smpc, [X], check=True)


def unrolled(x):
    return lax.fori_loop(0, 8, lambda _, v: v * 60.0, nn.sigmoid(x), unroll=True)


def looped(x):
    return lax.fori_loop(0, 8, lambda _, v: v * 60.0, nn.sigmoid(x))


# Of each: what leaves the range of 64 bits, an argument with which it does, and one that is fine.
WRONG = {
    "a wide clip": (lambda x: jnp.clip(x, -(2.0**20), 2.0**20) ** 2, 2.0**20, 5.0),
    "a large factor": (lambda x: (nn.sigmoid(x) * 2.0**25) ** 2, 9.0, -12.0),
    "many terms": (
        lambda x: (lambda y: y @ y)(jnp.broadcast_to(jnp.clip(x, -3e3, 3e3), 9)),
        3e3,
        1e3,
    ),
    "a sum of many": (
        lambda x: jnp.broadcast_to(jnp.clip(x, -(2.0**43), 2.0**43), 4).sum(),
        2.0**43,
        9.0,
    ),
    "windows": (
        lambda x: jnp.cumsum(jnp.broadcast_to(jnp.minimum(jnp.abs(x), 2.0**42), 9)),
        2.0**42,
        9.0,
    ),
    "a loop": (looped, 5.0, -19.0),
    "a loop unrolled": (unrolled, 5.0, -19.0),
    "one case": (lambda x: jnp.where(x > 1, x, nn.sigmoid(x)) ** 2, 2.0**20, 0.0),
    "one part": (lambda x: jnp.stack([nn.sigmoid(x), x])[1] ** 2, 2.0**20, 9.0),
    "a maximum": (lambda x: jnp.maximum(x, 0.5) ** 2, 2.0**20, -(2.0**20)),
    "a minimum": (lambda x: jnp.minimum(x, 0.5) ** 2, -(2.0**20), 2.0**20),
    "a large addend": (lambda x: (nn.sigmoid(x) + 2.0**22) ** 2, 0.0, None),
    "an exponential": (lambda x: jnp.exp(jnp.minimum(x, 16)) ** 2, 16.0, 2.0),
    "bits": (lambda x: ((x > 0) * 2.0**22) ** 2, 1.0, -1.0),
    "written": (lambda x: jnp.zeros(2).at[0].set(x)[0] ** 2, 2.0**20, 9.0),
    "added": (lambda x: jnp.ones(2).at[np.array([0, 0])].add(x)[0] ** 2, 2.0**20, 9.0),
    "a remainder": (lambda x: (jnp.tanh(x) - 0.25 * x) ** 2, 2.0**20, 9.0),
    "a divisor": (lambda x: (nn.sigmoid(x) / 1e-6) ** 2 / 2.0**9, 9.0, -12.0),
    "a wide integer": (lambda x: (x.astype(jnp.int32) * 2**20).astype(float) ** 2, 9.0, 0.0),
    "a public branch": (lambda x: lax.cond(True, lambda: x, lambda: 0 * x) ** 2, 2.0**20, 1.0),
}


@pytest.mark.parametrize("name", WRONG)
def test_no_range_hides_an_overflow(name):
    f, large, small = WRONG[name]
    checked = jsmpc.secure(f, check=True)
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        checked(KEY, jsmpc.share(KEY, np.float32(large), PLAIN))
    if small is not None:
        assert np.isfinite(
            jsmpc.reveal(checked(KEY, jsmpc.share(KEY, np.float32(small), PLAIN)))
        ).all()


def test_what_an_overflow_elsewhere_made_is_found():
    """A share may hold any word, whatever its dtype and encoding hold."""
    spoilt = jsmpc.secure(lambda x: x * x)(KEY, jsmpc.share(KEY, np.float32(3e6), PLAIN))
    f = jsmpc.secure(lambda x: (jnp.clip(x, -9, 9) ** 2, x * x), check=True)
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        f(KEY, spoilt)
    clipped = jsmpc.secure(lambda x: jnp.clip(x, 0.5, 9) * 2, check=True)(KEY, spoilt)
    assert 1 <= jsmpc.reveal(clipped) <= 18


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_checks_that_stay_tell_on_shares(protocol):
    smpc = PROTOCOLS[protocol]
    limit = (smpc.ring.bound / smpc.encoding.scale**2) ** 0.5
    f = jsmpc.secure(lambda x: (nn.sigmoid(x) * np.float32(2 * limit)) ** 2, check=True)
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        f(KEY, jsmpc.share(KEY, np.float32(4), smpc))
    np.testing.assert_allclose(
        jsmpc.reveal(f(KEY, jsmpc.share(KEY, np.float32(-4), smpc))),
        (limit * 2 / (1 + np.exp(4))) ** 2,
        rtol=0.2,
    )


def test_a_plan_proves_nothing_by_itself():
    """What samples were like is no range: numbers beyond it are found out."""
    f = lambda x: (jnp.clip(x, -1e3, 1e3) ** 2).sum()  # noqa: E731
    small = np.full(4, 1e-3, np.float32)
    scales = jsmpc.calibrate(f, (small,), protocol=PLAIN)
    checked = jsmpc.secure(f, scales=scales, check=True)
    assert jsmpc.reveal(checked(KEY, jsmpc.share(KEY, small, PLAIN))) < 1e-5
    with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
        checked(KEY, jsmpc.share(KEY, np.full(4, 1e3, np.float32), PLAIN))


def test_a_result_that_is_stored_in_more_digits_is_checked():
    f = jsmpc.secure(lambda x: x.astype(jnp.float32), check=True)
    assert jsmpc.reveal(f(KEY, jsmpc.share(KEY, np.int32(7), PLAIN))) == 7
    beyond = pytest.raises(jsmpc.EncodingError, match="a result of the function")
    with beyond, jax.enable_x64(True):
        f(KEY, jsmpc.share(KEY, np.int64(2**50), PLAIN))


def test_integers_that_are_only_taken_not_to_overflow_prove_nothing():
    functions = [
        lambda i: (i**3).astype(jnp.float32) * 1000.0,
        lambda i: (-(((i > 9) * np.int32(2**20)) ** 3)).astype(jnp.float32) * 1000.0,
    ]
    for f in functions:
        checked = jsmpc.secure(f, check=True)
        with pytest.raises(jsmpc.EncodingError, match="leaves the range"):
            checked(KEY, jsmpc.share(KEY, np.int32(2**20), PLAIN))
        assert jsmpc.reveal(checked(KEY, jsmpc.share(KEY, np.int32(9), PLAIN))) == f(np.int32(9))
