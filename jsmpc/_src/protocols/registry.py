"""The protocols by name: what the command line, the benchmark, the tests and the README offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from jsmpc._src.errors import ProtocolError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.ring.fixedpoint import FixedPoint

PROTOCOLS: dict[str, type[Protocol[Any]]] = {}

P = TypeVar("P", bound=type[Protocol[Any]])


def register_protocol(name: str, protocol: P) -> P:
    """Make a protocol known by a name.

    Raises:
      ValueError: if another one has it.
    """
    if PROTOCOLS.setdefault(name, protocol) is not protocol:
        raise ValueError(f"the name {name!r} is that of {PROTOCOLS[name].__name__}")
    return protocol


def make_protocol(
    name: str,
    parties: int | Sequence[str] | None = None,
    bits: int = 64,
    encoding: FixedPoint | None = None,
    dealer: str | None = None,
) -> Protocol[Any]:
    """The protocol of a name; what is None is the protocol's own default.

    Raises:
      ProtocolError: for an unknown name, or if parties or dealer do not fit the protocol.
    """
    if name not in PROTOCOLS:
        raise ProtocolError(f"no protocol is called {name!r}; there are: {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    given: dict[str, Any] = {"parties": parties, "encoding": encoding}
    if protocol.dealt_by is not None:
        given[protocol.dealt_by] = dealer
    elif dealer is not None:
        raise ProtocolError(f"the {name} protocol has no dealer")
    return protocol(bits=bits, **{k: v for k, v in given.items() if v is not None})


def protocol_table() -> str:
    """The README's table: a row for each protocol."""
    heads = ("protocol", "parties", "adversary", "trusted", "products")
    first, *rows = (f"| {' | '.join(row)} |" for row in (heads, *_rows()))
    return "\n".join((first, "|---" * len(heads) + "|", *rows))


def _rows() -> list[tuple[str, ...]]:
    return [p.row for p in PROTOCOLS.values() if p.row]
