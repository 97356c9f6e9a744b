"""The peak memory of an endpoint's program, by the lives of its values."""

from __future__ import annotations

from typing import Any

from jax.extend.core import Literal

from jsmpc._src.jaxprs import compat, structure
from jsmpc._src.readings.pricing.work import nbytes


def peak(program: Any) -> int:
    """Bytes that an endpoint's program holds at once at most.

    Arguments are held throughout, results from when they are computed, and all else until it was
    used last; of loops and branches what their bodies hold comes on top. What the compiler reuses
    or orders otherwise is not known: see the tests for how far that is from what it tells.
    """
    jaxpr, _ = compat.open_jaxpr(program)
    held = sum(map(nbytes, {*jaxpr.invars, *jaxpr.constvars}))
    return held + _inside(jaxpr)


def _inside(jaxpr: Any) -> int:
    """The most that is held besides a program's own inputs."""
    last = {
        v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not isinstance(v, Literal)
    }
    outputs = {v for v in jaxpr.outvars if not isinstance(v, Literal)}
    live: dict[Any, int] = {}
    most = now = 0
    for i, eqn in enumerate(jaxpr.eqns):
        made = {v: 0 if _shows(eqn) else nbytes(v) for v in eqn.outvars}
        live.update(made)
        now += sum(made.values())
        inner = [_inside(compat.open_jaxpr(body)[0]) for body in structure.bodies(eqn)]
        most = max(most, now + max(inner, default=0))
        for v in {*eqn.outvars, *(v for v in eqn.invars if not isinstance(v, Literal))}:
            if last.get(v, -1) <= i and v not in outputs:
                now -= live.pop(v, 0)
    return most


def _shows(eqn: Any) -> bool:
    """Whether the result is the operand's memory."""
    return eqn.primitive.name in ("reshape", "squeeze", "expand_dims", "bitcast_convert_type")
