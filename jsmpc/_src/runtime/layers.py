"""Layers of a run: sub-programs that are traced once for all of their calls.

Each call has seeds of its own, as the iterations of a loop have, so that a layer makes the same
draws at every call and no mask twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np

from jsmpc._src.jaxprs import layer, tracing
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.dealing import Dealer


@dataclasses.dataclass(frozen=True)
class Traced:
    """A layer: its program, the form of its results, and the papers that it cites.

    Of its results, those that are known while it is traced are in `known`, by their place.
    """

    jaxpr: Any
    form: Any
    known: dict[int, Any]
    papers: tuple[str, ...]

    def __call__(self, arrays: list[Any]) -> Any:
        computed = iter(layer.call(self.jaxpr, arrays))
        places = range(self.form.num_leaves)
        leaves = [self.known[i] if i in self.known else next(computed) for i in places]
        return jax.tree.unflatten(self.form, leaves)


def call(
    ctx: Context, name: Hashable, program: Callable[[Context, Any], Any], operands: list[Any]
) -> Any:
    """program(context, operands), traced once for each kind of operands.

    Where a dealer writes down what is to be dealt, or hands out what was, it is traced at its
    place.

    Args:
      ctx: the run's.
      name: of the program: equal for programs that are equal.
      program: from a context of its own, and the operands, to a tree of shares and arrays.
      operands: trees of shares and arrays; arrays that are known while it is traced stay known.
    """
    inner = ctx.layer()
    if not inner.deals_in_place:
        return program(inner, operands)
    leaves, tree = jax.tree.flatten((inner.seeds, inner.state, operands))
    kinds = tuple(_Kind.of(x) if tracing.is_traced(x) else _Known.of(x) for x in leaves)
    place = name, inner.network, inner.takes_turns, tree, kinds
    if (traced := ctx.layers.get(place)) is None:
        traced = ctx.layers[place] = _trace(program, inner, tree, kinds)
    ctx.cite(traced.papers)
    return traced([x for x in leaves if tracing.is_traced(x)])


@dataclasses.dataclass(frozen=True)
class _Kind:
    """The shape and the dtype of an array."""

    shape: tuple[int, ...]
    dtype: Any

    @classmethod
    def of(cls, x: Any) -> _Kind:
        return cls(tuple(x.shape), x.dtype)


@dataclasses.dataclass(frozen=True)
class _Known:
    """A value that is known, equal to those of the same elements."""

    name: Hashable
    value: Any = dataclasses.field(compare=False)

    @classmethod
    def of(cls, x: Any) -> _Known:
        if isinstance(x, np.ndarray | np.generic):
            return cls((x.shape, str(x.dtype), np.asarray(x).tobytes()), x)
        return cls(id(x), x)  # which lives as long as this


def _trace(
    program: Callable[[Context, Any], Any], inner: Context, tree: Any, kinds: tuple[Any, ...]
) -> Traced:
    found: list[Any] = []

    def computed(*arrays: Any) -> list[Any]:
        given = iter(arrays)
        leaves = [next(given) if isinstance(kind, _Kind) else kind.value for kind in kinds]
        seeds, state, operands = jax.tree.unflatten(tree, leaves)
        ctx = Context(
            inner.network, seeds, Dealer(), inner.optimize, state, inner.takes_turns, again=True
        )
        results, form = jax.tree.flatten(program(ctx, operands))
        known = {i: x for i, x in enumerate(results) if not tracing.is_traced(x)}
        found.append((form, known, tuple(ctx.cited)))
        return [x for x in results if tracing.is_traced(x)]

    types = [jax.ShapeDtypeStruct(k.shape, k.dtype) for k in kinds if isinstance(k, _Kind)]
    return Traced(jax.make_jaxpr(computed)(*types), *found[-1])
