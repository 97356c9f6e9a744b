"""Errors in few frames: from the user's call to what is to be said."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from jsmpc._src.errors import JsmpcError
from jsmpc._src.jaxprs import compat

F = TypeVar("F", bound=Callable[..., Any])


def brief(method: F) -> F:
    """A method whose own errors show none of its frames, unless JAX's filtering is off."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except JsmpcError as error:
            if compat.frames_wanted():
                raise
            raise error.with_traceback(None) from error.__cause__

    return wrapper  # type: ignore[return-value]
