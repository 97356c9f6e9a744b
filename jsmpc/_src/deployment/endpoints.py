"""The parties' addresses and certificates: the tables `[parties.alice]` of a file of parties."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Any

from jsmpc._src.deployment import certificates, identity
from jsmpc._src.deployment.certificates import Certificate
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.tables import Table
from jsmpc._src.links.links import Peer

# The keys of the whole file.
OUTER = (
    "protocol",
    "bits",
    "base",
    "precision_fractional",
    "dealer",
    "dealt_before",
    "stock",
    "stock_memory",
    "patience",
    "silence",
    "stall",
    "parties",
)


@dataclasses.dataclass(frozen=True)
class Endpoint(Peer):
    """A party or the dealer, as links take it, with its certificate (PEM) and what to compare.

    Attributes:
      fingerprint: the certificate's.
    """

    certificate: bytes = dataclasses.field(repr=False)
    fingerprint: str


def read_all(table: Table, parties: dict[str, Any]) -> list[Endpoint]:
    """The parties in the order of the file; each has an address and a key of its own."""
    peers: list[Endpoint] = []
    seen: dict[Any, str] = {}
    for name, values in parties.items():
        row = Table(table.file, f"[parties.{name}]", values, ConfigError)
        try:
            identity.check_name(name)
        except ConfigError as error:
            raise row.refusal("", str(error)) from None
        if type(values) is not dict:
            raise row.refusal("", f"must be a table. Write [parties.{name}] above its keys")
        peer, certificate = _peer(row, name)
        own = {"port": (peer.host, peer.port), "certificate": certificate.public_key}
        for key, value in own.items():
            if (other := seen.setdefault((key, value), name)) != name:
                what = "address" if key == "port" else "key"
                raise row.refusal(key, f"{other!r} has the same {what}. Give each its own")
        peers.append(peer)
    return peers


def _peer(row: Table, name: str) -> tuple[Endpoint, Certificate]:
    row.only("host", "port", "certificate", "fingerprint", above=OUTER)
    host = row.need("host", str, 'host = "192.0.2.1"')
    if not _is_host(host):
        raise row.refusal("host", f"{host!r} is no name or address of a machine to connect to")
    port = row.need("port", int, "port = 4001")
    if not 1 <= port <= 65535:
        raise row.refusal("port", f"must be from 1 to 65535, not {port}")
    certificate = _certificate(row, name)
    expected = row.get("fingerprint", str)
    if expected is not None and not certificates.same(expected, certificate.fingerprint):
        raise row.refusal(
            "fingerprint",
            f"the certificate's is {certificate.fingerprint}, not {expected!r}. Ask {name} by "
            "another way than the file came which one is right",
        )
    peer = Endpoint(name, host, port, certificate.pem, certificate.fingerprint)
    return peer, certificate


def _certificate(row: Table, name: str) -> Certificate:
    given = row.need("certificate", str, f'certificate = "{name}.cert.pem"')
    inside = "-----BEGIN" in given
    try:
        pem = given.encode() if inside else identity.read_file(row.file.parent / given)
        where = "the text" if inside else given
        certificate = certificates.read(pem, where)
        certificate.check_time(where)
    except ConfigError as error:
        raise row.refusal("certificate", str(error)) from None
    if certificate.name != name:
        raise row.refusal(
            "certificate",
            f"is that of {certificate.name!r}. Give the one that {name} made with "
            f"`jsmpc keys new {name}`",
        )
    return certificate


def _is_host(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}", host))
