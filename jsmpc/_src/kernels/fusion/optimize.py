"""Fusion of the elementwise parts of a program, by the means that a platform has.

Protocols are long chains of cheap operations on words. XLA:CPU compiles such chains slowly and
computes a value again for each of its consumers. Where the native kernels exist, the chains run
on the elementwise machine instead (`jsmpc._src.kernels.program`): a chain is one pass over its
operands, its masks are drawn where they are used, and nothing between is written to memory.
Elsewhere XLA fuses, and the draws of a program are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from jsmpc._src.jaxprs import compat, rewrite, routine
from jsmpc._src.kernels import native
from jsmpc._src.kernels.fusion import layers
from jsmpc._src.kernels.fusion.equations import TRANSPARENT
from jsmpc._src.kernels.fusion.grouped import Grouped
from jsmpc._src.kernels.fusion.stages import Fused


def evaluate(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr; its elementwise parts and draws run fast."""
    inlined = layers.taking_whole_values(routine.inlined(jaxpr, TRANSPARENT))
    on_machine = jax.default_backend() == "cpu" and native.available()
    evaluation = Fused if on_machine else Grouped
    called = layers.Layers(evaluate)
    return evaluation(rewrite.without_dead_code(inlined), consts, args, called).outputs()


def optimize(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function equal to `fun` whose elementwise parts and draws run fast."""

    def optimized(*args: Any) -> Any:
        closed, out_shape = jax.make_jaxpr(fun, return_shape=True)(*args)
        out = evaluate(*compat.open_jaxpr(closed), jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(out_shape), out)

    return optimized
