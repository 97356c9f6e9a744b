"""Compiled programs of secure functions: whole, or in pieces where they have layers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import jax

from jsmpc._src.api.arguments import any_traced
from jsmpc._src.kernels.fusion.pieces import Pieces, in_pieces


class Compiled:
    """f(static, *arrays), compiled once for each kind of arguments.

    Where it has layers, each of these is compiled once and the pieces run one after another; as a
    whole inside of a transformation, and without layers.

    Attributes:
      whole: f as a jitted function.
    """

    def __init__(self, f: Callable[..., Any]):
        self.whole = jax.jit(f, static_argnums=0)
        self._without_layers: set[Hashable] = set()
        self._programs: dict[Hashable, tuple[Pieces, Any]] = {}

    def __call__(self, static: Hashable, *operands: Any) -> Any:
        if static in self._without_layers or any_traced(operands):
            return self.whole(static, *operands)
        arrays = jax.tree.leaves(operands)
        kind = static, tuple(map(jax.typeof, arrays))
        if kind not in self._programs:
            traced = self.whole.trace(static, *operands)
            pieces = in_pieces(traced.jaxpr)
            if pieces is None:
                self._without_layers.add(static)
                return self.whole(static, *operands)
            self._programs[kind] = pieces, jax.tree.structure(traced.out_info)
        pieces, form = self._programs[kind]
        return jax.tree.unflatten(form, pieces(arrays))
