"""Operations modulo a number as equations of a program, whatever instructions they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src import kernels
from jsmpc._src.kernels.batched import mapped_first

# The identity of its first operand, a mark for those who read the program: this is the sum or the
# difference, modulo `modulus`, of the other two, of which it was computed; or a draw made of the
# other one, uniform words.
residue_p = Primitive("residue")
residue_p.def_abstract_eval(lambda value, *_, **__: value)
residue_p.def_impl(lambda value, *_, **__: value)
mlir.register_lowering(residue_p, lambda ctx, value, *_, **__: [value])


def residue(value: Any, *operands: Any, operation: str, modulus: int) -> Any:
    """A value, marked as the result of an `operation`: `add`, `subtract`, `draw`."""
    return residue_p.bind(value, *operands, operation=operation, modulus=modulus)


def _batch(operands: Sequence[Any], dims: Sequence[int | None], **params: Any) -> tuple[Any, int]:
    return residue_p.bind(*mapped_first(operands, dims), **params), 0


batching.primitive_batchers[residue_p] = _batch
kernels.transparent(residue_p)
