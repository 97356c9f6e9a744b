"""How large the numbers of a program are, equation by equation, where it runs in the clear.

The magnitude of an array is that of its largest number. In a loop, and in several runs, it changes:
of each result are found the largest magnitude, and the least that is not zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.interpreter import recognition
from jsmpc._src.interpreter.scales import Path
from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure

Array = jax.Array
Found = dict[Path, tuple[Array, ...]]
"""For each equation with results of numbers, of each of these an array of the largest magnitude and
of the inverse of the least: of both, the largest of several is that of all. At the empty path are
those of the program's arguments."""

# Of these, whatever their operand has, and no more, is in the result.
_SAME = (
    *(lax.reshape_p, lax.transpose_p, lax.broadcast_in_dim_p, lax.squeeze_p, lax.slice_p),
    *(lax.rev_p, lax.neg_p, lax.abs_p, P.stop_gradient_p, P.copy_p, lax.split_p),
)


@dataclasses.dataclass(frozen=True)
class Extent:
    """How large a result is: its largest magnitude, and the least that is not zero; 0 and infinity
    where it is always zero."""

    largest: float
    least: float


def extents(found: Sequence[Found]) -> Mapping[Path, tuple[Extent, ...]]:
    """Those of several runs."""

    def extent(*sizes: Array) -> Extent:
        largest, inverse = map(float, np.max(sizes, 0))
        return Extent(largest, 1 / inverse if inverse else math.inf)

    return jax.tree.map(extent, *found)


def magnitude(x: Any) -> Array:
    """That of the numbers of an array, float32[2], as of `Found`: NaN does not count, which no
    secret can be."""
    if not jnp.issubdtype(x.dtype, jnp.floating) or not np.size(x):
        return jnp.zeros(2, jnp.float32)
    largest = jnp.abs(x).max(initial=0, where=~jnp.isnan(x)).astype(jnp.float32)
    return jnp.stack([largest, jnp.where(largest > 0, 1 / largest, 0)])


def of_program(jaxpr: Any, args: Sequence[Any]) -> Found:
    """The magnitudes of a (closed) jaxpr's arguments, and of all results in it."""
    return {**run(jaxpr, args)[1], (): tuple(map(magnitude, args))}


def run(jaxpr: Any, args: Sequence[Any], path: Path = ()) -> tuple[list[Any], Found]:
    """The outputs of a (closed) jaxpr on plain arrays, and the magnitudes of all results."""
    found: Found = {}
    known: dict[Any, Array] = {}

    def apply(number: int, eqn: Any, operands: list[Any]) -> list[Any]:
        here = (*path, number)
        form = structure(eqn)
        if form is not None:
            results, inner = _RUNS[type(form)](form, operands, here)
            found.update(inner)
            return results
        results = compat.bind(eqn, operands)
        if any(jnp.issubdtype(x.dtype, jnp.floating) for x in results):
            given = _known(eqn, known)
            found[here] = tuple(magnitude(x) if given is None else given for x in results)
            known.update(zip(eqn.outvars, found[here], strict=True))
        return results

    return recognition.evaluate(jaxpr, args, apply), found


def _known(eqn: Any, sizes: dict[Any, Array]) -> Array | None:
    """The magnitude of what an equation only moves, if it is among those found."""
    x = eqn.invars[0] if eqn.primitive in _SAME else None
    return None if x is None or isinstance(x, Literal) else sizes.get(x)


def _call(form: Call, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    return run(form.body, operands, (*path, 0))


def _scan(form: Scan, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    """Of what is carried, all that it ever is."""
    consts, init, xs = form.split(operands)
    trees: list[Any] = []

    def body(carry: Any, x: Any) -> Any:
        out, found = run(form.body, [*consts, *carry, *x], (*path, 0))
        new, ys = out[: form.carried], out[form.carried :]
        sizes, tree = jax.tree.flatten({**found, path: _each(carry, new)})
        trees.append(tree)
        # As one array, as a loop with a result for each takes long to compile.
        return new, (ys, jnp.array(sizes, jnp.float32).reshape(-1, 2))

    init = [jnp.asarray(x) for x in init]
    carry, (ys, rows) = lax.scan(body, init, xs, form.length, reverse=form.reverse)
    return [*carry, *ys], jax.tree.unflatten(trees[-1], list(rows.max(0, initial=0)))


def _each(before: list[Any], after: list[Any]) -> tuple[Array, ...]:
    """The magnitudes of what is carried, before and after."""
    pairs = zip(before, after, strict=True)
    return tuple(jnp.maximum(magnitude(a), magnitude(b)) for a, b in pairs)


def _while(form: While, operands: list[Any], path: Path) -> tuple[list[Any], Found]:
    test, consts, init = form.split(operands)

    def goes_on(carry: list[Any]) -> Any:
        return run(form.condition, [*test, *carry], (*path, 0))[0][0]

    def body(carry: list[Any]) -> tuple[list[Any], Found]:
        new, found = run(form.body, [*consts, *carry], (*path, 1))
        return new, {**found, path: _each(carry, new)}

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
            results = [jnp.asarray(x) for x in out]
            return results, {**nothing, **found, path: tuple(map(magnitude, results))}

        return branch

    number = jnp.asarray(index).astype(jnp.int32)
    return lax.switch(number, [taken(i) for i in range(len(form.branches))], values)


def _nothing(program: Any) -> Found:
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(program))


_RUNS: dict[Any, Any] = {Call: _call, Scan: _scan, While: _while, Branches: _branches}
