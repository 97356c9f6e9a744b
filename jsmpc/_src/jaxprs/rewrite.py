"""Jaxprs made from jaxprs."""

from __future__ import annotations

from typing import Any

from jax._src.interpreters import partial_eval


def without_dead_code(jaxpr: Any) -> Any:
    """The jaxpr without the equations that no output needs."""
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]
