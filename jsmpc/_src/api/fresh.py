"""Fresh randomness for every element of a `vmap`, and for every run of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jsmpc._src.errors import KeyFormatError, SecretError
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.runtime import prf

Array = jax.Array


def key_of(key: Any) -> Array:
    """A user's key as uint32[8], used up.

    Raises:
      KeyFormatError: for something that is no key, and for a key that is a constant of the program
        being written (`jit`, `scan`, …), which would use the same masks in every run.
    """
    found = prf.as_key(key)
    compat.consume(key)
    if tracing.from_outside(key):
        raise KeyFormatError(
            "the key is a constant of a jitted function or of a loop's body: every run would use "
            "the same masks, and disclose differences of secrets. Pass it as an argument; in "
            "lax.scan, scan over keys split before"
        )
    return found


def per_element(program: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a key and a pytree that, under `jax.vmap`, has a key for each element.

    At every level of nested `vmap`s at which the elements have the key in common, each gets one of
    its own. Otherwise they would use the same masks, and opening them would disclose the
    differences of their secrets.
    """

    def call(key: Array, operands: Any) -> Any:
        leaves, treedef = jax.tree.flatten(operands)
        structure: list[Any] = []

        def flat(key: Array, *leaves: Array) -> list[Array]:
            arrays, out = jax.tree.flatten(program(key, jax.tree.unflatten(treedef, leaves)))
            structure[:] = [out]
            return arrays

        arrays = _batched(flat)(key, *leaves)
        return jax.tree.unflatten(structure[0], arrays)

    return call


def _batched(program: Callable[..., list[Array]]) -> Callable[..., list[Array]]:
    """A program of a key, uint32[..., 8] with an axis for each `vmap` inside, and of arrays."""
    function = custom_vmap(program)

    @function.def_vmap
    def rule(size: int, in_batched: Any, key: Array, *leaves: Array) -> Any:
        with compat.protocol_mode():  # JAX may come here after the caller has left
            if not in_batched[0]:
                root = prf.derive(key, "vmap")
                indices = jnp.arange(size, dtype=jnp.uint32)
                key = jax.vmap(lambda i: prf.iterate(root, 0, i))(indices)
            axes = (0, *(0 if b else None for b in in_batched[1:]))
            arrays = _batched(jax.vmap(program, in_axes=axes))(key, *leaves)
        return arrays, [True] * len(arrays)

    return function


@jax.custom_jvp
def _public(x: Array) -> Array:
    return x


def _refuse_tangent(primals: Any, tangents: Any) -> Any:
    if isinstance(tangents[0], jax.custom_derivatives.SymbolicZero):
        return primals[0], tangents[0]
    raise SecretError(
        "shares carry no derivatives: grad, jvp or vjp around share, secure and reveal would give "
        "zeros. Put grad inside of the function that is passed to jsmpc.secure"
    )


_public.defjvp(_refuse_tangent, symbolic_zeros=True)


def without_tangent(x: Any) -> Any:
    """A plain array; SecretError where it is differentiated."""
    if tracing.is_traced(x) and jnp.issubdtype(x.dtype, jnp.floating):
        return _public(x)
    return x
