"""The native CPU kernels: a library loaded at first use, and one function for each kernel."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.kernels import library
from jsmpc._src.kernels.layout import Layout
from jsmpc._src.kernels.trees import levels

Array = jax.Array

TARGETS = (
    "jsmpc_compare",
    "jsmpc_function_keys",
    "jsmpc_function_values",
    "jsmpc_keystream",
    "jsmpc_matmul",
    "jsmpc_program",
)
_PEAKS = ("jsmpc_peak_gops", "jsmpc_peak_hashes", "jsmpc_peak_keystream")


_MISSING = (
    "jsmpc was installed without its native kernels (there was no C++ compiler, or "
    "JSMPC_NO_NATIVE was set)"
)


@functools.cache
def _library() -> ctypes.CDLL | None:
    return library.find("jsmpc._src.kernels._native")


def _prepare(loaded: ctypes.CDLL) -> None:
    for peak in _PEAKS:
        function = getattr(loaded, peak)
        function.argtypes, function.restype = [ctypes.c_int, ctypes.c_double], ctypes.c_double
    for target in TARGETS:
        handler = jax.ffi.pycapsule(getattr(loaded, target))
        jax.ffi.register_ffi_target(target, handler, platform="cpu")


@functools.cache
def why_unavailable() -> str | None:
    """Why the native kernels cannot be used, or None where they can."""
    return library.trouble(_library, _prepare, "native kernels", _MISSING)


@functools.cache
def available() -> bool:
    """Whether the native kernels can be used; the log says once why they cannot."""
    return library.is_sound(why_unavailable(), "XLA alone computes the same, more slowly")


def keystream(key: Array, nonce: Array, blocks: int) -> Array:
    """ChaCha20 blocks 0, 1, … of a key and nonce (RFC 8439, section 2.3).

    Args:
      key: uint32[..., 8]; nonce: uint32[..., 3]; blocks: how many, static.

    Returns:
      uint32[..., 16, blocks]: word w of block j at [w, j].
    """
    out = _result((*key.shape[:-1], 16, blocks), jnp.uint32, (key, nonce))
    return call("jsmpc_keystream", out, vmap_method="broadcast_all")(key, nonce)


def matmul(terms: Sequence[tuple[Array, Array]], layouts: Sequence[Layout] = ()) -> Array:
    """The sum over the terms of `x @ y`, modulo 2^bits.

    Args:
      terms: one to four pairs of arrays, all uint32 or all uint64.
      layouts: where x, [b, m, k], and y, [b, k, n], of each pair lie in its arrays, rows or columns
        closely; by default they are these. b may be 1 in some of them, which are then used for
        every entry.

    Returns:
      uint[b, m, n].
    """
    operands = [operand for term in terms for operand in term]
    layouts = layouts or [Layout.of(x.shape) for x in operands]
    (batch,) = jnp.broadcast_shapes(*(at.shape[:1] for at in layouts))
    (_, rows, depth), (_, _, columns) = layouts[0].shape, layouts[1].shape
    for x, y in zip(layouts[::2], layouts[1::2], strict=True):
        if x.shape[1:] != (rows, depth) or y.shape[1:] != (depth, columns):
            raise ValueError(f"operands do not fit the product: {x.shape} @ {y.shape}")
    out = _result((batch, rows, columns), operands[0].dtype, operands)
    places = [
        (at.offset, 0 if at.shape[0] == 1 else at.strides[0], *at.matrix_strides) for at in layouts
    ]
    return call("jsmpc_matmul", out)(
        *operands, depth=np.int64(depth), layouts=np.asarray(places, np.int64).reshape(-1)
    )


def function_keys(seed0: Array, seed1: Array, a: Array, *, width: int, comparison: bool) -> Array:
    """As `jsmpc._src.kernels.fss.function_keys`, of operands [batch, …, elements]."""
    operands = seed0, seed1, a
    out = _result(
        (*a.shape[:1], levels(width, comparison) + 1, 2, *a.shape[1:]), jnp.uint64, operands
    )
    return call("jsmpc_function_keys", out)(
        *operands, width=np.int64(width), comparison=np.bool_(comparison)
    )


def function_values(
    seed: Array, corrections: Array, x: Array, *, width: int, comparison: bool, party: int
) -> Array:
    """As `jsmpc._src.kernels.fss.function_values`, of operands [batch, …, elements]."""
    operands = seed, corrections, x
    out = _result(x.shape, jnp.uint8 if comparison else jnp.uint64, operands)
    return call("jsmpc_function_values", out)(
        *operands, width=np.int64(width), comparison=np.bool_(comparison), party=np.int64(party)
    )


def multiply_add_peak(threads: int, seconds: float = 0.2) -> float:
    """Gop/s of sums of uint64 products in registers; a multiply and an add are two."""
    return _peak("jsmpc_peak_gops", threads, seconds)


def keystream_peak(threads: int, seconds: float = 0.2) -> float:
    """GB/s of ChaCha20 in registers, its blocks not stored."""
    return _peak("jsmpc_peak_keystream", threads, seconds)


def hash_peak(threads: int, seconds: float = 0.2) -> float:
    """10^9 blocks a second hashed by AES, in the cache."""
    return _peak("jsmpc_peak_hashes", threads, seconds)


def _peak(function: str, threads: int, seconds: float) -> float:
    if (reason := why_unavailable()) is not None:
        raise RuntimeError(reason)
    return float(getattr(_library(), function)(threads, seconds))


def _result(
    shape: tuple[int, ...], dtype: jax.typing.DTypeLike, operands: Sequence[Array]
) -> jax.ShapeDtypeStruct:
    # Inside shard_map the result varies over every mesh axis that an operand varies over.
    types = [jax.typeof(operand) for operand in operands]
    varying = frozenset().union(*(t.manual_axis_type.varying for t in types))
    if not varying:
        return jax.ShapeDtypeStruct(shape, dtype)
    mesh = next(t.sharding.mesh for t in types if t.manual_axis_type.varying)
    return jax.ShapeDtypeStruct(
        shape,
        dtype,
        sharding=jax.NamedSharding(mesh, jax.P()),
        manual_axis_type=jax.sharding.ManualAxisType(varying=varying),
    )


def call(target: str, out: Any, **kwargs: Any) -> Any:
    """`jax.ffi.ffi_call` of one of the library's handlers; `out` as it takes it."""
    if (reason := why_unavailable()) is not None:
        raise RuntimeError(reason)
    return jax.ffi.ffi_call(target, out, **kwargs)
