"""Rules for primitives that move elements or are linear: they act on every share alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jax import lax
from jax.extend.core import Primitive
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular, Range
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import with_room
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat


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
    *compat.primitives("tile", "unstack"),
    cost="local",
    modular=Modular(),
    scaled=True,
)
def _linear(ev: Evaluator, x: Any, *rest: Any, **params: Any) -> Any:
    bind = ev.eqn.primitive.bind
    if ev.eqn.primitive.multiple_results:
        if not rest:
            parts = x.shares.maps(lambda w: bind(w, **params))
            return [dataclasses.replace(x, shares=part) for part in parts]
        operands = [x, *rest]
        return [v.map(lambda w: bind(w, **params)[0]) if is_secret(v) else v for v in operands]
    if any(map(is_secret, rest)):
        raise ev.unsupported("a secret shape cannot be computed with")
    return x.map(lambda w: bind(w, *rest, **params))


def _sums(primitive: Primitive, reached: Callable[[Any, Range], Range]) -> None:
    @rule(primitive, cost="local", modular=Modular(reached), scaled=True)
    def sums(ev: Evaluator, x: Secret, **params: Any) -> Secret:
        x = with_room(ev, x)
        value = x.value.map(lambda w: primitive.bind(w, **params))
        return ev.number(value, x.dtype, ev.encoding_of(x), reached(ev.eqn, x.range))


_sums(lax.reduce_sum_p, ranges.reduced)
_sums(lax.cumsum_p, ranges.cumulative)
_sums(lax.reduce_window_sum_p, ranges.windows)


_UNION = Modular(ranges.union)


@rule(lax.concatenate_p, *compat.primitives("stack"), cost="local", modular=_UNION, scaled=True)
def _concatenate(ev: Evaluator, *operands: Any, **params: Any) -> Secret:
    first, *others = ev.cases(*operands)
    return first.map(lambda *words: ev.eqn.primitive.bind(*words, **params), *others)


@rule(lax.pad_p, cost="local", modular=_UNION, scaled=True)
def _pad(ev: Evaluator, x: Any, padding: Any, **params: Any) -> Secret:
    x, padding = ev.cases(x, padding)
    return x.map(lambda w, p: lax.pad_p.bind(w, p, **params), padding)


@rule(P.device_put_p, cost="local", modular=Modular(), scaled=True)
def _device_put(ev: Evaluator, *operands: Any, **_: Any) -> list[Any]:
    """Shares stay where they are."""
    return list(operands)


@rule(
    lax.reduce_precision_p, P.stop_gradient_p, compat.checkpoint_name_p, cost="local", scaled=True
)
def _same(ev: Evaluator, x: Secret, **_: Any) -> Secret:
    return x
