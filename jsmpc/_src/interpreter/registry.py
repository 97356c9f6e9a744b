"""The rules: how each primitive is computed on secrets, or why it cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from jax.extend.core import Primitive

COSTS = {
    "local": "no message",
    "product": "one product and its truncation",
    "comparison": "one or several comparisons",
    "function": "a bit decomposition or range reduction, and a short polynomial",
    "order": "comparisons in log² rounds, or products with one-hot vectors",
    "program": "that of the sub-program",
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a primitive is computed on secrets.

    Attributes:
      apply: f(evaluator, *operands, **parameters) -> result or list of results.
      cost: one of `COSTS`.
      error: the bound of the result's error, in units in the last place (ulp) or relative.
    """

    apply: Callable[..., Any]
    cost: str
    error: str


RULES: dict[Primitive, Rule] = {}


REFUSED: dict[Primitive, str] = {}


F = TypeVar("F", bound=Callable[..., Any])


def rule(*primitives: Primitive, cost: str, error: str = "exact") -> Callable[[F], F]:
    """Register a rule for primitives; see `Rule`."""
    assert cost in COSTS, cost

    def register(f: F) -> F:
        RULES.update(dict.fromkeys(primitives, Rule(f, cost, error)))
        return f

    return register


def refuse(*primitives: Primitive, reason: str) -> None:
    """Register why primitives cannot be computed on secrets, and what to do instead."""
    REFUSED.update(dict.fromkeys(primitives, reason))


def unary(primitive: Any, cost: str = "function", error: str = "exact") -> Callable[[F], F]:
    """Register a rule f(evaluator, x) for a primitive whose parameters do not matter."""

    def register(f: F) -> F:
        @rule(primitive, cost=cost, error=error)
        def apply(ev: Any, x: Any, **_: Any) -> Any:
            return f(ev, x)

        return f

    return register
