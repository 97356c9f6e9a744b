"""Tracing without what CPython loses time to meanwhile."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def _call(f: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return f(*args, **kwargs)


# Slots of 8 bytes. The frame gets a piece of its own, of a power of two: 1 MB, of which it uses
# nothing, and asks for little more than half. The rest is for the calls inside of it.
_call.__code__ = _call.__code__.replace(co_stacksize=70_000)


def roomy(f: F) -> F:
    """f, with room on the interpreter's stack for the frames of all calls inside of it.

    CPython's stack of frames grows by pieces of 16 KB, mapped when a call needs the next one and
    unmapped when it returns: a loop that stands at the end of a piece does so at every turn
    (python/cpython#142183, mended in releases from 2026 on). Tracing is deep, and full of loops:
    it loses a tenth of its time to this, and up to a half.
    """

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        return _call(f, args, kwargs)

    return called  # type: ignore[return-value]


def undisturbed(f: F) -> F:
    """f, with room on the stack, and without looking for garbage before it returns.

    A program in the making is a hundred thousand objects, none of which is garbage: looking through
    them, and through all of JAX, again and again takes a quarter of the time of tracing it.
    """
    f = roomy(f)

    @functools.wraps(f)
    def called(*args: Any, **kwargs: Any) -> Any:
        collects = gc.isenabled()
        gc.disable()
        try:
            return f(*args, **kwargs)
        finally:
            if collects:
                gc.enable()

    return called  # type: ignore[return-value]
