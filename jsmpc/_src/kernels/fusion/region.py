"""A region: equations that run as one pass of the elementwise machine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.kernels import native, stream
from jsmpc._src.kernels.fusion.assembler import Assembler
from jsmpc._src.kernels.fusion.equations import WORDS, size_of, variables

Array = jax.Array

if TYPE_CHECKING:
    from jsmpc._src.kernels.fusion.stages import Fused


@dataclasses.dataclass(frozen=True)
class Join:
    """Values of a region that are written side by side, from their places on in one result.

    Attributes:
      result: the variable; values: with their places; begins: whether no region wrote before.
    """

    result: Any
    values: dict[Any, int]
    begins: bool


class Region:
    """Equations of one stage and size, as a program and as equations."""

    def __init__(self, whole: Fused, region: tuple[int, int]):
        self.equations = _draws_at_first_use(whole.regions[region], whole)
        self.size = region[1]
        self.inside = {e.outvars[0] for e in self.equations}
        self.results = [e.outvars[0] for e in self.equations if e.outvars[0] in whole.exported]
        self.slots = {v: (i, 0) for i, v in enumerate(self.results)}
        self.joins = whole.joins[region]
        self.operands: dict[Any, int] = {}  # with their positions
        self.continued: dict[int, int] = {}  # operands by their positions: results, by theirs
        for join in self.joins:
            self.slots.update((v, (len(self.results), start)) for v, start in join.values.items())
            if not join.begins:
                self.continued[len(self.operands)] = len(self.results)
                self.operands[join.result] = len(self.operands)
            self.results.append(join.result)
        self.root = {v: whole.seen(v) for e in self.equations for v in variables(e.invars)}
        self.known = {v: word for v in self.root if (word := _known(whole, v)) is not None}
        for eqn in self.equations:
            for v in eqn.invars:
                if isinstance(v, Literal) or v in self.known:
                    continue
                seen, _ = self.root[v]
                if seen not in self.inside:
                    self.operands.setdefault(seen, len(self.operands))

    def evaluate(self, *operands: Array) -> list[Array]:
        """The results by the equations themselves."""
        env = dict(zip(self.operands, operands, strict=True))

        def read(v: Any) -> Any:
            if isinstance(v, Literal):
                return compat.literal_value(v)
            if v in self.known:
                return jnp.full(v.aval.shape, self.known[v], v.aval.dtype)
            seen, offset = self.root[v]
            flat = env[seen].reshape(-1)
            return jnp.broadcast_to(
                flat[offset : offset + size_of(v)] if flat.size > 1 else flat, (size_of(v),)
            ).reshape(v.aval.shape)

        for eqn in self.equations:
            env[eqn.outvars[0]] = compat.bind(eqn, [read(v) for v in eqn.invars])[0]
        for join in self.joins:
            out = join.result.aval
            flat = jnp.zeros(out.size, out.dtype) if join.begins else env[join.result].reshape(-1)
            pieces, end = [], 0
            for v, start in sorted(join.values.items(), key=lambda piece: piece[1]):
                pieces += [flat[end:start], env[v].reshape(-1)]
                end = start + size_of(v)
            env[join.result] = jnp.concatenate([*pieces, flat[end:]]).reshape(out.shape)
        return [env[v] for v in self.results]

    def run(self, *operands: Array) -> list[Array]:
        """The results by the elementwise machine."""
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in self.results]
        return Assembler(self).program(operands, shapes, self.continued)


def _known(whole: Fused, v: Any) -> int | None:
    """The word that a variable consists of, if it is known before the region runs."""
    constant = whole.constant(v)
    return _known_scalar(whole.env.get(whole.seen(v)[0])) if constant is None else constant


def _known_scalar(x: Any) -> int | None:
    if x is None or tracing.is_traced(x) or np.size(x) != 1:
        return None
    return int(np.asarray(x).reshape(())) if np.asarray(x).dtype in WORDS else None


def _draws_at_first_use(eqns: list[Any], whole: Fused) -> list[Any]:
    """The equations with each draw just before it is used, so that it stays in cache."""
    waiting = {e.outvars[0]: e for e in eqns if e.primitive is stream.draw_p}
    ordered = []
    for eqn in eqns:
        if eqn.primitive is not stream.draw_p:
            for v in variables(eqn.invars):
                if (drawn := waiting.pop(whole.seen(v)[0], None)) is not None:
                    ordered.append(drawn)
            ordered.append(eqn)
    return [*waiting.values(), *ordered]


fused_p = Primitive("fused")
fused_p.multiple_results = True


def _run(*operands: Array, region: Region) -> list[Array]:
    with jax.enable_x64(True):
        return (region.run if native.available() else region.evaluate)(*operands)


def _evaluate(*operands: Array, region: Region) -> list[Array]:
    with jax.enable_x64(True):
        return region.evaluate(*operands)


def _abstract(*_: Any, region: Region) -> list[Any]:
    return [jax.core.ShapedArray(v.aval.shape, v.aval.dtype) for v in region.results]


def _batch(operands: Any, dims: Any, *, region: Region) -> tuple[list[Array], list[int]]:
    out = jax.vmap(region.evaluate, in_axes=tuple(dims))(*operands)
    return out, [0] * len(out)


fused_p.def_abstract_eval(_abstract)
fused_p.def_impl(lambda *operands, region: _evaluate(*operands, region=region))
batching.primitive_batchers[fused_p] = _batch
mlir.register_lowering(fused_p, mlir.lower_fun(_evaluate, multiple_results=True))
mlir.register_lowering(fused_p, mlir.lower_fun(_run, multiple_results=True), "cpu")
