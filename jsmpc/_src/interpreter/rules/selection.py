"""Rules for selection by a public or secret condition."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.functions import circuits, comparison, indexing
from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.exhaustive import exhaustive_p
from jsmpc._src.interpreter.misfits import chosen
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules.arithmetic import is_known
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret


def select(ev: Evaluator, predicate: Any, x: Any, y: Any) -> Any:
    """x where the predicate holds, else y; each may be secret or public."""
    if not is_secret(predicate):
        if not is_secret(x) and not is_secret(y):
            return lax.select_n(predicate, y, x)
        return _select_n(ev, predicate, y, x)
    x, y = ev.cases(x, y)
    bit = predicate.bits
    if bit.shape != x.shape:
        bit = bit.map(lambda a: jnp.broadcast_to(a, x.shape))
    if x.dtype == BOOL:
        return Secret(circuits.choose(ev.smpc, ev.ctx, bit, x.bits, y.bits), BOOL)
    value = comparison.select(ev.smpc, ev.ctx, bit, x.value, y.value)
    return ev.number(value, x.dtype, ev.encoding_of(x), ranges.union(None, x.range, y.range))


@rule(lax.select_n_p, cost="product", modular=Modular(ranges.chosen, slice(1, None)), scaled=True)
def _select_n(ev: Evaluator, predicate: Any, *cases: Any) -> Any:
    """Public cases may hold ±inf: see `Evaluator.saturated`. One never chosen may hold anything."""
    if not is_secret(predicate):
        if is_known(predicate) and np.size(predicate):
            index = np.asarray(predicate).flat[0]
            if (np.asarray(predicate) == index).all():
                return cases[int(index)]
        possible = [_possible(ev, predicate, i, x) for i, x in enumerate(cases)]
        first, *others = ev.cases(*possible)
        return first.map(lambda *w: lax.select_n(predicate, *w), *others)
    if len(cases) == 1:
        return cases[0]
    return choose(ev, predicate, cases)


def _possible(ev: Evaluator, predicate: Any, i: int, case: Any) -> Any:
    """A case, without what could not be a secret's and is never chosen."""
    if is_secret(case):
        return case
    where = ev.smpc.encoding.misfits(case, ev.smpc.ring)
    fits = where is None or (is_known(case) and not np.any(where))
    return case if fits else chosen(predicate, i, case)


@rule(exhaustive_p, cost="product")
def _exhaustive(ev: Evaluator, second: Any, index: Any, *cases: Any) -> Any:
    """Of a secret number one of both conditions holds, and the case of none is never chosen."""
    if not is_secret(index):
        return _select_n(ev, index, *cases)
    return select(ev, second, cases[2], cases[1])


def choose(ev: Evaluator, index: Secret, cases: Sequence[Any]) -> Any:
    """The case of a secret number, which is in range; of all cases' shape or a scalar.

    Of two cases the lower bit selects. Of more, the one-hot vector of the number does: the sum of
    its products with all of them.
    """
    if len(cases) == 2:
        bit = index if index.dtype == BOOL else Secret(ev.smpc.lsb(ev.ctx, index.value), BOOL)
        return select(ev, bit, cases[1], cases[0])
    smpc, ctx = ev.smpc, ev.ctx
    first, *others = ev.cases(*cases)
    dtype = first.dtype
    stacked = first.map(lambda *w: jnp.stack(w), *others)
    hot = indexing.decode(smpc, ctx, index.value, len(cases))
    shape = (len(cases), *[1] * (stacked.ndim - 1 - index.ndim), *index.shape)
    hot = hot.map(lambda h: jnp.moveaxis(h, -1, 0).reshape(shape))
    if dtype == BOOL:
        chosen = smpc.and_bb(ctx, hot, stacked.bits)
        return Secret(chosen.map(lambda c: lax.reduce_xor(c, (0,))), dtype)
    product = smpc.mul_aa(ctx, smpc.b2a(ctx, hot), stacked.value)
    value = product.map(lambda c: c.sum(0, dtype=c.dtype))
    return dataclasses.replace(stacked, shares=value)
