"""A fence for XLA's fusion: what passes it is computed once and written to memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc.kernels import native

Array = jax.Array

materialize_p = Primitive("materialize")
materialize_p.multiple_results = True


def materialize(arrays: Sequence[Array]) -> list[Array]:
    """The same arrays, computed once.

    XLA:CPU duplicates a cheap producer into each of its consumers, and in a chain of gates that
    multiplies with each level; it drops `lax.optimization_barrier` before it fuses.
    """
    return materialize_p.bind(*arrays)


def _identity(*arrays: Array) -> list[Array]:
    return list(arrays)


def _fence(*arrays: Array) -> list[Array]:
    if not native.available():
        return list(arrays)
    aliases = {i: i for i in range(len(arrays))}
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    return jax.ffi.ffi_call("jsmpc_materialize", shapes, input_output_aliases=aliases)(*arrays)


def _batch(arrays: Sequence[Array], dims: Sequence[Any]) -> tuple[list[Array], Sequence[Any]]:
    return materialize_p.bind(*arrays), dims


materialize_p.def_abstract_eval(lambda *avals: list(avals))
materialize_p.def_impl(_identity)
batching.primitive_batchers[materialize_p] = _batch
mlir.register_lowering(materialize_p, mlir.lower_fun(_identity, multiple_results=True))
mlir.register_lowering(materialize_p, mlir.lower_fun(_fence, multiple_results=True), "cpu")
