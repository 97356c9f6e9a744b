"""Operations that are traced once for each kind of operands, and called again after that.

Tracing takes most of a first call, and programs consist of few operations, over and over. What is
the same in two calls is the program alone: each has the seeds of its run and draws of its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np

from jsmpc._src.jaxprs import compat, routine, structure
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import PerParty
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.dealing import Dealer

F = TypeVar("F", bound=Callable[..., Any])
_Traced = tuple[Any, tuple[Any, ...], Any, int, tuple[int, ...], tuple[str, ...]]


def traced_once(f: F) -> F:
    """f(protocol, context, operands, …) as a routine, for each kind of its operands.

    It is traced at its place where it loops, as the iterations' seeds have its numbers in them, and
    where a dealer writes down what is to be dealt, or hands out what was.

    Its operands are trees of shares and arrays, and of what is hashable; its results of shares.
    """

    @functools.wraps(f)
    def called(smpc: Any, ctx: Context, *args: Any, **kwargs: Any) -> Any:
        if not ctx.deals_in_place:
            return f(smpc, ctx, *args, **kwargs)
        arrays, tree, kinds = _taken_apart(ctx, args, kwargs)
        found = _trace(f, smpc, ctx.network.unturned(), ctx.takes_turns, tree, kinds)
        if found is None:
            return f(smpc, ctx, *args, **kwargs)
        jaxpr, constants, form, count, excess, papers = found
        ctx.cite(papers)
        turn = ctx.take_turn(excess)
        if turn:
            ctx = ctx.turned(turn)
            arrays, *_ = _taken_apart(ctx, turned(args, turn), turned(kwargs, turn))
        of = ctx.network.turn or 0, ctx.network.parties
        out = routine.call(jaxpr, ctx.reserve(count), [*constants, *arrays], of)
        result = jax.tree.unflatten(form, out)
        return turned(result, -turn) if turn else result

    return called  # type: ignore[return-value]


def turned(tree: Any, turn: int) -> Any:
    """Shares, and trees of them, with each place's value the one `turn` after it."""
    return jax.tree.map(lambda x: x.turned(turn) if is_share(x) else x, tree, is_leaf=is_share)


def is_share(x: Any) -> bool:
    return isinstance(x, PerParty)


def _taken_apart(ctx: Context, args: Any, kwargs: Any) -> tuple[list[Any], Any, tuple[Any, ...]]:
    """The arrays of an operation's operands, their form, and what they are of."""
    leaves, tree = jax.tree.flatten((ctx.seeds, ctx.state, args, kwargs))
    arrays = [x for x in leaves if _is_array(x)]
    return arrays, tree, tuple(_Kind.of(x) if _is_array(x) else x for x in leaves)


def forget() -> None:
    """Traces all operations anew from now on."""
    _trace.cache_clear()


class _Kind(tuple[Any, Any]):
    """The shape and the dtype of an array."""

    __slots__ = ()

    @classmethod
    def of(cls, x: Any) -> _Kind:
        return cls((tuple(x.shape), x.dtype))


def _is_array(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray)


@functools.lru_cache(maxsize=256)
def _trace(
    f: Callable[..., Any],
    smpc: Any,
    network: Network,
    takes_turns: bool,
    tree: Any,
    kinds: tuple[Any, ...],
) -> _Traced | None:
    """A routine: its jaxpr, the constants that it takes first, the form of its results, how many
    numbers it takes, what each role sends more than others, and the papers that it cites; None
    where it cannot be one."""
    drawn: list[tuple[int, tuple[int, ...], tuple[str, ...]]] = []

    def program(*arrays: Any) -> Any:
        given = iter(arrays)
        leaves = [next(given) if isinstance(kind, _Kind) else kind for kind in kinds]
        seeds, state, args, kwargs = jax.tree.unflatten(tree, leaves)
        ctx = Context(network.turned(0), seeds, Dealer(), state=state, takes_turns=takes_turns)
        out = f(smpc, ctx, *args, **kwargs)
        drawn.append((ctx.reserve(0), ctx.excess, tuple(ctx.cited)))
        return out

    types = [jax.ShapeDtypeStruct(*kind) for kind in kinds if isinstance(kind, _Kind)]
    closed, shape = jax.make_jaxpr(program, return_shape=True)(*types)
    jaxpr, constants = compat.open_jaxpr(closed)
    forms = (structure.Scan, structure.While, structure.Branches)
    if any(isinstance(structure.structure(eqn), forms) for eqn in jaxpr.eqns):
        return None
    opened = jaxpr.replace(constvars=[], invars=[*jaxpr.constvars, *jaxpr.invars])
    return opened, tuple(constants), jax.tree.structure(shape), *drawn[-1]
