"""What is found in a jaxpr before it is evaluated: equations with rules of their own."""

from __future__ import annotations

from typing import Any

from jsmpc._src.interpreter import exhaustive, guards, parts, patterns


def recognized(jaxpr: Any) -> Any:
    """A jaxpr as it is evaluated."""
    return exhaustive.exhaustive(parts.found(guards.guarded(patterns.recognize(jaxpr))))
