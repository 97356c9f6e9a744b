"""Rules for logic, on booleans and bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import lax

from jsmpc._src.interpreter import ranges
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.rules import integers
from jsmpc._src.interpreter.rules.arithmetic import aligned
from jsmpc._src.interpreter.secret import BOOL, Secret, is_secret


def invert(ev: Evaluator, x: Secret) -> Secret:
    return Secret(ev.smpc.not_b(ev.ctx, x.bits), BOOL)


@rule(lax.not_p, cost="local", modular=Modular(ranges.bitwise))
def _logical_not(ev: Evaluator, x: Secret) -> Secret:
    return integers.complement(ev, x) if integers.is_integer(x) else invert(ev, x)


def _logic(ev: Evaluator, x: Any, y: Any, public: Callable[[Any, Any], Any], secret: Any) -> Secret:
    x, y = aligned(x, y)
    if not is_secret(x):
        x, y = y, x
    if is_secret(y):
        return Secret(secret(ev.ctx, x.bits, y.bits), BOOL)
    return Secret(public(x.bits, ev.words(y, BOOL)), BOOL)


@rule(lax.and_p, cost="product", modular=Modular())
def _and(ev: Evaluator, x: Any, y: Any) -> Secret:
    if integers.is_integer(x):
        return integers.bitwise_and(ev, x, y)
    return _logic(ev, x, y, lambda a, b: a & b, ev.smpc.and_bb)


@rule(lax.or_p, cost="product", modular=Modular(ranges.bitwise))
def _or(ev: Evaluator, x: Any, y: Any) -> Secret:
    def with_public(a: Any, b: Any) -> Any:
        return ev.smpc.xor_bp(ev.ctx, a & (b ^ np.uint8(1)), b)

    if integers.is_integer(x):
        return integers.bitwise_or(ev, x, y)
    return _logic(ev, x, y, with_public, ev.smpc.or_bb)


@rule(lax.xor_p, cost="product", modular=Modular(ranges.bitwise))
def _xor(ev: Evaluator, x: Any, y: Any) -> Secret:
    if integers.is_integer(x):
        return integers.bitwise_xor(ev, x, y)
    return _logic(ev, x, y, lambda a, b: ev.smpc.xor_bp(ev.ctx, a, b), lambda ctx, a, b: a ^ b)
