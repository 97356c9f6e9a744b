"""The ChaCha20 keystream and uniform draws from it, as JAX primitives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.jaxprs import routine
from jsmpc._src.kernels import native, pure
from jsmpc._src.kernels.batched import mapped_first

Array = jax.Array

keystream_p = Primitive("keystream")
draw_p = Primitive("draw")
routine.numbered(draw_p, "number")

TILE_BLOCKS = 16
_TILE_WORDS = 16 * TILE_BLOCKS


def keystream(key: Array, nonce: Array, blocks: int) -> Array:
    """ChaCha20 blocks 0, 1, … of a key and nonce (RFC 8439, section 2.3).

    Args:
      key: uint32[..., 8]; nonce: uint32[..., 3]; blocks: how many, static.

    Returns:
      uint32[..., 16, blocks]: word w of block j at [w, j].
    """
    return keystream_p.bind(key, nonce, blocks=blocks)


def draw(key: Array, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """Uniform words from the keystream of a key under the nonce `number`.

    The stream is laid out in tiles of 16 blocks, in each of which word w of block j stands at
    16·w + j: many blocks are computed at once, and the stream is written from end to end.

    Args:
      key: uint32[8]; number: below 2^64, static; shape: of the result; dtype: unsigned.
    """
    return draw_p.bind(key, number=number, shape=tuple(shape), dtype=np.dtype(dtype))


def tiles_of(shape: tuple[int, ...], dtype: Any) -> int:
    """How many tiles of the stream a draw takes."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return -(-size // (4 * _TILE_WORDS))


def nonce_of(number: int) -> np.ndarray:
    """The nonce of a numbered draw: uint32[3]."""
    return np.asarray([number & 0xFFFFFFFF, number >> 32, 0], np.uint32)


def from_blocks(words: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """A draw from its ChaCha20 blocks, uint32[16, 16·tiles]."""
    count = int(np.prod(shape, dtype=np.int64))
    stream = words.reshape(16, -1, TILE_BLOCKS).transpose(1, 0, 2).reshape(-1)
    if np.dtype(dtype).itemsize == 8:
        stream = jax.lax.bitcast_convert_type(stream.reshape(-1, 2), dtype)
    elif np.dtype(dtype).itemsize < 4:
        stream = jax.lax.bitcast_convert_type(stream, dtype).reshape(-1)
    return stream[:count].reshape(shape)


def _pure_keystream(key: Array, nonce: Array, *, blocks: int) -> Array:
    lead = key.shape[:-1]
    lanes = key.reshape(-1, 8).shape[0]
    keys = jnp.repeat(key.reshape(lanes, 8).T, blocks, axis=1)
    nonces = jnp.repeat(nonce.reshape(lanes, 3).T, blocks, axis=1)
    counters = jnp.tile(jnp.arange(blocks, dtype=jnp.uint32), lanes)
    words = pure.chacha20(keys, nonces, counters).reshape(16, lanes, blocks)
    return jnp.moveaxis(words, 0, 1).reshape(*lead, 16, blocks)


def _native_keystream(key: Array, nonce: Array, *, blocks: int) -> Array:
    chosen = native.keystream if native.available() else _pure_keystream
    return chosen(key, nonce, blocks=blocks)


def _pure_draw(key: Array, *, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
    with jax.enable_x64(True):
        nonce = jnp.asarray(nonce_of(number))
        blocks = TILE_BLOCKS * tiles_of(shape, dtype)
        return from_blocks(_pure_keystream(key, nonce, blocks=blocks), shape, dtype)


def _native_draw(key: Array, *, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
    if not native.available():
        return _pure_draw(key, number=number, shape=shape, dtype=dtype)
    from jsmpc._src.kernels import program

    with jax.enable_x64(True):
        return program.draw(key, number, shape, dtype)


def _batch_keystream(operands: Any, dims: Any, *, blocks: int) -> tuple[Array, int]:
    return keystream_p.bind(*mapped_first(operands, dims), blocks=blocks), 0


def _batch_draw(operands: Any, dims: Any, **params: Any) -> tuple[Array, int]:
    (keys,), (dim,) = operands, dims
    return jax.lax.map(lambda key: draw_p.bind(key, **params), jnp.moveaxis(keys, dim, 0)), 0


def _abstract_keystream(key: Any, nonce: Any, *, blocks: int) -> jax.core.ShapedArray:
    return jax.core.ShapedArray((*key.shape[:-1], 16, blocks), jnp.uint32)


keystream_p.def_abstract_eval(_abstract_keystream)
keystream_p.def_impl(jax.jit(keystream_p.bind, static_argnames="blocks"))
batching.primitive_batchers[keystream_p] = _batch_keystream
mlir.register_lowering(keystream_p, mlir.lower_fun(_pure_keystream, multiple_results=False))
mlir.register_lowering(
    keystream_p, mlir.lower_fun(_native_keystream, multiple_results=False), "cpu"
)

draw_p.def_abstract_eval(lambda key, *, number, shape, dtype: jax.core.ShapedArray(shape, dtype))
draw_p.def_impl(jax.jit(draw_p.bind, static_argnames=("number", "shape", "dtype")))
batching.primitive_batchers[draw_p] = _batch_draw
mlir.register_lowering(draw_p, mlir.lower_fun(_pure_draw, multiple_results=False))
mlir.register_lowering(draw_p, mlir.lower_fun(_native_draw, multiple_results=False), "cpu")
