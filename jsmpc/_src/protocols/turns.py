"""Roles that go round, so that all parties send the same."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax import lax

from jsmpc._src.network.values import PerParty
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.routines import is_share, turned

F = TypeVar("F", bound=Callable[..., Any])

# Elements from which on it is worth tracing a step once more for each third.
LEAST = 400
LEAST_IN_COLUMNS = 8192


def in_turns(step: F) -> F:
    """An elementwise step of three parties alike, of which one sends more than the others.

    Of many elements each third is computed with the parties' roles one further: what party i does
    for the first, party i + 1 does for the second. Shares among the operands are of the elements;
    others are public. Inside of other operations, where other steps send too, it is done as a
    whole, see `in_turn`: results are put together after the step.
    """

    @functools.wraps(step)
    def called(smpc: Any, ctx: Context, *operands: Any) -> Any:
        shape = _shape(operands)
        if ctx.network.turn is not None or shape is None or math.prod(shape) < LEAST:
            return step(smpc, ctx, *operands)
        return _thirds(step, smpc, ctx, operands, shape, ())

    return called  # type: ignore[return-value]


def columns_in_turns(step: Callable[..., Any]) -> Callable[..., Any]:
    """Like `in_turns`, of a step along the leading axis, whatever stands beside it; results lack
    that axis."""

    def called(smpc: Any, ctx: Context, x: Any) -> Any:
        if ctx.network.turn is not None or math.prod(x.shape) < LEAST_IN_COLUMNS:
            return step(smpc, ctx, x)
        return _thirds(step, smpc, ctx, (x,), x.shape[1:], x.shape[:1])

    return called


def _thirds(
    step: Callable[..., Any],
    smpc: Any,
    ctx: Context,
    operands: tuple[Any, ...],
    shape: tuple[int, ...],
    along: tuple[int, ...],
) -> Any:
    """The results, of a shape, of three steps of a third of the elements each."""
    size = math.prod(shape)
    third = -(-size // 3)
    results = []
    for turn, start in enumerate((0, third, 2 * third)):
        end = min(start + third, size)
        part = turned(_each(lambda x: x.map(_cut, along, start, end), operands), turn)
        results.append(turned(step(smpc, ctx.turned(turn), *part), -turn))
    return jax.tree.map(functools.partial(_joined, shape), *results, is_leaf=is_share)


def in_turn(excess: Callable[..., float]) -> Callable[[F], F]:
    """A step of three parties alike, of which the first sends more than the others: the one who
    has to be first takes its role who has sent least so far.

    Args:
      excess: words an element that the first sends more, by the protocol and the operands.
    """

    def decorate(step: F) -> F:
        @functools.wraps(step)
        def called(smpc: Any, ctx: Context, *operands: Any) -> Any:
            leaves = jax.tree.leaves(operands, is_leaf=is_share)
            size = max(math.prod(x.shape) for x in leaves if is_share(x))
            more = round(excess(smpc, *operands) * size * smpc.bits / 8)
            turn = ctx.take_turn((more, 0, 0))
            if not turn:
                return step(smpc, ctx, *operands)
            return turned(step(smpc, ctx.turned(turn), *turned(operands, turn)), -turn)

        return called  # type: ignore[return-value]

    return decorate


def _shape(operands: Any) -> tuple[int, ...] | None:
    """The one shape of all shares among the operands; None if there are several."""
    leaves = jax.tree.leaves(operands, is_leaf=is_share)
    shape, *others = {x.shape for x in leaves if is_share(x)}
    return None if others else shape


def _each(f: Callable[[PerParty], PerParty], tree: Any) -> Any:
    return jax.tree.map(lambda x: f(x) if is_share(x) else x, tree, is_leaf=is_share)


def _cut(words: Any, along: tuple[int, ...], start: int, end: int) -> Any:
    flat = lax.reshape(words, (*along, words.size // math.prod(along)))
    return lax.slice_in_dim(flat, start, end, axis=len(along))


def _joined(shape: tuple[int, ...], first: PerParty, *others: PerParty) -> PerParty:
    return first.map(lambda *words: lax.reshape(lax.concatenate(words, 0), shape), *others)
