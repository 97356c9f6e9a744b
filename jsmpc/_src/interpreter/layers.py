"""Layers of the user's function, each evaluated once for all of its calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax

from jsmpc._src.interpreter.misfits import Misfits
from jsmpc._src.interpreter.private import is_private
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.runtime import layers

if TYPE_CHECKING:
    from jsmpc._src.interpreter.evaluator import Evaluator


def evaluate(ev: Evaluator, eqn: Any, operands: Sequence[Any]) -> list[Any]:
    """The results of a layer; evaluated at its place where it has no secrets, or what one party
    alone knows."""
    body = eqn.params["jaxpr"]
    if not any(map(is_secret, operands)) or any(map(is_private, operands)):
        return ev.inlined(body, operands)

    def program(ctx: Any, operands: list[Any]) -> Any:
        inner = ev.enter(ctx)
        results = inner.inlined(body, list(map(_whole, operands)))
        return list(map(_apart, results)), inner.findings.unsettled

    name = body, ev.checks_overflow
    results, found = layers.call(ev.ctx, name, program, list(map(_apart, operands)))
    ev.findings.add(found)
    return list(map(_whole, results))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Apart:
    """A secret, and which of its elements are of no use; `kinds` tells where each began, and the
    error, if it is one."""

    secret: Secret
    where: list[Any]
    kinds: tuple[Any, ...] = dataclasses.field(metadata={"static": True})


def _apart(x: Any) -> Any:
    if not is_secret(x) or not x.misfits:
        return x
    found: dict[Any, Any] = {}  # one of a kind, so that equal layers get equal operands
    for place, m in x.misfits:
        kind = place, m.error
        found[kind] = found[kind] | m.where if kind in found else m.where
    return _Apart(dataclasses.replace(x, misfits=()), list(found.values()), tuple(found))


def _whole(x: Any) -> Any:
    if not isinstance(x, _Apart):
        return x
    pairs = zip(x.kinds, x.where, strict=True)
    misfits = [(place, Misfits(where, error)) for (place, error), where in pairs]
    return dataclasses.replace(x.secret, misfits=misfits)
