"""The heavy loops in pure XLA: the same bits as the native kernels, on every platform."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array

_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")
_EXACT_TERMS = 2048  # products of two balanced 22-bit limbs that float64 sums exactly


def _rotate_left(x: Array, n: int) -> Array:
    return (x << np.uint32(n)) | (x >> np.uint32(32 - n))


def _quarter_rounds(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, ...]:
    a = a + b
    d = _rotate_left(d ^ a, 16)
    c = c + d
    b = _rotate_left(b ^ c, 12)
    a = a + b
    d = _rotate_left(d ^ a, 8)
    c = c + d
    b = _rotate_left(b ^ c, 7)
    return a, b, c, d


def _turn(rows: Array, n: int) -> Array:
    return jnp.concatenate([rows[n:], rows[:n]])


def chacha20(keys: Array, nonces: Array, counters: Array) -> Array:
    """The ChaCha20 block function (RFC 8439, section 2.3) in many lanes at once.

    Args:
      keys: uint32[8, n]; nonces: uint32[3, n]; counters: uint32[n].

    Returns:
      uint32[16, n], a block a column.
    """
    a = jnp.broadcast_to(jnp.asarray(_CONSTANTS)[:, None], (4, counters.shape[0]))
    start = (a, keys[:4], keys[4:], jnp.concatenate([counters[None], nonces]))

    def double_round(_: int, rows: tuple[Array, ...]) -> tuple[Array, ...]:
        a, b, c, d = _quarter_rounds(*rows)
        a, b, c, d = _quarter_rounds(a, _turn(b, 1), _turn(c, 2), _turn(d, 3))
        return a, _turn(b, 3), _turn(c, 2), _turn(d, 1)

    end = lax.fori_loop(0, 10, double_round, start)
    return jnp.concatenate([e + s for e, s in zip(end, start, strict=True)])


def _limbs(x: Array) -> list[Array]:
    """Three balanced limbs in float64 with x = l0 + l1·2^22 + l2·2^44 modulo 2^64."""
    value = lax.bitcast_convert_type(x, jnp.int64)
    limbs = []
    for _ in range(2):
        low = (value << 42) >> 42
        limbs.append(low.astype(jnp.float64))
        value = (value - low) >> 22
    limbs.append(((value << 44) >> 44).astype(jnp.float64))
    return limbs


def _matmul64(x: Array, y: Array) -> Array:
    dims = (((2,), (1,)), ((0,), (0,)))
    xs, ys = _limbs(x), _limbs(y)

    def product(i: int, j: int) -> Array:
        exact = lax.dot_general(xs[i], ys[j], dims, precision=lax.Precision.HIGHEST)
        return exact.astype(jnp.int64)

    low = product(0, 0)
    middle = product(0, 1) + product(1, 0)
    high = product(0, 2) + product(1, 1) + product(2, 0)
    return lax.bitcast_convert_type(low + (middle << 22) + (high << 44), jnp.uint64)


def _matmul32(x: Array, y: Array) -> Array:
    signed = [lax.bitcast_convert_type(v, jnp.int32) for v in (x, y)]
    result = lax.dot_general(signed[0], signed[1], (((2,), (1,)), ((0,), (0,))))
    return lax.bitcast_convert_type(result, jnp.uint32)


def matmul(terms: Sequence[tuple[Array, Array]]) -> Array:
    """The sum of the ring matrix products of the terms.

    Args:
      terms: pairs of uint[b, m, k] and uint[b, k, n], all 32 or all 64 bits wide.

    Returns:
      uint[b, m, n], modulo 2^32 or 2^64.
    """
    total = None
    for x, y in terms:
        depth = x.shape[2]
        if x.dtype == jnp.uint32:
            parts = [_matmul32(x, y)]
        else:
            parts = [
                _matmul64(x[:, :, k : k + _EXACT_TERMS], y[:, k : k + _EXACT_TERMS, :])
                for k in range(0, max(depth, 1), _EXACT_TERMS)
            ]
        for part in parts:
            total = part if total is None else total + part
    assert total is not None
    return total
