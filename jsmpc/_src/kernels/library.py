"""A native library of this package: found and prepared at first use, or a reason why not."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from collections.abc import Callable

_log = logging.getLogger("jsmpc")


def find(module: str) -> ctypes.CDLL | None:
    """The library that lies in the place of a module; None where it was not built."""
    found = importlib.util.find_spec(module)
    return ctypes.CDLL(found.origin) if found and found.origin else None


def trouble(
    load: Callable[[], ctypes.CDLL | None],
    prepare: Callable[[ctypes.CDLL], None],
    name: str,
    missing: str,
) -> str | None:
    """Why a library cannot be used, or None where it can.

    Args:
      load: as `find`; prepare: declares its functions and registers its handlers.
      name: what it holds; missing: the reason where it was not built.
    """
    try:
        library = load()
        if library is None:
            return missing
        prepare(library)
    except (AttributeError, OSError) as error:
        return f"the {name} do not load: {error}"
    return None


def is_sound(reason: str | None, instead: str) -> bool:
    """Whether there is no trouble; the log says why, and what is done instead."""
    if reason is not None:
        _log.warning("%s; %s", reason, instead)
    return reason is None
