"""The comparison of two words position by position, in Z_67, on shares of the bits of one of them.

With x and v the words, and σ = 1 to find out whether x > v, σ = -1 for x < v,

    c_i = 1 + σ·(v_i - x_i) + Σ_{k>i} (x_k ⊕ v_k)

is 0 where x and v differ in position i in the right way and agree in all above, and between 1 and
k + 1 everywhere else: one of the c_i is zero modulo 67, or none (I. Damgård, M. Geisler, M.
Krøigaard, Efficient and secure comparison for on-line auctions, ACISP 2007). All but x is public to
whoever computes here, so that summands of the c_i follow from summands of the x_i.

Positions are along the leading axis, the highest first; elements of Z_67 are bytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.kernels import native

Array = jax.Array

MODULUS = 67
_ONE, _P = np.uint8(1), np.uint8(MODULUS)

bits_p = Primitive("bits")
differences_p = Primitive("differences")


def bits(x: Array) -> Array:
    """The bits of words: uint8[k, …]."""
    return bits_p.bind(x)


def differences(
    x: Array, v: Array, how: Array, place: Array, factor: Array, mask: Array, first: bool
) -> Array:
    """A party's summands of the c_i, moved, scaled and masked: s·c + u at position i ⊕ π.

    Two parties' results are equal where their summands of c_i make zero: that of the second is of
    the negative.

    Args:
      x: its summands of the bits x_i, uint8[k, …].
      v: the word; how: a byte: bit 0 is set for σ = -1, bit 1 where x counts as 0, whatever it is.
      place: π, a byte below k; uniform, it leaves open where a zero was.
      factor: s - 1; mask: u; uint8[k, …].
      first: whether this party is the first, which adds what is public.
    """
    return differences_p.bind(x, v, how, place, factor, mask, first=first)


def _pure_differences(
    x: Array, v: Array, how: Array, place: Array, factor: Array, mask: Array, *, first: bool
) -> Array:
    with jax.enable_x64(True):
        bit, one, down = _pure_bits(v), np.uint8(first), how & _ONE
        x = x & ((how >> _ONE) - _ONE)
        differs = _chosen(bit, _reduced(one + _P - x), x)
        signed = _chosen(down, x, _P - x)
        if first:
            signed = signed + _ONE + _chosen(down, -bit, bit)
        c = _plus(_reduced(signed), _above(differs))
        d = _moved(c if first else _P - c, place).astype(np.uint16)
        scaled = d * (factor.astype(np.uint16) + np.uint16(1)) % np.uint16(MODULUS)
        return _plus(scaled.astype(np.uint8), mask)


def _native_differences(x: Array, *operands: Array, first: bool) -> Array:
    if not native.available():
        return _pure_differences(x, *operands, first=first)
    out = jax.ShapeDtypeStruct(x.shape, x.dtype)
    with jax.enable_x64(True):
        return native.call("jsmpc_compare", out)(x, *operands, first=np.int64(first))


def _pure_bits(x: Array) -> Array:
    """Byte by byte, so that all but the first step is on bytes."""
    with jax.enable_x64(True):
        count = x.dtype.itemsize
        shifts = [np.asarray(8 * i, x.dtype) for i in reversed(range(count))]
        octets = jnp.stack([(x >> s).astype(np.uint8) for s in shifts])
        places = np.arange(7, -1, -1, dtype=np.uint8).reshape(1, 8, *[1] * x.ndim)
        return ((octets[:, None] >> places) & _ONE).reshape(8 * count, *x.shape)


# Bytes hold what is below twice the modulus.


def _plus(x: Array, y: Array) -> Array:
    return _reduced(x + y)


def _reduced(x: Array) -> Array:
    """What is below the modulus stays, as the difference wraps and is not the smaller one."""
    return lax.min(x, x - _P)


def _chosen(bit: Array, x: Array, y: Array) -> Array:
    """x where the bit, in a byte, is 1."""
    return y ^ ((x ^ y) & -bit)


def _above(x: Array) -> Array:
    """The sums of all positions above each one: in groups of eight, and of the groups."""
    groups = x.reshape(x.shape[0] // 8, 8, *x.shape[1:])
    inside = _before([groups[:, i] for i in range(groups.shape[1])])
    total = _plus(inside[-1], groups[:, -1])
    outside = _before([total[i] for i in range(total.shape[0])])
    return _plus(jnp.stack(inside, 1), jnp.stack(outside)[:, None]).reshape(x.shape)


def _before(terms: Sequence[Array]) -> list[Array]:
    """The sums of all before each one."""
    zero = jnp.zeros_like(terms[0])
    return list(itertools.accumulate(terms[:-1], _plus, initial=zero))


def _moved(x: Array, by: Array) -> Array:
    """Position i at position i ⊕ by."""
    shape, span = x.shape, 1
    while span < shape[0]:
        pairs = x.reshape(shape[0] // (2 * span), 2, span, *shape[1:])
        low, high = pairs[:, :1], pairs[:, 1:]
        swapped = (low ^ high) & -((by >> np.uint8(span.bit_length() - 1)) & _ONE)
        x = jnp.concatenate([low ^ swapped, high ^ swapped], 1).reshape(shape)
        span *= 2
    return x


# Elements are along all axes but that of the positions, mapped ones among them.


def _batch_bits(operands: Any, dims: Any) -> tuple[Array, int]:
    return bits(jnp.moveaxis(operands[0], dims[0], 0)), 1


def _batch_differences(operands: Any, dims: Any, *, first: bool) -> tuple[Array, int]:
    (size,) = {x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None}
    given = []
    for number, (x, d) in enumerate(zip(operands, dims, strict=True)):
        at = 0 if number in (1, 2, 3) else 1
        spread = jnp.broadcast_to(jnp.expand_dims(x, at), (*x.shape[:at], size, *x.shape[at:]))
        given.append(spread if d is None else jnp.moveaxis(x, d, at))
    return differences_p.bind(*given, first=first), 1


bits_p.def_abstract_eval(
    lambda x: jax.core.ShapedArray((8 * x.dtype.itemsize, *x.shape), np.dtype(np.uint8))
)
bits_p.def_impl(jax.jit(bits_p.bind))
batching.primitive_batchers[bits_p] = _batch_bits
mlir.register_lowering(bits_p, mlir.lower_fun(_pure_bits, multiple_results=False))

differences_p.def_abstract_eval(lambda x, *_, first: jax.core.ShapedArray(x.shape, x.dtype))
differences_p.def_impl(jax.jit(differences_p.bind, static_argnames="first"))
batching.primitive_batchers[differences_p] = _batch_differences
mlir.register_lowering(differences_p, mlir.lower_fun(_pure_differences, multiple_results=False))
mlir.register_lowering(
    differences_p, mlir.lower_fun(_native_differences, multiple_results=False), "cpu"
)
