"""Where a value is used: outside of JAX's transformations, or inside of which."""

from __future__ import annotations

from typing import Any

import jax
from jax._src import core
from jax._src.interpreters import partial_eval


def is_traced(x: Any) -> bool:
    """Whether an array is not known yet."""
    return isinstance(x, jax.core.Tracer)


def transformed() -> bool:
    """Whether the caller runs inside of a transformation, e.g. `jit`, `vmap`, `grad` or `scan`."""
    return not isinstance(core.trace_ctx.trace, core.EvalTrace)


def _innermost_program(trace: Any) -> Any:
    """The trace of the program that is being written, through `vmap` and `grad` inside of it."""
    while trace is not None and not isinstance(trace, partial_eval.DynamicJaxprTrace):
        trace = getattr(trace, "parent_trace", None)
    return trace


def from_outside(x: Any) -> bool:
    """Whether the caller writes a program (`jit`, `scan`, …) to which `x` is a constant.

    The program may run many times, with the same `x` each time.
    """
    program = _innermost_program(core.trace_ctx.trace)
    if program is None:
        return False
    return not is_traced(x) or _innermost_program(x._trace) is not program
