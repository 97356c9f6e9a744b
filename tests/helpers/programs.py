"""Programs of protocol operations, run simulated, and projected on the parties."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from harness import BITS, MAKERS, SECRET, A, At, B, Runner, mixed, protocol, signed, words
from jsmpc._src.functions import circuits, comparison, rounding
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.groups import BOOLEAN
from jsmpc._src.runtime.context import Context

COUNT = 700


OFFSETS = (0, 1, -1, 1 << 20, -(1 << 20), (1 << 29) - 1)


each = pytest.mark.parametrize(("name", "bits"), [(name, bits) for name in MAKERS for bits in BITS])


each_secret = pytest.mark.parametrize(
    ("name", "bits"), [(name, bits) for name in SECRET for bits in BITS]
)


def integers(values: np.ndarray) -> np.ndarray:
    """Ring elements as signed Python integers."""
    return signed(values).astype(object)


def words_of(x: np.ndarray, bits: int) -> np.ndarray:
    return x.astype(f"int{bits}").view(f"uint{bits}")


def wrapping(rng: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Ring elements of which many are extreme."""
    ends = words([0, 1, -1, 2 ** (bits - 1), 2 ** (bits - 2), -(2 ** (bits - 2))], bits)
    full = rng.integers(0, 2**bits, shape, f"uint{bits}")
    return np.where(rng.integers(0, 4, shape) == 0, rng.choice(ends, shape), full)


@functools.cache
def runner(program: Any, name: str, bits: int) -> Runner:
    smpc = protocol(name, bits)
    return Runner(smpc, functools.partial(program, smpc))


# --- Elementwise operations -----------------------------------------------------------------------


def elementwise_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any, p: Any, q: Any) -> Any:
    """Arithmetic shares x, y; Boolean shares of bytes p and of ring words q."""
    three = smpc.ring.constant(-3)
    public = jnp.arange(COUNT, dtype=smpc.ring.dtype) * smpc.ring.constant(0x9E3779B97F4A7C15)
    bytes_, words_, bit = Bits(p), Bits(q), Bits(p).low(1)
    pair = x.map(lambda a, b: jnp.stack([a, b]), y)
    sign = smpc.msb(ctx, pair)
    return {
        "add": A(x + y),
        "subtract": A(x - y),
        "negate": A(-x),
        "scale": A(x * three),
        "scale_each": A(x * public),
        "add_ap": A(smpc.add_ap(ctx, x, public)),
        "constant": A(smpc.constant(ctx, public)),
        "mul_aa": A(smpc.mul_aa(ctx, x, y)),
        "square": A(smpc.square(ctx, x)),
        "mul_own": A(smpc.mul_aa(ctx, x, x + y)),
        "xor_bb": B(words_ ^ (words_ >> 3)),
        "and_bb": B(smpc.and_bb(ctx, words_, words_ >> 1)),
        "or_bb": B(smpc.or_bb(ctx, bytes_, bytes_ >> 1)),
        "and_bytes": B(smpc.and_bb(ctx, bytes_, bytes_ << 1)),
        "not_b": B(smpc.not_b(ctx, bit)),
        "xor_bp": B(smpc.xor_bp(ctx, words_, public)),
        "msb": B(sign),
        "b2a": A(smpc.b2a(ctx, bit)),
        "mul_ba": A(smpc.mul_ba(ctx, bit, x)),
        "sum_ba": A(smpc.sum_ba(ctx, (bit, x), (sign.map(lambda w: w[1]), y), (bit, three))),
        "power_of_two": A(smpc.power_of_two(ctx, x)),
        "open": smpc.open(ctx, x),
        "open_boolean": smpc.open(ctx, q, BOOLEAN),
        **{f"open_to_{i}": At(i, smpc.open_to(ctx, x, i)) for i in range(smpc.size)},
        **{
            f"open_boolean_to_{i}": At(i, smpc.open_to(ctx, p, i, BOOLEAN))
            for i in range(smpc.size)
        },
    }


@functools.cache
def elementwise_operands(bits: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(bits)
    x = words(mixed(bits, COUNT, 1), bits)
    y = rng.permutation(words(mixed(bits, COUNT, 2), bits))
    full = rng.integers(0, 2**bits, COUNT, f"uint{bits}")
    x[-200:-100] = full[-200:-100]  # words that no encoding reaches
    y[-100:] = x[-100:]
    p = rng.integers(0, 256, COUNT, np.uint8)
    return x, y, p, full


@functools.cache
def elementwise(name: str, bits: int) -> dict[str, np.ndarray]:
    x, y, p, q = elementwise_operands(bits)
    return runner(elementwise_program, name, bits)(bits + 1, A(x), A(y), B(p), B(q))


def comparison_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any, p: Any) -> Any:
    bit = Bits(p).low(1)
    below = smpc.msbs(ctx, x, OFFSETS)
    return {
        "signs": B(below[0].map(lambda *bits: jnp.stack(bits), *below[1:])),
        "is_zero": B(smpc.is_zero(ctx, x)),
        "less": B(smpc.less(ctx, x, y)),
        "equal": B(smpc.equal(ctx, x, y)),
        "select": A(comparison.select(smpc, ctx, bit, x, y)),
        "relu": A(smpc.relu(ctx, x)),
        "maximum": A(comparison.maximum(smpc, ctx, x, y)),
        "minimum": A(comparison.minimum(smpc, ctx, x, y)),
        "absolute": A(comparison.absolute(smpc, ctx, x)),
    }


@functools.cache
def comparison_operands(bits: int) -> tuple[np.ndarray, ...]:
    """Every pair of extremes with |x - y| < 2^(k-1), random ones, and equal ones."""
    x, y = mixed(bits, COUNT, 3), np.random.default_rng(9).permutation(mixed(bits, COUNT, 4))
    some = [v for v in mixed(bits, 120, 5) if abs(v) in (0, 1, 15, 16, 255, 256, 2 ** (bits - 2))]
    xs = np.concatenate([x, x, np.repeat(np.asarray(some, object), len(some))])
    ys = np.concatenate([y, x, np.tile(np.asarray(some, object), len(some))])
    fits = abs(xs - ys) < 2 ** (bits - 1)
    xs, ys = words(xs[fits], bits), words(ys[fits], bits)
    return xs, ys, np.random.default_rng(7).integers(0, 256, len(xs), np.uint8)


def conversions_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, q: Any) -> Any:
    return {"a2b": B(smpc.a2b(ctx, x)), "b2a_words": A(circuits.b2a_words(smpc, ctx, Bits(q)))}


def rounding_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    scale = smpc.encoding.scale
    return {
        "floor": A(rounding.floor(smpc, ctx, x, scale)),
        "toward_zero": A(rounding.toward_zero(smpc, ctx, x, scale)),
        "decimal": A(rounding.floor(smpc, ctx, x, 1000)),
    }


# --- Convolutions ---------------------------------------------------------------------------------


def convolutions() -> list[tuple[Any, Any, dict[str, Any]]]:
    """Shapes and parameters: forward, and both products of each one's gradient."""
    nhwc = ("NHWC", "HWIO", "NHWC")
    forward = [
        ((2, 6, 5, 3), (3, 3, 3, 2), {"window_strides": (2, 1), "padding": "SAME"}),
        ((1, 7, 7, 2), (2, 2, 2, 3), {"window_strides": (1, 1), "padding": ((-1, 0), (0, 1)),
                                      "rhs_dilation": (2, 3)}),
        ((1, 4, 3, 2), (3, 2, 2, 3), {"window_strides": (1, 2), "padding": ((1, 2), (1, 1)),
                                      "lhs_dilation": (2, 3)}),
        ((2, 5, 5, 4), (3, 3, 2, 6), {"window_strides": (2, 1), "padding": "SAME",
                                      "feature_group_count": 2}),
        ((4, 5, 5, 3), (2, 2, 3, 4), {"window_strides": (1, 1), "padding": "VALID",
                                      "batch_group_count": 2}),
    ]  # fmt: skip
    result = []
    for x, w, options in forward:

        def conv(a: Any, b: Any, options: Any = options) -> Any:
            return lax.conv_general_dilated(a, b, dimension_numbers=nhwc, **options)

        def pulled(a: Any, b: Any, conv: Any = conv) -> Any:
            out, pull = jax.vjp(conv, a, b)
            return pull(out)

        def grads(a: Any, b: Any, pulled: Any = pulled) -> Any:
            return pulled(a, b)

        shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in (x, w)]
        jaxpr = jax.make_jaxpr(grads)(*shapes)
        equations = [e for e in jaxpr.eqns if e.primitive is lax.conv_general_dilated_p]
        assert len(equations) == 3
        result += [(*(v.aval.shape for v in e.invars), e.params) for e in equations]
    one = jax.make_jaxpr(lambda a, b: lax.conv(a, b, (2,), "SAME"))(
        jnp.zeros((2, 3, 7)), jnp.zeros((4, 3, 3))
    )
    equation = one.eqns[-1]
    result.append((*(v.aval.shape for v in equation.invars), equation.params))
    return result


def product_of(params: dict[str, Any]) -> Bilinear:
    """As the interpreter makes it of the equation's parameters."""
    return Bilinear(
        "convolution",
        (
            tuple(params["window_strides"]),
            tuple(map(tuple, params["padding"])),
            tuple(params["lhs_dilation"]),
            tuple(params["rhs_dilation"]),
            params["dimension_numbers"],
            params["feature_group_count"],
            params["batch_group_count"],
        ),
    )
