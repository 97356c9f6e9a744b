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
    print(len(noted), sum(known), len(known))
