"""The fields of requests and replies, which come from somebody else: read with their types."""

from __future__ import annotations

from typing import Any, TypeVar

from jsmpc._src.errors import JsmpcError

T = TypeVar("T")


class RequestError(JsmpcError, ValueError):
    """A request that is not made as requests are."""


def need(request: dict[str, Any], name: str, kind: type[T]) -> T:
    """A field of a type; RequestError."""
    value = request.get(name)
    if type(value) is not kind:
        raise RequestError(f"a request without a {kind.__name__} {name!r}, or with another type")
    return value


def texts(request: dict[str, Any], name: str, most: int = 1 << 16) -> list[str]:
    """A list of strings; RequestError."""
    found = need(request, name, list)
    if len(found) > most or any(type(x) is not str for x in found):
        raise RequestError(f"a request whose {name!r} are no strings, or too many")
    return found
