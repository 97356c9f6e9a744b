"""All that differs between the supported JAX versions, 0.10 to 0.12."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax
from jax._src import ad_checkpoint, source_info_util
from jax._src.interpreters import partial_eval
from jax.extend.core import Literal

checkpoint_name_p: Any = ad_checkpoint.name_p

_PACKAGE = Path(__file__).parent
_OURS = tuple(str(_PACKAGE / name) for name in ("reveal.py", "secure", "sharing.py"))


def open_jaxpr(jaxpr: Any) -> tuple[Any, Sequence[Any]]:
    """A (closed) jaxpr as equations and constants; since 0.11 one class does both."""
    return getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())


def primitives(*names: str) -> list[Any]:
    """Those of the named primitives that this version of JAX has."""
    return [p for name in names if (p := getattr(lax, f"{name}_p", None)) is not None]


def scan_counts(params: dict[str, Any]) -> tuple[int, int]:
    """The numbers of constants and of carried values of a scan; renamed in 0.11."""
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    consts, carry, _ = params["ft_in"].unpack()
    return len(consts), len(carry)


def literal_value(literal: Literal) -> Any:
    """A literal as a NumPy scalar of its own dtype, whatever the 64-bit mode."""
    aval: Any = literal.aval
    return np.asarray(literal.val, aval.dtype)


def bind(eqn: Any, args: Sequence[Any]) -> list[Any]:
    """The results of an equation on other operands, always as a list."""
    params = eqn.primitive.get_bind_params(eqn.params)
    if isinstance(params, tuple):  # until 0.10.1 sub-functions came apart
        functions, params = params
        args = [*functions, *args]
    with eqn.ctx.manager:
        out = eqn.primitive.bind(*args, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def at_line_of(eqn: Any) -> AbstractContextManager[Any]:
    """A context in which new equations carry the user's line of `eqn`.

    Equations of library functions that JAX traced before have none: they keep the caller's.
    """
    if not user_line(eqn):
        return contextlib.nullcontext()
    return source_info_util.user_context(
        eqn.source_info.traceback, name_stack=source_info_util.current_name_stack()
    )


def user_line(eqn: Any) -> str:
    """The user's source line of an equation, as `file:line (function)`; empty if it has none."""
    return _line(eqn.source_info.traceback)


@functools.lru_cache(maxsize=1024)
def _line(traceback: Any) -> str:
    for frame in source_info_util.user_frames(traceback):
        if not frame.file_name.startswith(_OURS):
            return f"{frame.file_name}:{frame.start_line} ({frame.function_name})"
    return ""


def x64_enabled() -> bool:
    """Whether the caller is in 64-bit mode."""
    return bool(jax.config.read("jax_enable_x64"))


def without(jaxpr: Any, name: str) -> Any:
    """The jaxpr with the results of a primitive replaced by its first operand."""
    first: dict[Any, Any] = {}

    def replaced(variables: Sequence[Any]) -> list[Any]:
        return [v if isinstance(v, Literal) else first.get(v, v) for v in variables]

    eqns = []
    for eqn in jaxpr.eqns:
        operands = replaced(eqn.invars)
        if eqn.primitive.name == name:
            first[eqn.outvars[0]] = operands[0]
        else:
            eqns.append(eqn.replace(invars=operands))
    return jaxpr.replace(eqns=eqns, outvars=replaced(jaxpr.outvars))


def without_dead_code(jaxpr: Any) -> Any:
    """The jaxpr without the equations that no output needs."""
    return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)[0]
