"""How large the numbers of a program become, equation by equation, where it runs in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.interpreter.recognition import recognized
from jsmpc._src.interpreter.scales import Path
from jsmpc._src.jaxprs import compat, walk
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure

Array = jax.Array
Found = dict[Path, Array]
"""For each equation with results of numbers, for each of these: see `magnitude`."""

UNBOUNDED = 1e30  # what is larger stands for infinity: masks


def magnitude(x: Any) -> Array:
    """The largest magnitude among the numbers of an array, float32[2], and whether (0 or 1) there
    are any besides that stand for infinity, or are not a number."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or not np.size(x):
        return jnp.zeros(2, jnp.float32)
    size = jnp.abs(x.astype(jnp.float32))
    bounded = size < UNBOUNDED  # false for NaN
    largest = jnp.where(bounded, size, 0).max()
    return jnp.stack([largest, (~bounded).any().astype(jnp.float32)])


def run(jaxpr: Any, args: Sequence[Any], path: Path = ()) -> tuple[list[Any], Found]:
    """The outputs of a (closed) jaxpr on plain arrays, and the magnitudes of all results."""
    found: Found = {}
    opened, consts = compat.open_jaxpr(jaxpr)
    program = recognized(opened)
    numbers = {id(eqn): i for i, eqn in enumerate(program.eqns)}

    def apply(eqn: Any, operands: list[Any]) -> list[Any]:
        here = (*path, numbers[id(eqn)])
        form = structure(eqn)
        if form is None:
            results = compat.bind(eqn, operands)
        else:
            results, inner = _RUNS[type(form)](form, operands, here)
            found.update(inner)
        if any(jnp.issubdtype(x.dtype, jnp.floating) for x in results):
            own = jnp.stack([magnitude(x) for x in results])
            found[here] = jnp.maximum(found[here], own) if here in found else own
        return results

    return walk.evaluate(program, args, apply, consts=consts), found


def _call(form: Call, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    return run(form.body, operands, (*path, 0))


def _scan(form: Scan, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    """Of what is carried, the largest it ever is."""
    consts, init, xs = form.split(operands)

    def body(carry: Any, x: Any) -> Any:
        out, found = run(form.body, [*consts, *carry, *x], (*path, 0))
        new, ys = out[: form.carried], out[form.carried :]
        return new, (ys, {**found, path: _each([*carry, *new], len(ys), form.carried)})

    init = [jnp.asarray(x) for x in init]
    carry, (ys, found) = lax.scan(body, init, xs, form.length, reverse=form.reverse)
    return [*carry, *ys], {p: f.max(0, initial=0) for p, f in found.items()}


def _each(carries: list[Any], others: int, count: int) -> Array:
    """The magnitudes of what is carried, before and after, and nothing for other results."""
    sizes = [magnitude(x) for x in carries]
    both = [jnp.maximum(a, b) for a, b in zip(sizes[:count], sizes[count:], strict=True)]
    nothing = [jnp.zeros(2, jnp.float32)] * others
    return jnp.stack([*both, *nothing]) if both or nothing else jnp.zeros((0, 2), jnp.float32)


def _while(form: While, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    test, consts, init = form.split(operands)

    def goes_on(carry: list[Any]) -> Any:
        return run(form.condition, [*test, *carry], (*path, 0))[0][0]

    def body(carry: list[Any]) -> tuple[list[Any], Found]:
        new, found = run(form.body, [*consts, *carry], (*path, 1))
        return new, {**found, path: _each([*carry, *new], 0, len(new))}

    init = [jnp.asarray(x) for x in init]
    nothing = _nothing(lambda: body(init)[1])

    def step(state: tuple[Any, Found]) -> tuple[Any, Found]:
        new, found = body(state[0])
        return new, jax.tree.map(jnp.maximum, state[1], found)

    return lax.while_loop(lambda state: goes_on(state[0]), step, (init, nothing))


def _branches(form: Branches, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    index, *values = operands
    nothing: Found = {}
    for i, branch in enumerate(form.branches):
        nothing.update(_nothing(lambda i=i, b=branch: run(b, values, (*path, i))[1]))

    def taken(i: int) -> Any:
        def branch(values: list[Any]) -> tuple[list[Any], Found]:
            out, found = run(form.branches[i], values, (*path, i))
            return [jnp.asarray(x) for x in out], {**nothing, **found}

        return branch

    number = jnp.asarray(index).astype(jnp.int32)
    return lax.switch(number, [taken(i) for i in range(len(form.branches))], values)


def _nothing(program: Any) -> Found:
    shapes = jax.eval_shape(program)
    return {path: jnp.zeros(x.shape, x.dtype) for path, x in shapes.items()}


_RUNS: dict[Any, Any] = {Call: _call, Scan: _scan, While: _while, Branches: _branches}
