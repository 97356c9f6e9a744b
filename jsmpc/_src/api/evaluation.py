"""A user's function on shares: from the words of arguments to those of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jsmpc._src.api.words import Words, is_words
from jsmpc._src.interpreter import rules  # noqa: F401 (registers the rules)
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.findings import Findings
from jsmpc._src.interpreter.scales import digits_of
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.scaling.plan import Scales
from jsmpc._src.runtime.context import Context


def evaluate(
    protocol: Protocol,
    ctx: Context,
    program: tuple[Any, Any],
    leaves: Sequence[Any],
    check: bool,
    scales: Scales | None,
    caller: Any,
) -> Any:
    """The results of a function, shares of them as `Words`, and the verdict on its numbers.

    Args:
      program: the function's jaxpr, and the form of its results.
      leaves: its arguments, shares of them as `Words`.
      check: whether to find out about overflows.
      scales: how its numbers are kept. Results keep the digits of a plan; without one they are in
        the protocol's encoding.
      caller: whom equations without a line belong to.
    """
    jaxpr, form = program
    if scales is not None:
        scales.require(protocol, jaxpr)
    plan = None if scales is None else scales.plan
    evaluator = Evaluator(protocol, ctx, findings=Findings(check), caller=caller, plan=plan)

    def load(x: Any) -> Any:
        if not is_words(x):
            return x
        words = protocol.unpack(ctx.network, x.components)
        encoding = None if x.digits is None else protocol.encoding.with_digits(x.digits)
        return Secret.of(words, x.dtype, encoding)

    def store(x: Any) -> Any:
        if not is_secret(x):
            return x
        x = evaluator.wrapped(x if scales is not None else evaluator.recoded(x))
        digits = None if x.encoding is None else digits_of(x.encoding)
        return Words(protocol.pack(ctx.network, x.words), protocol, x.dtype, digits)

    out = evaluator.evaluate(jaxpr, list(map(load, leaves)))
    results = jax.tree.unflatten(jax.tree.structure(form), list(map(store, out)))
    return results, evaluator.findings.verdict(protocol, ctx)


def digits(x: Any) -> int | None:
    """How many digits behind the point an argument has, if it is a share."""
    if not is_words(x):
        return None
    return digits_of(x.protocol.encoding) if x.digits is None else x.digits
