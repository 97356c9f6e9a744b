"""Messages as equations of a program: with a source, a target and a phase."""

from __future__ import annotations

from typing import Any

from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src import kernels
from jsmpc._src.jaxprs import routine


def _turned(params: dict[str, Any], turned: routine.Turned) -> dict[str, Any]:
    """The ends of a message; the dealer is no party with a role."""
    ends = {end: params[end] for end in ("source", "target")}
    further = {k: turned(rank) if isinstance(rank, int) else rank for k, rank in ends.items()}
    return {**params, **further}


# The value of a message is its operand, known to the target one round later.
message_p = Primitive("message")
message_p.def_abstract_eval(lambda x, **_: x)
message_p.def_impl(lambda x, **_: x)
mlir.register_lowering(message_p, lambda ctx, x, **_: [x])
batching.defvectorized(message_p)
routine.with_roles(message_p, _turned)

# A component that two parties hold, each having computed it in its own way: known to both once
# the later of them knows it. Two operands of one value; the result is that value.
held_p = Primitive("held")
held_p.def_abstract_eval(lambda x, y: x)
held_p.def_impl(lambda x, y: x)
mlir.register_lowering(held_p, lambda ctx, x, y: [x])
batching.defvectorized(held_p)

kernels.transparent(message_p)
kernels.transparent(held_p)
