"""The heavy loops in pure XLA: the same bits as the native kernels, on every platform."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
Terms = Sequence[tuple[Array, Array]]

_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")
_EXACT_TERMS = 2048  # products of two balanced 22-bit limbs that float64 sums exactly
_EXACT_BYTES = 2**17 - 1  # products of two balanced bytes, at most 2^14, that int32 sums exactly
_DIMS = (((2,), (1,)), ((0,), (0,)))


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
    xs, ys = _limbs(x), _limbs(y)

    def product(i: int, j: int) -> Array:
        exact = lax.dot_general(xs[i], ys[j], _DIMS, precision=lax.Precision.HIGHEST)
        return exact.astype(jnp.int64)

    low = product(0, 0)
    middle = product(0, 1) + product(1, 0)
    high = product(0, 2) + product(1, 1) + product(2, 0)
    return lax.bitcast_convert_type(low + (middle << 22) + (high << 44), jnp.uint64)


def _matmul32(x: Array, y: Array) -> Array:
    signed = [lax.bitcast_convert_type(v, jnp.int32) for v in (x, y)]
    result = lax.dot_general(signed[0], signed[1], _DIMS)
    return lax.bitcast_convert_type(result, jnp.uint32)


def _balanced_bytes(x: Array) -> Array:
    """int8[..., bytes], the lowest first: the digits of x in base 256 from -128 to 127.

    The bytes of x + 0x80…80 are each 128 more than a balanced digit of x.
    """
    middle = np.frombuffer(b"\x80" * x.dtype.itemsize, x.dtype)[0]
    return lax.bitcast_convert_type((x + middle) ^ middle, jnp.int8)


def _matmul_bytes(x: Array, y: Array) -> Array:
    """Digit s of the product sums x_i·y_(s-i): one int8 product over the depth and i together."""
    xs, ys = _balanced_bytes(x), lax.rev(_balanced_bytes(y), (3,))
    digits = x.dtype.itemsize
    signed = jnp.dtype(f"int{8 * digits}")
    total = jnp.zeros((), signed)
    for s in reversed(range(digits)):
        digit = lax.dot_general(
            xs[..., : s + 1],
            ys[..., digits - 1 - s :],
            (((2, 3), (1, 3)), ((0,), (0,))),
            preferred_element_type=jnp.int32,
        )
        total = (total << 8) + digit.astype(signed)
    return lax.bitcast_convert_type(total, x.dtype)


def _in_blocks(terms: Terms, product: Callable[[Array, Array], Array], exact: int) -> Array:
    """The sum of the terms' products, each in blocks of the depth that `product` takes."""
    total = None
    for x, y in terms:
        blocks = max(x.shape[2] - 1, 0) // exact  # whole ones, before the last

        def block(i: Array | int, total: Array) -> Array:
            x_block = lax.dynamic_slice_in_dim(x, i * exact, exact, 2)
            return total + product(x_block, lax.dynamic_slice_in_dim(y, i * exact, exact, 1))

        last = product(x[:, :, blocks * exact :], y[:, blocks * exact :])
        total = last if total is None else total + last
        total = lax.fori_loop(0, blocks, block, total) if blocks else total
    assert total is not None
    return total


def matmul(terms: Terms) -> Array:
    """The sum of the ring matrix products of the terms: int32, or balanced limbs in float64.

    Args:
      terms: pairs of uint[b, m, k] and uint[b, k, n], all 32 or all 64 bits wide.

    Returns:
      uint[b, m, n], modulo 2^32 or 2^64.
    """
    x, _ = terms[0]
    if x.dtype == jnp.uint32:
        return _in_blocks(terms, _matmul32, max(x.shape[2], 1))
    return _in_blocks(terms, _matmul64, _EXACT_TERMS)


def matmul_int8(terms: Terms) -> Array:
    """As `matmul`, with int8 products summed in int32, the fast path of tensor cores."""
    x, _ = terms[0]
    return _in_blocks(terms, _matmul_bytes, _EXACT_BYTES // x.dtype.itemsize)
