"""`reveal` as a JAX primitive: the identity in plain JAX, a mark in the jaxpr for `secure`.

Its parameter `to` is the name or the rank of the party that learns the value; None for all.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jsmpc._src.jaxprs import tracing

reveal_p = Primitive("reveal")
reveal_p.def_impl(lambda x, **_: x)
reveal_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(reveal_p, lambda ctx, x, **_: [x])
batching.defvectorized(reveal_p)
ad.primitive_jvps[reveal_p] = lambda primals, tangents, **params: (
    reveal_p.bind(*primals, **params),
    tangents[0],
)


def reveal_public(x: Any, to: str | int | None) -> Any:
    """Mark an array of the user's function to be disclosed to all parties, or to one."""
    return reveal_p.bind(jnp.asarray(x), to=to) if tracing.is_traced(x) else x
