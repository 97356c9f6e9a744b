"""A secret as one party of a deployment holds it, and what is known elsewhere alone."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import numpy as np

from jsmpc._src.api.opaque import Opaque
from jsmpc._src.api.session import Session, current
from jsmpc._src.api.share import is_share
from jsmpc._src.api.words import Words
from jsmpc._src.errors import ProtocolError
from jsmpc._src.protocols.base import Protocol

E = TypeVar("E", bound="_Endpoints")


class _Endpoints(Opaque):
    """What an endpoint of a session has: no operand of JAX's transformations."""

    @property
    def __jax_array__(self) -> Any:  # asked for by those who look for an array
        raise ProtocolError(
            f"{self!r} cannot go through a JAX transformation or into an array: the programs of a "
            "session are compiled by themselves. Call secure functions outside of jit, vmap, scan "
            "and grad; inside of the function that is passed to jsmpc.secure all of them work"
        )

    def __copy__(self: E) -> E:
        return self

    def __deepcopy__(self: E, memo: Any) -> E:
        return self


class Held(_Endpoints):
    """One party's rows of a shared secret, or none at all at a dealer.

    It belongs to the session in which it was made, and is used like a `Share` there.

    Attributes:
      shape, dtype: of the secret.
      digits: behind the point, as those of a `Share`.
      rows: for each array that a share is of, the rows that this party holds.
    """

    def __init__(
        self,
        session: Session,
        shape: tuple[int, ...],
        dtype: Any,
        rows: tuple[Any, ...],
        digits: int | None = None,
    ) -> None:
        self.session, self.shape, self.dtype = session, tuple(shape), np.dtype(dtype)
        self.rows, self.digits = rows, digits

    @property
    def protocol(self) -> Protocol:
        return self.session.protocol

    def words(self) -> Words:
        """The types of all parties' rows, for tracing."""
        return Words.of(self.protocol, self.shape, self.dtype, self.digits)

    def __repr__(self) -> str:
        what = f"{self.dtype}{list(self.shape)}"
        return f"Held({what}, {type(self.protocol).__name__}, by {self.session.name})"

    def __reduce__(self) -> Any:
        raise ProtocolError(
            "one party's rows of a share belong to the session of this process. Store them with "
            "jsmpc.save, and load them in another session with jsmpc.load"
        )


class Elsewhere(_Endpoints):
    """What is known to others and not to this endpoint: a marker that says so."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, known_to: str) -> None:
        self.shape, self.dtype, self.known_to = tuple(shape), np.dtype(dtype), known_to

    def __repr__(self) -> str:
        return f"Elsewhere({self.dtype}{list(self.shape)}, known to {self.known_to})"

    def _refuse(self, what: str) -> Any:
        raise ProtocolError(
            f"{self!r} cannot be used as {what} here: this endpoint does not know it. Reveal it "
            "to this one too, or use it only where it is known"
        )


def session_of(values: Any) -> Session | None:
    """The session of the party's shares among some values, if there are any."""
    sessions = {x.session if isinstance(x, Held) else None for x in values}
    if len(sessions) > 1:
        raise ProtocolError(
            "shares of two sessions, or of a session and a simulation, cannot be computed on "
            "together"
        )
    return next(iter(sessions), None)


def ahead_of(values: Any, protocol: Protocol) -> Session | None:
    """As `session_of`, also for the types of shares that are not there yet."""
    session = current()
    types = [is_share(x) and isinstance(x.components[0], jax.ShapeDtypeStruct) for x in values]
    ahead = session is not None and session.protocol == protocol and all(types)
    return session if ahead else session_of(values)


def is_held(x: Any) -> bool:
    return isinstance(x, Held)
