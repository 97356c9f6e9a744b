"""The user's source lines of equations, and equations that carry them."""

from __future__ import annotations

import contextlib
import functools
import re
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
from jax._src import source_info_util

_OURS = str(Path(__file__).parent.parent)  # examples and benchmarks are users too


def at_line_of(eqn: Any, caller: Any = None) -> AbstractContextManager[Any]:
    """A context in which new equations carry the user's line of `eqn`.

    Equations of library functions that JAX traced before have none: they get the line of a
    `caller` if one is given, and keep the present one otherwise.
    """
    traceback = eqn.source_info.traceback if user_line(eqn) else caller
    if traceback is None:
        return contextlib.nullcontext()
    return source_info_util.user_context(
        traceback, name_stack=source_info_util.current_name_stack()
    )


def caller() -> Any:
    """Whoever calls the library; to be asked near the top, as JAX remembers few frames."""
    return source_info_util.current().traceback


def user_line(eqn: Any) -> str:
    """The user's source line of an equation, as `file:line (function)`; empty if it has none."""
    return _line(eqn.source_info.traceback)


def short(traceback: Any) -> str:
    """A user's line, the same on every machine: the file without its folder."""
    return _line(traceback).rpartition("/")[2]


@functools.lru_cache(maxsize=1024)
def _line(traceback: Any) -> str:
    for frame in source_info_util.user_frames(traceback):
        if not frame.file_name.startswith(_OURS):
            return f"{frame.file_name}:{frame.start_line} ({frame.function_name})"
    return ""


def of_error(error: BaseException) -> str:
    """The user's line at which an error arose, as `user_line`."""
    library = (_OURS, str(Path(jax.__file__).parent))
    frames = [f for f, _ in traceback.walk_tb(error.__traceback__)]
    users = [f for f in frames if not f.f_code.co_filename.startswith(library)]
    if not users:
        return "an unknown line"
    code = users[-1].f_code
    return f"{code.co_filename}:{users[-1].f_lineno} ({code.co_name})"


_NEEDS_VALUE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def needs_value(error: Exception) -> bool:
    """Whether JAX raised an error because a value was asked for that is not known."""
    if isinstance(error, _NEEDS_VALUE):
        return True
    return isinstance(error, TypeError | IndexError | ValueError) and "Tracer(" in str(error)


def arguments_named(error: Exception) -> str:
    """The arguments that JAX names in an error about a value that is not known; or nothing."""
    found = re.search(r"depends on the values? of the (arguments? [^\n]*)", str(error))
    return found[1].rstrip(".") if found else ""
