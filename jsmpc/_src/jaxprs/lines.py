"""The user's source lines and operations of equations, and equations that carry them."""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import jax
from jax._src import source_info_util

_OURS = str(Path(__file__).parent.parent)  # examples and benchmarks are users too


_OPERATION = "operation."  # before the name of a scope that is the user's operation


def at_line_of(eqn: Any, caller: Any = None) -> AbstractContextManager[Any]:
    """A context in which new equations carry the user's line and the operation of `eqn`.

    Equations of library functions that JAX traced before have no line: they get that of a
    `caller` if one is given, and keep the present one otherwise.
    """
    present = source_info_util.current_name_stack()
    stack = eqn.source_info.name_stack if operation(eqn) else present
    traceback = eqn.source_info.traceback if user_line(eqn) else caller
    if traceback is not None:
        return source_info_util.user_context(traceback, name_stack=stack)
    return contextlib.nullcontext() if stack is present else _named(stack)


def in_operation(name: str) -> AbstractContextManager[Any]:
    """A context in which new equations belong to an operation, unless they do to one already."""
    present = source_info_util.current_name_stack()
    return contextlib.nullcontext() if _operation(present) else _named(_marked(present, name))


def operation(eqn: Any) -> str:
    """The operation of the user's function that an equation computes; empty if none is known."""
    return _operation(eqn.source_info.name_stack)


def _operation(stack: Any) -> str:
    for scope in stack.stack:
        if scope.name.startswith(_OPERATION):
            return str(scope.name.removeprefix(_OPERATION))
    return ""


def _marked(stack: Any, name: str) -> Any:
    return stack.extend(_OPERATION + name)


@contextlib.contextmanager
def _named(stack: Any) -> Iterator[None]:
    with source_info_util.set_name_stack(stack):
        yield


def caller() -> Any:
    """Whoever calls the library; to be asked near the top, as JAX remembers few frames."""
    return source_info_util.current().traceback


def user_line(eqn: Any) -> str:
    """The user's source line of an equation, as `file:line (function)`; empty if it has none."""
    return line_of(eqn.source_info.traceback)


def _folders(*layers: str) -> tuple[str, ...]:
    return tuple(f"{_OURS}/{layer}/" for layer in layers)


_BENEATH = (
    *_folders("jaxprs", "kernels", "network", "ring", "runtime"),
    str(Path(jax.__file__).parent),
    functools.__file__,
    contextlib.__file__,
)
_ABOVE = _folders("api", "interpreter")


def of_protocol() -> str:
    """The lines of a protocol that are being traced, the innermost first: two at most.

    Equations do not tell: they carry the user's line.
    """
    found: list[str] = []
    frame = inspect.currentframe()
    while frame is not None and len(found) < 2:
        code = frame.f_code
        if code.co_filename.startswith(_ABOVE):
            break
        if not code.co_filename.startswith(_BENEATH):
            name = without_folder(code.co_filename)
            found.append(f"{name}:{frame.f_lineno} ({code.co_name})")
        frame = frame.f_back
    return ", in ".join(found)


def short(traceback: Any) -> str:
    """A user's line, the same on every machine."""
    return without_folder(line_of(traceback))


def without_folder(line: str) -> str:
    """A source line whose file is named without its folder, which differs among machines."""
    return line.rpartition("/")[2]


@functools.lru_cache(maxsize=1024)
def line_of(traceback: Any) -> str:
    """The user's source line in a traceback of JAX's, as `user_line`."""
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
