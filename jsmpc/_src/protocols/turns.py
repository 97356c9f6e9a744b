"""Roles that go round, so that all parties send the same."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax

from jsmpc._src.network.rounds import ROUND
from jsmpc._src.network.values import PerParty
from jsmpc._src.runtime.context import Context

F = TypeVar("F", bound=Callable[..., Any])

# Elements from which on what one party sends more than others, some 27 bytes of a comparison, is
# worth twenty rounds. Roles that change from one step to the next take a few, and more tracing.
LEAST = 20 * ROUND // 27


def in_turns(step: F) -> F:
    """An elementwise step of three parties alike, of which one sends more than the others.

    Of many elements each third is computed with the parties' roles one further: what party i does
    for the first, party i + 1 does for the second. Shares among the operands are of the elements;
    others are public. Inside of other operations, where less of the difference is left, no turns
    are taken: results are put together after the step.
    """

    @functools.wraps(step)
    def called(smpc: Any, ctx: Context, *operands: Any) -> Any:
        leaves = jax.tree.leaves(operands, is_leaf=_is_share)
        shape, *others = {x.shape for x in leaves if _is_share(x)}
        size = math.prod(shape)
        if ctx.network.turn is not None or others or size < LEAST:
            return step(smpc, ctx, *operands)
        ends = itertools.pairwise(-(-size * i // 3) for i in range(4))
        thirds = []
        for turn, (start, end) in enumerate(ends):
            part = _each(lambda x: x.map(_cut, start, end).turned(turn), operands)
            result = step(smpc, ctx.turned(turn), *part)
            thirds.append(_each(lambda x: x.turned(-turn), result))
        return jax.tree.map(functools.partial(_joined, shape), *thirds, is_leaf=_is_share)

    return called  # type: ignore[return-value]


def _is_share(x: Any) -> bool:
    return isinstance(x, PerParty)


def _each(f: Callable[[PerParty], PerParty], tree: Any) -> Any:
    return jax.tree.map(lambda x: f(x) if _is_share(x) else x, tree, is_leaf=_is_share)


def _cut(words: Any, start: int, end: int) -> Any:
    return lax.slice(lax.reshape(words, (words.size,)), (start,), (end,))


def _joined(shape: tuple[int, ...], first: PerParty, *others: PerParty) -> PerParty:
    return first.map(lambda *words: lax.reshape(lax.concatenate(words, 0), shape), *others)
