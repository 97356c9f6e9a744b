"""Sub-programs that a program calls more than once, so that what is done to one is done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.jaxprs import compat

layer_p = Primitive("layer")
layer_p.multiple_results = True


def call(jaxpr: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of a layer, a (closed) jaxpr; all calls of one have the same object."""
    results: list[Any] = layer_p.bind(*operands, jaxpr=jaxpr)
    return results


def _evaluate(*operands: Any, jaxpr: Any) -> list[Any]:
    opened, consts = compat.open_jaxpr(jaxpr)
    return jax.core.eval_jaxpr(opened, consts, *operands)


def _batch(operands: Any, dims: Any, *, jaxpr: Any) -> tuple[list[Any], list[int]]:
    out = jax.vmap(lambda *xs: _evaluate(*xs, jaxpr=jaxpr), in_axes=tuple(dims))(*operands)
    return out, [0] * len(out)


layer_p.def_abstract_eval(lambda *_, jaxpr: [v.aval for v in compat.open_jaxpr(jaxpr)[0].outvars])
layer_p.def_impl(_evaluate)
batching.primitive_batchers[layer_p] = _batch
mlir.register_lowering(layer_p, mlir.lower_fun(_evaluate, multiple_results=True))
