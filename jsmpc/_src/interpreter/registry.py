"""The rules: how each primitive is computed on secrets, or why it cannot be."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from jax.extend.core import Primitive

from jsmpc._src.interpreter.bounds import EXACT, Bound
from jsmpc._src.interpreter.ranges import Modular

COSTS = {
    "local": "no message",
    "opening": "each party sends its share",
    "product": "one product and its truncation; bits of integers are decomposed first",
    "comparison": "one or several comparisons",
    "function": "a bit decomposition or range reduction, and a short polynomial; a quotient of "
    "integers is a long division",
    "order": "comparisons in log² rounds, or products with one-hot vectors",
    "long division": "a comparison for each bit of the quotient",
    "program": "that of the sub-program",
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a primitive is computed on secrets.

    Attributes:
      apply: f(evaluator, *operands, **parameters) -> result or list of results.
      cost: one of `COSTS`.
      error: the bound of the result's error.
      modular: whether it takes integers modulo 2^width; by default they are wrapped for it.
      scaled: whether it takes numbers in any encoding, and says in which its results are; by
        default they are brought into the protocol's for it.
    """

    apply: Callable[..., Any]
    cost: str
    error: Bound
    modular: Modular | None = None
    scaled: bool = False


RULES: dict[Primitive, Rule] = {}


REFUSED: dict[Primitive, str] = {}


F = TypeVar("F", bound=Callable[..., Any])


def rule(
    *primitives: Primitive,
    cost: str,
    error: Bound = EXACT,
    modular: Modular | None = None,
    scaled: bool = False,
) -> Callable[[F], F]:
    """Register a rule for primitives; see `Rule`.

    Raises:
      ValueError: for another class of cost, or a primitive that has a rule or a reason already.
    """
    if cost not in COSTS:
        raise ValueError(f"the cost of a rule is one of {', '.join(COSTS)}, not {cost!r}")

    def register(f: F) -> F:
        _claim(primitives)
        RULES.update(dict.fromkeys(primitives, Rule(f, cost, error, modular, scaled)))
        return f

    return register


def refuse(*primitives: Primitive, reason: str) -> None:
    """Register why primitives cannot be computed on secrets, and what to do instead.

    Raises:
      ValueError: for a primitive that has a rule or a reason already.
    """
    _claim(primitives)
    REFUSED.update(dict.fromkeys(primitives, reason))


def _claim(primitives: Sequence[Primitive]) -> None:
    for p in primitives:
        if p in RULES or p in REFUSED:
            what = "computed" if p in RULES else "refused"
            raise ValueError(
                f"the primitive {p.name!r} is {what} already: it cannot be both, or in two ways"
            )


def rule_from(
    primitive: Primitive, function: Callable[..., Any], *, cost: str, error: Bound = EXACT
) -> None:
    """Register as the rule of a primitive a JAX function of its operands and parameters.

    It is traced with the operands' shapes, and evaluated by the rules of what it consists of.
    """

    @rule(primitive, cost=cost, error=error)
    def apply(ev: Any, *operands: Any, **params: Any) -> Any:
        return ev.call(functools.partial(function, **params), *operands)


def unary(
    primitive: Any, cost: str = "function", error: Bound = EXACT, scaled: bool = False
) -> Callable[[F], F]:
    """Register a rule f(evaluator, x) for a primitive whose parameters do not matter."""

    def register(f: F) -> F:
        @rule(primitive, cost=cost, error=error, scaled=scaled)
        def apply(ev: Any, x: Any, **_: Any) -> Any:
            return f(ev, x)

        return f

    return register
