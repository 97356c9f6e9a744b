"""The fields of requests and replies, which come from somebody else: read with their types."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jsmpc._src.api import forms
from jsmpc._src.errors import JsmpcError

T = TypeVar("T")
_LONG = 1 << 16


class RequestError(JsmpcError, ValueError):
    """A request that is not made as requests are."""


def need(request: dict[str, Any], name: str, kind: type[T]) -> T:
    """A field of a type; RequestError."""
    value = request.get(name)
    if type(value) is not kind:
        raise RequestError(f"a request without a {kind.__name__} {name!r}, or with another type")
    return value


def texts(request: dict[str, Any], name: str, most: int = _LONG, longest: int = _LONG) -> list[str]:
    """A list of strings, of at most so many and so long ones; RequestError."""
    found = need(request, name, list)
    if len(found) > most or any(type(x) is not str or len(x) > longest for x in found):
        raise RequestError(f"a request whose {name!r} are no strings, or too many or too long")
    return found


def name(request: dict[str, Any], field: str) -> str:
    """A name, as workers, clients and protocols have one; RequestError."""
    found = need(request, field, str)
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", found):
        raise RequestError(f"a request whose {field!r} is no name")
    return found


def digest(request: dict[str, Any], name: str) -> str:
    """The hexadecimal digits of a SHA-256; RequestError."""
    found = need(request, name, str)
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise RequestError(f"a request whose {name!r} is no SHA-256 in hexadecimal digits")
    return found


def form(found: Any, leaves: int) -> None:
    """RequestError unless this is the form of containers of so many leaves."""
    try:
        fits = forms.leaves_in(found) == leaves
    except ValueError:
        fits = False
    if not fits:
        raise RequestError("a request whose containers are none, or do not hold its arrays")


def info(found: Any) -> dict[str, Any]:
    """What another worker says of an object there; RequestError unless a pointer can know it."""
    if type(found) is not dict:
        raise RequestError("something that is no pointer in the place of one")
    for name in ("id", "kind", "by", "description"):
        need(found, name, str)
    texts(found, "tags")
    types = need(found, "types", list)
    for one in types:
        match one:
            case [str(dtype), [*shape]] if all(type(n) is int and n >= 0 for n in shape):
                _require_dtype(dtype)
            case _:
                raise RequestError("a pointer to something without a shape and a dtype")
    if found["kind"] in ("value", "pointer"):
        form(found.get("form"), len(types))
    return {k: found.get(k) for k in ("id", "kind", "form", "types", "by", "tags", "description")}


def _require_dtype(name: str) -> None:
    try:
        known = jnp.dtype(name).name == name
    except TypeError:
        known = False
    if not known:
        raise RequestError("a pointer to an array of a dtype that is none")


def array(x: Any) -> Any:
    """An array of a request as one of JAX's, in its own width."""
    if isinstance(x, jax.Array):
        return x
    if not hasattr(x, "dtype"):
        raise RequestError("a request with something that is no array in the place of one")
    with jax.enable_x64(True):
        return jnp.asarray(x)
