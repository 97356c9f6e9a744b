"""Rules for sorting, running extremes, and reductions over windows or by a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

from jsmpc._src.functions import windows
from jsmpc._src.functions.windows import Windows
from jsmpc._src.interpreter.bounds import INNER
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import with_room
from jsmpc._src.interpreter.rules.reductions import Reduction
from jsmpc._src.interpreter.rules.sorting import largest_of_two, negated
from jsmpc._src.interpreter.secret import BOOL, Secret

# Running extremes and products.


# Windows.


def _windows(ev: Evaluator, params: dict[str, Any], x: Any, extreme: bool = True) -> Windows:
    ones = (1,) * x.ndim
    result = Windows(
        params["window_dimensions"],
        params["window_strides"],
        params["padding"],
        params.get("base_dilation", ones),
        params.get("window_dilation", ones),
    )
    if extreme and not result.never_empty(x.shape):
        raise ev.unsupported(
            "a window that holds nothing but padding has an infinite extreme, which secrets "
            "cannot hold. Use less padding"
        )
    return result


@rule(lax.reduce_window_max_p, cost="comparison", scaled=True)
def _reduce_window_max(ev: Evaluator, x: Secret, **params: Any) -> Secret:
    over = _windows(ev, params, x)
    if x.dtype == BOOL:
        padded = x.map(lambda w: over.padded(w, np.uint8(0)))
        return Secret(windows.reduce(padded.bits, over, largest_of_two(ev, BOOL)), BOOL)
    value = windows.largest(ev.smpc, ev.ctx, x.value, over)
    return Secret(value, x.dtype, encoding=x.encoding)


@rule(lax.reduce_window_min_p, cost="comparison", scaled=True)
def _reduce_window_min(ev: Evaluator, x: Secret, **params: Any) -> Secret:
    return negated(ev, _reduce_window_max(ev, negated(ev, x), **params))


def _oriented(ev: Evaluator, x: Secret, select_prim: Any) -> Secret:
    """So that the element to select is the largest."""
    return x if select_prim is lax.ge_p else negated(ev, x)


@rule(lax.select_and_gather_add_p, cost="comparison", scaled=True)
def _select_and_gather_add(
    ev: Evaluator, tangents: Any, operand: Any, *, select_prim: Any, **params: Any
) -> Secret:
    tangents, operand = _as_secrets(ev, tangents, operand)
    x, over = _oriented(ev, operand, select_prim), _windows(ev, params, operand)
    value = windows.at_largest(ev.smpc, ev.ctx, x.value, tangents.value, over)
    return Secret(value, tangents.dtype, encoding=tangents.encoding)


@rule(lax.select_and_scatter_add_p, cost="comparison", scaled=True)
def _select_and_scatter_add(
    ev: Evaluator, source: Any, operand: Any, *, select_prim: Any, **params: Any
) -> Secret:
    source, operand = _as_secrets(ev, with_room(ev, source), operand)
    x, over = _oriented(ev, operand, select_prim), _windows(ev, params, operand)
    value = windows.to_largest(ev.smpc, ev.ctx, x.value, source.value, over)
    return Secret(value, source.dtype, encoding=source.encoding)


def _as_secrets(ev: Evaluator, moved: Any, compared: Any) -> tuple[Secret, Secret]:
    """What is moved to or from places, and what is compared to find these: each in an encoding of
    its own."""
    return ev.secret(moved, encoding=ev.wanted), ev.secret(compared)


# Reductions by a function that the program brings along.


@rule(lax.reduce_window_p, cost="program", error=INNER)
def _reduce_window(
    ev: Evaluator, *operands: Any, jaxpr: Any, consts: Sequence[Any], **params: Any
) -> list[Secret]:
    count, f = len(operands) // 2, Reduction(ev, jaxpr, consts)
    xs, initial = [ev.secret(x) for x in operands[:count]], operands[count:]
    over = _windows(ev, params, xs[0], extreme=False)
    if over.pads:
        around = [ev.secret(i, x.dtype) for i, x in zip(initial, xs, strict=True)]
        xs = [x.map(over.padded, i) for x, i in zip(xs, around, strict=True)]
    return f.from_initial(initial, windows.reduce(xs, over, f))
