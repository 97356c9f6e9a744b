"""Jaxprs made from jaxprs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jax._src.interpreters import partial_eval
from jax.extend.core import Literal


def without_dead_code(jaxpr: Any) -> Any:
    """The jaxpr without the equations that no output needs."""
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]


def renamed(variables: Sequence[Any], names: Mapping[Any, Any]) -> list[Any]:
    """Variables by the names that they have elsewhere; literals, and all others, as they are."""
    return [v if isinstance(v, Literal) else names.get(v, v) for v in variables]
