"""`reveal` as a JAX primitive: the identity in plain JAX, a mark in the jaxpr for `secure`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jsmpc._src.errors import ProtocolError
from jsmpc._src.jaxprs import tracing

reveal_p = Primitive("reveal")
reveal_p.def_impl(lambda x: x)
reveal_p.def_abstract_eval(lambda x: x)
mlir.register_lowering(reveal_p, lambda ctx, x: [x])
batching.defvectorized(reveal_p)
ad.primitive_jvps[reveal_p] = lambda primals, tangents: (reveal_p.bind(*primals), tangents[0])


def reveal_public(x: Any, to: Any) -> Any:
    """Mark an array of the user's function to be disclosed to all parties."""
    if not tracing.is_traced(x):
        return x
    if to is not None:
        raise ProtocolError(
            "inside a function, reveal discloses to all parties: what only one party knows "
            "cannot be computed on as public. Return the secret, and call jsmpc.reveal(share, "
            f"to={to!r}) on the result"
        )
    return reveal_p.bind(jnp.asarray(x))
