"""Functions of JAX that are written for floating point, stated anew for fixed point.

JAX scales their operands by powers of two, or splits them by their bits, to keep digits that an
encoding does not have. Their derivatives are as JAX states them, in terms of the same functions.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jsmpc._src.jaxprs import compat

Array = jax.Array

_JAX = str(Path(jax.__file__).parent)


def _hypot(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The length of (x, y), and its unit vector; 0 for that of the origin."""
    a, b = jnp.abs(x), jnp.abs(y)
    longer = jnp.maximum(a, b)
    safe = jnp.where(longer == 0, 1, longer)
    root = jnp.sqrt(1 + jnp.square(jnp.minimum(a, b) / safe))
    return longer * root, x / safe / root, y / safe / root


def _exp_neg_sq(x: Array) -> Array:
    return jnp.exp(-jnp.square(x))


def _ndtri(p: Array) -> Array:
    return math.sqrt(2) * lax.erf_inv(2 * p - 1)


def _ndtri_grad(_: Array, x: Array) -> Array:
    return math.sqrt(2 * math.pi) * jnp.exp(jnp.square(x) / 2)


_STATED: dict[str, Callable[..., Any]] = {
    "_hypot": _hypot,
    "exp_neg_sq": _exp_neg_sq,
    "_ndtri": _ndtri,
    "_ndtri_grad": _ndtri_grad,
}
_PUBLIC: dict[str, Callable[..., Any]] = {"_hypot": jnp.hypot}  # those of several outputs


def restated(body: Any) -> Any:
    """A sub-program as it is, or as it is stated here if it is that of a function of JAX."""
    jaxpr, _ = compat.open_jaxpr(body)
    name, _, place = str(jaxpr.debug_info.func_src_info).partition(" at ")
    if name not in _STATED or not place.startswith(_JAX):
        return body
    avals = tuple(v.aval for v in jaxpr.invars)
    stated = _stated(name, avals)
    if len(stated.out_avals) == len(jaxpr.outvars):
        return stated
    used = _used(name, avals, str(jaxpr))
    return body if used is None else compat.pruned(stated, used)


@functools.lru_cache(maxsize=256)
def _used(name: str, avals: Sequence[Any], found: str) -> tuple[bool, ...] | None:
    """Which outputs of JAX's own program are left in what `jax.checkpoint` made of it."""
    own = _own(compat.program(_PUBLIC[name], avals))
    for used in itertools.product((False, True), repeat=len(own.outvars)):
        if str(compat.open_jaxpr(compat.pruned(own, used))[0]) == found:
            return used
    return None


def _own(jaxpr: Any) -> Any:
    """The innermost of programs that are nothing but a call of another one."""
    jaxpr, _ = compat.open_jaxpr(jaxpr)
    while len(jaxpr.eqns) == 1:
        params = jaxpr.eqns[0].params
        jaxpr, _ = compat.open_jaxpr(params.get("jaxpr") or params["call_jaxpr"])
    return jaxpr


@functools.lru_cache(maxsize=256)
def _stated(name: str, avals: Sequence[Any]) -> Any:
    return compat.program(_STATED[name], avals)
