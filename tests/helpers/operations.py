"""The operations of a protocol, by name: on shares of words and bits, to a list of shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

import jsmpc
from harness import A, B
from jsmpc._src.functions import exponential, extremes
from jsmpc._src.protocols.bits import Bits
from jsmpc._src.ring import bilinear
from jsmpc._src.runtime.context import Context


def _matmul(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> list[Any]:
    left, right = x.map(lambda w: w.reshape(-1, 100)), y.map(lambda w: w.reshape(100, -1))
    return [smpc.product(ctx, bilinear.MATMUL, left, right)]


def _largest(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> list[Any]:
    both = x.map(lambda a, b: jnp.stack([a, b]), y)
    return list(extremes.argument_of_largest(smpc, ctx, both))


def _linear(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> list[Any]:
    moved = smpc.add_ap(ctx, x, jnp.full(x.shape, 5, smpc.ring.dtype))
    return [x + y, x - y, moved * smpc.ring.constant(3)]


def _bits(*shares: Any) -> list[Any]:
    return [Bits(x, 1) for x in shares]


OPERATIONS: dict[str, tuple[tuple[type, ...], Callable[..., list[Any]]]] = {
    "linear": ((A, A), _linear),
    "mul_aa": ((A, A), lambda smpc, ctx, x, y: [smpc.mul_aa(ctx, x, y)]),
    "mul_aa twice": (
        (A, A),
        lambda smpc, ctx, x, y: [smpc.mul_aa(ctx, x, y), smpc.mul_aa(ctx, y, x)],
    ),
    "mul_aa with divisor": ((A, A), lambda smpc, ctx, x, y: [smpc.mul_aa(ctx, x, y, 1 << 18)]),
    "square": ((A,), lambda smpc, ctx, x: [smpc.square(ctx, x)]),
    "matmul": ((A, A), _matmul),
    "truncate": ((A,), lambda smpc, ctx, x: [smpc.truncate(ctx, x, 1 << 18)]),
    "truncate decimal": ((A,), lambda smpc, ctx, x: [smpc.truncate(ctx, x, 1000)]),
    "and_bb": ((B, B), lambda smpc, ctx, *pq: [smpc.and_bb(ctx, *_bits(*pq))]),
    "or_bb": ((B, B), lambda smpc, ctx, *pq: [smpc.or_bb(ctx, *_bits(*pq))]),
    "msb": ((A,), lambda smpc, ctx, x: [smpc.msb(ctx, x)]),
    "signs": ((A,), lambda smpc, ctx, x: smpc.msbs(ctx, x, (0, 5, -7))),
    "exponential": (
        (A,),
        lambda smpc, ctx, x: [exponential.exponential(smpc, ctx, x, 2.0**-40, 1 << 18)],
    ),
    "is_zero": ((A,), lambda smpc, ctx, x: [smpc.is_zero(ctx, x)]),
    "relu": ((A,), lambda smpc, ctx, x: [smpc.relu(ctx, x)]),
    "largest": ((A, A), _largest),
    "a2b": ((A,), lambda smpc, ctx, x: [smpc.a2b(ctx, x)]),
    "b2a": ((B,), lambda smpc, ctx, p: [smpc.b2a(ctx, *_bits(p))]),
    "mul_ba": ((B, A), lambda smpc, ctx, p, x: [smpc.mul_ba(ctx, *_bits(p), x)]),
    "sum_ba": (
        (B, B, A),
        lambda smpc, ctx, p, q, x: [
            smpc.sum_ba(ctx, *zip(_bits(p, q), (x, smpc.ring.constant(7)), strict=True))
        ],
    ),
    "power_of_two": ((A,), lambda smpc, ctx, x: [smpc.power_of_two(ctx, x)]),
}
