"""Messages as equations of a program: with a source, a target and a phase. And what is opened."""

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


# The value of a message is its operand, known to the target one round later. `at` tells the
# protocol's line.
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

# A value that is opened on purpose: to a party by its rank, to all where `to` is None. The
# identity, a mark for those who read the program; `what` says in words what is opened.
opened_p = Primitive("opened")
opened_p.def_abstract_eval(lambda x, **_: x)
opened_p.def_impl(lambda x, **_: x)
mlir.register_lowering(opened_p, lambda ctx, x, **_: [x])
batching.defvectorized(opened_p)
routine.with_roles(
    opened_p, lambda p, turned: p if p["to"] is None else {**p, "to": turned(p["to"])}
)


def opened(x: Any, to: int | None = None, what: str = "a revealed value") -> Any:
    """A value, marked as one that is opened on purpose."""
    return opened_p.bind(x, to=to, what=what)


kernels.transparent(message_p)
kernels.transparent(held_p)
kernels.transparent(opened_p)
