"""Which values of a jaxpr depend on its secret inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from jsmpc._src.jaxprs import walk
from jsmpc._src.jaxprs.reveal import reveal_p
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure

# What they tell is the same for every secret.
_PUBLIC = (reveal_p, lax.is_finite_p)


def secrecy(jaxpr: Any, secret: Sequence[bool]) -> list[bool]:
    """Which outputs depend on secrets, given which inputs are secret."""
    return walk.evaluate(jaxpr, secret, results, lift=lambda _: False)


def results(eqn: Any, secret: Sequence[bool]) -> list[bool]:
    """Which results of an equation depend on secrets, given which operands are secret."""
    count = len(eqn.outvars)
    if not any(secret) or eqn.primitive in _PUBLIC:
        return [False] * count
    match structure(eqn):
        case Call(body):
            return secrecy(body, secret)
        case Scan() as loop:
            return carries(loop, secret)[1]
        case While() as loop:
            return carries(loop, secret[loop.test_consts :])[1]
        case Branches(branches):
            outcomes = [secrecy(b, secret[1:]) for b in branches]
            return [secret[0] or any(column) for column in zip(*outcomes, strict=True)]
    return [True] * count


def carries(loop: Scan | While, secret: Sequence[bool]) -> tuple[list[bool], list[bool]]:
    """Which carried values become secret in any iteration, and the results' secrecy then.

    Args:
      loop: a loop.
      secret: of the body's constants, the first carried values, and what is scanned over.
    """
    carried = loop.carried if isinstance(loop, Scan) else len(secret) - loop.consts
    end = loop.consts + carried
    head, carry, tail = list(secret[: loop.consts]), list(secret[loop.consts : end]), secret[end:]
    while True:
        out = secrecy(loop.body, [*head, *carry, *tail])
        grown = [a or b for a, b in zip(carry, out[:carried], strict=True)]
        if grown == carry:
            return carry, [*carry, *out[carried:]]
        carry = grown
