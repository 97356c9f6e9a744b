"""The ChaCha20 keystream as a JAX primitive, and the grouping of many draws into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching, mlir

from jsmpc import compat
from jsmpc.kernels import native, pure

Array = jax.Array

keystream_p = Primitive("keystream")


def keystream(key: Array, nonce: Array, blocks: int) -> Array:
    """ChaCha20 blocks 0, 1, … of a key and nonce (RFC 8439, section 2.3).

    Args:
      key: uint32[..., 8]; nonce: uint32[..., 3]; blocks: how many, static.

    Returns:
      uint32[..., 16, blocks]: word w of block j at [w, j], so that no transposition is needed
      to compute many blocks at once.
    """
    return keystream_p.bind(key, nonce, blocks=blocks)


def _pure(key: Array, nonce: Array, *, blocks: int) -> Array:
    lead = key.shape[:-1]
    lanes = key.reshape(-1, 8).shape[0]
    keys = jnp.repeat(key.reshape(lanes, 8).T, blocks, axis=1)
    nonces = jnp.repeat(nonce.reshape(lanes, 3).T, blocks, axis=1)
    counters = jnp.tile(jnp.arange(blocks, dtype=jnp.uint32), lanes)
    words = pure.chacha20(keys, nonces, counters).reshape(16, lanes, blocks)
    return jnp.moveaxis(words, 0, 1).reshape(*lead, 16, blocks)


def _on_cpu(key: Array, nonce: Array, *, blocks: int) -> Array:
    return (native.keystream if native.available() else _pure)(key, nonce, blocks=blocks)


def _abstract(key: Any, nonce: Any, *, blocks: int) -> jax.core.ShapedArray:
    return jax.core.ShapedArray((*key.shape[:-1], 16, blocks), jnp.uint32)


def _batch(args: Any, dims: Any, *, blocks: int) -> tuple[Array, int]:
    (size,) = {x.shape[d] for x, d in zip(args, dims, strict=True) if d is not batching.not_mapped}
    key, nonce = (
        jnp.broadcast_to(x, (size, *x.shape)) if d is batching.not_mapped else jnp.moveaxis(x, d, 0)
        for x, d in zip(args, dims, strict=True)
    )
    return keystream_p.bind(key, nonce, blocks=blocks), 0


keystream_p.def_abstract_eval(_abstract)
keystream_p.def_impl(jax.jit(keystream_p.bind, static_argnames="blocks"))
batching.primitive_batchers[keystream_p] = _batch
mlir.register_lowering(keystream_p, mlir.lower_fun(_pure, multiple_results=False))
mlir.register_lowering(keystream_p, mlir.lower_fun(_on_cpu, multiple_results=False), "cpu")


def group_streams(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function equal to `fun` in which keystreams that can be drawn together are.

    In pure XLA a ChaCha20 loop costs a quarter of a second to compile, however short the
    stream: one long loop over the blocks of many draws costs that once. Native keystreams are
    left where they are.
    """
    if jax.default_backend() == "cpu" and native.available():
        return fun

    def grouped(*args: Any) -> Any:
        closed, out_shape = jax.make_jaxpr(fun, return_shape=True)(*args)
        flat = jax.tree.leaves(args)
        out = _evaluate(closed.jaxpr, closed.consts, flat)
        return jax.tree.unflatten(jax.tree.structure(out_shape), out)

    return grouped


def _evaluate(jaxpr: Any, consts: Any, args: Any) -> list[Any]:
    env: dict[Any, Any] = {}

    def read(v: Any) -> Any:
        return compat.literal_value(v) if isinstance(v, Literal) else env[v]

    def known(v: Any) -> bool:
        return isinstance(v, Literal) or v in env

    env.update(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))
    pending = [e for e in jaxpr.eqns if e.primitive is keystream_p and e.invars[0].aval.ndim == 1]
    for eqn in jaxpr.eqns:
        if pending and eqn is pending[0]:
            ready = [e for e in pending if all(known(v) for v in e.invars)]
            _draw_together(ready, read, env)
            pending = [e for e in pending if e.outvars[0] not in env]
        elif not (eqn.outvars and eqn.outvars[0] in env):
            with compat.at_line_of(eqn):
                out = compat.bind(eqn, [read(v) for v in eqn.invars])
            env.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _draw_together(eqns: list[Any], read: Callable[[Any], Any], env: dict[Any, Any]) -> None:
    sizes = [e.params["blocks"] for e in eqns]
    keys = [jnp.broadcast_to(read(e.invars[0])[:, None], (8, n)) for e, n in zip(eqns, sizes)]
    nonces = [jnp.broadcast_to(read(e.invars[1])[:, None], (3, n)) for e, n in zip(eqns, sizes)]
    counters = [jnp.arange(n, dtype=jnp.uint32) for n in sizes]
    words = pure.chacha20(
        jnp.concatenate(keys, 1), jnp.concatenate(nonces, 1), jnp.concatenate(counters)
    )
    start = 0
    for eqn, size in zip(eqns, sizes):
        env[eqn.outvars[0]] = words[:, start : start + size]
        start += size
