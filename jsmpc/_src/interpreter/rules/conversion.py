"""Rules for conversion between dtypes."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import REFUSED, rule
from jsmpc._src.interpreter.rules.arithmetic import at_most, from_integer
from jsmpc._src.interpreter.scales import room
from jsmpc._src.interpreter.secret import Secret


@rule(lax.convert_element_type_p, cost="comparison", modular=Modular(), scaled=True)
def _convert(ev: Evaluator, x: Secret, *, new_dtype: Any, **_: Any) -> Secret:
    return convert(ev, x, np.dtype(new_dtype))


def convert(ev: Evaluator, x: Secret, dtype: np.dtype[Any]) -> Secret:
    """A secret in another dtype, as `x.astype(dtype)`."""
    from jsmpc._src.functions import rounding

    smpc, ctx = ev.smpc, ev.ctx
    kinds = [_kind(d) for d in (x.dtype, dtype)]
    if kinds[1] == "complex":
        raise ev.unsupported(REFUSED[lax.complex_p])
    if kinds[0] == kinds[1]:
        return Secret(x.shares, dtype, x.range if kinds[0] == "int" else x.bounds, x.encoding)
    if kinds[1] == "bool":
        return Secret(smpc.not_b(ctx, smpc.is_zero(ctx, x.value)), dtype)
    if kinds[0] == "bool":
        x = Secret(smpc.b2a(ctx, x.bits), np.dtype(np.int32), x.range)
    if kinds[1] == "int":
        if kinds[0] == "float":
            x = at_most(ev, x, room(smpc.encoding.base, smpc.ring) // 2)
            return Secret(rounding.toward_zero(smpc, ctx, x.value, ev.scale_of(x)), dtype)
        return Secret(x.value, dtype, x.range)
    return from_integer(ev, x, dtype)


def _kind(dtype: Any) -> str:
    if dtype == np.dtype(bool):
        return "bool"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "complex"
    return "int" if jnp.issubdtype(dtype, jnp.integer) else "float"
