"""Errors that travel: an error of the public kinds is raised at the caller as what it was."""

from __future__ import annotations

from collections.abc import Iterable

from jsmpc._src import errors as public
from jsmpc._src.api.opaque import SecretAttributeError
from jsmpc._src.deployment.errors import AgreementError, ConfigError, LogError, PolicyError
from jsmpc._src.errors import JsmpcError
from jsmpc._src.transport.errors import MessageError

_TEXT = 10_000  # characters

KINDS: tuple[type[JsmpcError], ...] = (
    public.BudgetError,
    public.EncodingError,
    public.FederatedError,
    public.KeyFormatError,
    public.LinkError,
    public.MaterialError,
    public.PlanError,
    public.PointerError,
    public.ProtocolError,
    public.SecretError,
    public.ServiceError,
    public.LimitError,
    public.UnsupportedError,
    SecretAttributeError,
    AgreementError,
    ConfigError,
    LogError,
    PolicyError,
    MessageError,
)


def told(error: JsmpcError) -> dict[str, object]:
    """What is told of an error: the names of its kinds, the nearest first, and its text."""
    kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, JsmpcError)]
    text = str(error)[:_TEXT].encode(errors="replace").decode()
    return {"kinds": kinds, "text": text}


def understood(found: object, more: Iterable[type[JsmpcError]], worker: str) -> JsmpcError:
    """The error that a worker told of, as the nearest kind that is known here.

    Raises:
      MessageError: if it tells of none.
    """
    known = {kind.__name__: kind for kind in (*KINDS, *more)}
    match found:
        case {"kinds": [*names], "text": str(text)}:
            kinds = (known[name] for name in names if type(name) is str and name in known)
            error = next(kinds, JsmpcError)(text)
            error.add_note(f"raised by {worker}")
            return error
    raise MessageError(f"{worker} tells of an error, but not of which")
