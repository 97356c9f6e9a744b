"""The exchange of arrays with other endpoints, as a JAX primitive."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.links import core, native

Array = jax.Array

exchange_p = Primitive("exchange")
exchange_p.multiple_results = True

# Python's part, without the native library.
_callback_p = Primitive("exchange_callback")
_callback_p.multiple_results = True


def exchange(
    token: Array,
    arrays: Sequence[Array],
    targets: Sequence[int],
    expected: Sequence[jax.ShapeDtypeStruct],
    sources: Sequence[int],
    pure: bool = False,
) -> tuple[Array, list[Array]]:
    """Sends arrays to other endpoints and receives arrays from them, in one round.

    Between two endpoints arrays travel in the order of these lists; the peer's exchange lists
    the same ones.

    Args:
      token: uint32 scalar, that of the exchange before this one: it orders exchanges. The first
        one is that of the links, `Links.token`.
      arrays: what is sent; targets: to which endpoint each of them goes.
      expected: the types of what is received; sources: from which endpoint each of them comes.
      pure: whether these links do without the native library, `Links.pure`.

    Returns:
      The token for the next exchange, and the arrays that arrived.

    Raises:
      jax.errors.JaxRuntimeError: when it runs, naming the peer and the cause.
    """
    if len(arrays) != len(targets) or len(expected) != len(sources):
        raise ValueError("one target for each array, and one source for each expected type")
    types = tuple((tuple(e.shape), np.dtype(e.dtype)) for e in expected)
    new, *received = exchange_p.bind(
        jnp.asarray(token, jnp.uint32),
        *arrays,
        targets=tuple(map(int, targets)),
        expected=types,
        sources=tuple(map(int, sources)),
        pure=bool(pure),
    )
    return new, received


_NOBODY = np.uint32(0)  # the token of no links


def halt(token: Array, condition: Array, pure: bool = False) -> Array:
    """The token; where the condition holds, the program ends with an error instead, of which
    `halted` knows. No exchange that takes the result has happened then."""

    def end(token: Array) -> Array:
        return exchange(jnp.asarray(_NOBODY), [], [], [], [], pure)[0]

    return jax.lax.cond(condition, end, lambda t: t, token)


def halted(error: Exception) -> bool:
    """Whether a program ended with an error because of `halt`, or its links were closed."""
    return core.CLOSED in str(error)


def _abstract(token: Any, *arrays: Any, expected: Any, **_: Any) -> list[jax.core.ShapedArray]:
    for dtype in [array.dtype for array in arrays] + [dtype for _, dtype in expected]:
        whole_bytes = jnp.issubdtype(dtype, jnp.bool_) or (
            jnp.issubdtype(dtype, jnp.number)
            and not jnp.issubdtype(dtype, jnp.complexfloating)
            and (jnp.finfo if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo)(dtype).bits % 8
            == 0
        )
        if not whole_bytes:
            raise TypeError(f"arrays of {dtype} cannot be exchanged")
    return [
        jax.core.ShapedArray((), jnp.uint32),
        *(jax.core.ShapedArray(shape, dtype) for shape, dtype in expected),
    ]


def _lower(ctx: Any, *operands: Any, **params: Any) -> Any:
    return (_pure_rule if params["pure"] else _native_rule)(ctx, *operands, **params)


def _native_rule(
    ctx: Any, *operands: Any, targets: Any, expected: Any, sources: Any, pure: bool
) -> Any:
    if (reason := native.why_unavailable()) is not None:
        raise RuntimeError(reason)
    rule = jax.ffi.ffi_lowering(native.TARGET, has_side_effect=True)
    return rule(
        ctx,
        *operands,
        targets=np.asarray(targets, np.int64),
        sources=np.asarray(sources, np.int64),
    )


def _pure(token: Array, *arrays: Array, expected: Any, **params: Any) -> list[Array]:
    # What a callback returns is narrowed to 32 bits where JAX has no 64-bit types at the time.
    narrow = tuple(
        ((*shape, 2), np.dtype(np.uint32)) if dtype.itemsize == 8 else (shape, dtype)
        for shape, dtype in expected
    )
    new, *received = _callback_p.bind(token, *arrays, expected=narrow, **params)
    with jax.enable_x64(True):
        return [
            new,
            *(
                jax.lax.bitcast_convert_type(x, dtype) if dtype.itemsize == 8 else x
                for x, (_, dtype) in zip(received, expected, strict=True)
            ),
        ]


def _lower_callback(
    ctx: Any, *operands: Any, targets: Any, expected: Any, sources: Any, pure: bool
) -> Any:
    results, _, _ = mlir.emit_python_callback(
        ctx,
        functools.partial(core.exchange_in_program, targets, sources, expected),
        None,
        list(operands),
        ctx.avals_in,
        ctx.avals_out,
        has_side_effect=True,
        returns_token=False,
    )
    return results


def _batch(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("an exchange cannot be mapped: endpoints run it once each")


exchange_p.def_abstract_eval(_abstract)
exchange_p.def_impl(
    jax.jit(exchange_p.bind, static_argnames=("targets", "expected", "sources", "pure"))
)
batching.primitive_batchers[exchange_p] = _batch
_pure_rule = mlir.lower_fun(_pure, multiple_results=True)
_callback_p.def_abstract_eval(_abstract)
mlir.register_lowering(exchange_p, _lower, "cpu")
mlir.register_lowering(_callback_p, _lower_callback, "cpu")
