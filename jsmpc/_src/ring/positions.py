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

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.ring import words
from jsmpc._src.ring.groups import modulo

Array = jax.Array

MODULUS = 67
FIELD = modulo(MODULUS)
FACTORS = modulo(MODULUS - 1)  # 0, …, 65, one below the invertible elements


def bits(x: Array) -> Array:
    """The bits of words: uint8[k, …]."""
    width = 8 * x.dtype.itemsize
    places = np.arange(width - 1, -1, -1, dtype=x.dtype).reshape(-1, *[1] * x.ndim)
    return words.cast((x[None] >> places) & np.ones((), x.dtype), np.uint8)


def differences(x: Array, v: Array, down: Array, first: bool) -> Array:
    """A party's summands of the c_i.

    Args:
      x: its summands of the bits x_i, uint8[k, …].
      v: the word; down: whether σ = -1, a bit in a byte.
      first: whether this party is the one that adds what is public.
    """
    one, p = np.uint8(first), np.uint8(MODULUS)
    v = bits(v)
    differs = jnp.where(v == 1, _reduced(one + p - x), x)
    public = np.uint8(0)
    if first:
        public = np.uint8(1) + jnp.where(down == 1, -v, v)
    signed = _reduced(jnp.where(down == 1, x, p - x) + public)
    return _plus(signed, _above(differs))


def _above(x: Array) -> Array:
    """The sums of all positions above each one."""
    zero = jnp.zeros_like(x[:1])
    x, span = jnp.concatenate([zero, x[:-1]]), 1
    while span < x.shape[0]:
        x = jnp.concatenate([x[:span], _plus(x[span:], x[:-span])])
        span *= 2
    return x


def moved(x: Array, by: Array) -> Array:
    """Position i at position i ⊕ by, a byte below k: uniform, it leaves open where a zero was."""
    shape, span = x.shape, 1
    while span < shape[0]:
        pairs = x.reshape(shape[0] // (2 * span), 2, span, *shape[1:])
        low, high = pairs[:, :1], pairs[:, 1:]
        swapped = (low ^ high) & -(words.right(by, span.bit_length() - 1) & np.uint8(1))
        x = jnp.concatenate([low ^ swapped, high ^ swapped], 1).reshape(shape)
        span *= 2
    return x


def scaled(x: Array, factor: Array, addend: Array) -> Array:
    """x·factor + addend."""
    product = words.cast(x, np.uint16) * words.cast(factor, np.uint16)
    return _plus(words.cast(product % np.uint16(MODULUS), np.uint8), addend)


def negative(x: Array) -> Array:
    """-x, where 0 may become the modulus."""
    return np.uint8(MODULUS) - x


def _plus(x: Array, y: Array) -> Array:
    return _reduced(x + y)


def _reduced(x: Array) -> Array:
    """Of bytes below twice the modulus; what is negative wraps, and is not the smaller one."""
    return jnp.minimum(x, x - np.uint8(MODULUS))

