"""Protocols as they are told of in requests."""

from __future__ import annotations

from typing import Any

from jsmpc._src.errors import JsmpcError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.registry import PROTOCOLS, make_protocol
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.workers import fields
from jsmpc._src.workers.fields import RequestError


def described(protocol: Protocol) -> dict[str, Any]:
    """A protocol in words and numbers."""
    names = [name for name, kind in PROTOCOLS.items() if type(protocol) is kind]
    encoding = protocol.encoding
    return {
        "name": names[0],
        "parties": list(protocol.parties),
        "bits": protocol.bits,
        "encoding": [encoding.base, encoding.precision_fractional],
        "dealer": protocol.dealer or "",
    }


def protocol_of(request: dict[str, Any]) -> Protocol:
    """The protocol that a request describes; RequestError, ProtocolError."""
    told = fields.need(request, "protocol", dict)
    base, digits, *_ = [*fields.need(told, "encoding", list), None, None]
    bits, dealer = fields.need(told, "bits", int), fields.need(told, "dealer", str)
    if type(base) is not int or type(digits) is not int:
        raise RequestError("a request with an encoding that is none")
    if base not in (2, 10) or not 0 <= digits <= 64 or bits not in (32, 64):
        raise RequestError("a request with an encoding or a ring that there is not")
    try:
        return make_protocol(
            fields.name(told, "name"),
            tuple(fields.texts(told, "parties", 64)),
            bits,
            FixedPoint(base, digits),
            dealer or None,
        )
    except JsmpcError:
        raise
    except ValueError:  # of an encoding
        raise RequestError("a request with an encoding that there is not") from None
