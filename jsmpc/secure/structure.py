"""Rules for primitives that move elements or are linear: they act on every share alike."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc import compat
from jsmpc.reveal import reveal_p
from jsmpc.secure.interpreter import REFUSED, Evaluator, Secret, is_secret, rule
from jsmpc.secure.ordering import saturated
from jsmpc.sharing import from_words


@rule(
    lax.reshape_p,
    lax.transpose_p,
    lax.broadcast_in_dim_p,
    lax.squeeze_p,
    lax.slice_p,
    lax.rev_p,
    P.copy_p,
    lax.optimization_barrier_p,
    lax.split_p,
    lax.reduce_window_sum_p,
    *compat.primitives("tile", "unstack"),
    cost="local",
)
def _linear(ev: Evaluator, x: Any, *rest: Any, **params: Any) -> Any:
    bind = ev.eqn.primitive.bind
    if ev.eqn.primitive.multiple_results:
        if not rest:
            return [Secret(part, x.dtype) for part in x.value.maps(lambda w: bind(w, **params))]
        operands = [x, *rest]
        return [v.map(lambda w: bind(w, **params)[0]) if is_secret(v) else v for v in operands]
    if any(map(is_secret, rest)):
        raise ev.unsupported("a secret shape cannot be computed with")
    return x.map(lambda w: bind(w, *rest, **params))


@rule(lax.reduce_sum_p, lax.cumsum_p, cost="local")
def _sum(ev: Evaluator, x: Secret, **params: Any) -> Secret:
    return x.map(lambda w: ev.eqn.primitive.bind(w, **params))


@rule(lax.concatenate_p, *compat.primitives("stack"), cost="local")
def _concatenate(ev: Evaluator, *operands: Any, **params: Any) -> Secret:
    first, *others = ev.secrets(*(saturated(ev, x) for x in operands))
    value = first.value.map(
        lambda *words: ev.eqn.primitive.bind(*words, **params), *(o.value for o in others)
    )
    return Secret(value, first.dtype)


@rule(lax.pad_p, cost="local")
def _pad(ev: Evaluator, x: Any, padding: Any, **params: Any) -> Secret:
    x, padding = ev.secrets(saturated(ev, x), saturated(ev, padding))
    value = x.value.map(lambda w, p: lax.pad_p.bind(w, p, **params), padding.value)
    return Secret(value, x.dtype)


@rule(lax.convert_element_type_p, cost="comparison", error="exact")
def _convert(ev: Evaluator, x: Secret, *, new_dtype: Any, **_: Any) -> Secret:
    return convert(ev, x, np.dtype(new_dtype))


def convert(ev: Evaluator, x: Secret, dtype: np.dtype[Any]) -> Secret:
    """A secret in another dtype, as `x.astype(dtype)`."""
    from jsmpc.functions import circuits, rounding

    smpc, ctx = ev.smpc, ev.ctx
    kinds = [_kind(d) for d in (x.dtype, dtype)]
    if kinds[1] == "complex":
        raise ev.unsupported(REFUSED[lax.complex_p])
    if kinds[0] == kinds[1]:
        return Secret(x.value, dtype)
    if kinds[1] == "bool":
        return Secret(smpc.not_b(ctx, circuits.is_zero(smpc, ctx, x.value)), dtype)
    if kinds[0] == "bool":
        x = Secret(smpc.b2a(ctx, x.value), np.dtype(np.int32))
    if kinds[1] == "int":
        value = x.value
        if kinds[0] == "float":
            value = rounding.toward_zero(smpc, ctx, value, ev.scale)
        return Secret(value, dtype)
    return Secret(x.value * smpc.ring.constant(ev.scale), dtype)


def _kind(dtype: Any) -> str:
    if dtype == np.dtype(bool):
        return "bool"
    if jnp.issubdtype(dtype, jnp.complexfloating):
        return "complex"
    return "int" if jnp.issubdtype(dtype, jnp.integer) else "float"


@rule(P.device_put_p, cost="local")
def _device_put(ev: Evaluator, *operands: Any, **_: Any) -> list[Any]:
    """Shares stay where they are."""
    return list(operands)


@rule(lax.reduce_precision_p, P.stop_gradient_p, compat.checkpoint_name_p, cost="local")
def _same(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    return x


@rule(reveal_p, cost="local", error="exact")
def _reveal(ev: Evaluator, x: Secret) -> Any:
    words = ev.smpc.open(ev.ctx, x.value, x.group)
    return from_words(ev.smpc, words, x.dtype)
