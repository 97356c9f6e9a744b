"""The parties' addresses and certificates: the tables `[parties.alice]` of a file of parties."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
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
    "largest",
    "parties",
    "clients",
)


@dataclasses.dataclass(frozen=True)
class Endpoint(Peer):
    """A party or the dealer, as links take it, with its certificate (PEM) and what to compare.

    Attributes:
      fingerprint: the certificate's.
      requests: the port at which it answers clients; None if it does not.
    """

    certificate: bytes = dataclasses.field(repr=False)
    fingerprint: str
    requests: int | None = None


def read_all(table: Table, parties: dict[str, Any]) -> list[Endpoint]:
    """The parties in the order of the file; each has an address and a key of its own."""
    peers: list[Endpoint] = []
    apart = Apart()
    for name, row in rows(table, "parties", parties):
        row.only("host", "port", "requests", "certificate", "fingerprint", above=OUTER)
        host, port = read_address(row)
        requests = row.get("requests", int)
        certificate = read_certificate(row, name)
        certificate.check_time(f"{row.file}: {row.name}: certificate")
        apart.check(row, name, "port", "address", (host, port))
        apart.check(row, name, "certificate", "key", certificate.public_key)
        if requests is not None:
            if checked_port(row, "requests", requests) == port:
                raise row.refusal("requests", "is the port for the parties too. Give each its own")
            apart.check(row, name, "requests", "address", (host, requests))
        peer = Endpoint(name, host, port, certificate.pem, certificate.fingerprint, requests)
        peers.append(peer)
    return peers


def rows(table: Table, kind: str, values: dict[str, Any]) -> Iterator[tuple[str, Table]]:
    """The tables `[kind.name]`, with their names, which are those of certificates."""
    for name, row in values.items():
        found = Table(table.file, f"[{kind}.{name}]", row, ConfigError)
        try:
            identity.check_name(name)
        except ConfigError as error:
            raise found.refusal("", str(error)) from None
        if type(row) is not dict:
            raise found.refusal("", f"must be a table. Write [{kind}.{name}] above its keys")
        yield name, found


def read_address(row: Table) -> tuple[str, int]:
    """The host and the port of a table."""
    host = row.need("host", str, 'host = "192.0.2.1"')
    if not _is_host(host):
        raise row.refusal("host", f"{host!r} is no name or address of a machine to connect to")
    return host, checked_port(row, "port", row.need("port", int, "port = 4001"))


def checked_port(row: Table, key: str, port: int) -> int:
    """A port that can be connected to."""
    if not 1 <= port <= 65535:
        raise row.refusal(key, f"must be from 1 to 65535, not {port}")
    return port


def read_certificate(row: Table, name: str) -> Certificate:
    """The certificate of a table, which must be that of its name; it may have expired."""
    given = row.need("certificate", str, f'certificate = "{name}.cert.pem"')
    file = certificate_file(row)
    try:
        pem = given.encode() if file is None else identity.read_file(file)
        certificate = certificates.read(pem, "the text" if file is None else given)
    except ConfigError as error:
        raise row.refusal("certificate", str(error)) from None
    if certificate.name != name:
        raise row.refusal(
            "certificate",
            f"is that of {certificate.name!r}. Give the one that {name} made with "
            f"`jsmpc keys new {name}`",
        )
    expected = row.get("fingerprint", str)
    if expected is not None and not certificates.same(expected, certificate.fingerprint):
        raise row.refusal(
            "fingerprint",
            f"the certificate's is {certificate.fingerprint}, not {expected!r}. Ask {name} by "
            "another way than the file came which one is right",
        )
    return certificate


def certificate_file(row: Table) -> Path | None:
    """Where the certificate of a table is; None if the table itself holds it."""
    given = row.get("certificate", str) or ""
    return None if "-----BEGIN" in given else row.file.parent / given


class Apart:
    """Refuses that two names have the same address or key."""

    def __init__(self) -> None:
        self._seen: dict[Any, str] = {}

    def check(self, row: Table, name: str, key: str, what: str, value: Any) -> None:
        """Refuse a value that another name has; `what` is its kind, `key` where it stands."""
        if (other := self._seen.setdefault((what, value), name)) != name:
            raise row.refusal(key, f"{other!r} has the same {what}. Give each its own")


def _is_host(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return bool(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}", host))
