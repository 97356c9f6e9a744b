"""Who answers requests and who may ask: the file `workers.toml`."""

from __future__ import annotations

import dataclasses
import functools
import os
import ssl
from collections.abc import Iterable
from pathlib import Path

from jsmpc._src.deployment import endpoints, identity, tables
from jsmpc._src.deployment.certificates import Certificate
from jsmpc._src.deployment.endpoints import Apart, Endpoint
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.identity import Identity
from jsmpc._src.deployment.tables import Table

DEADLINE, LARGEST = 60.0, 1024

_OUTER = ("deadline", "largest", "workers", "clients")
_REMEDY = "Name the file of the workers, workers.toml"


@dataclasses.dataclass(frozen=True)
class Address(Endpoint):
    """Where a worker answers requests.

    Attributes:
      exchange: the port where it meets other workers to compute with them; None for any.
    """

    exchange: int | None = None


@dataclasses.dataclass(frozen=True)
class Directory:
    """What a file of workers and clients says, once all of it is valid.

    Workers answer requests; clients and workers may make them.

    Attributes:
      file: the file.
      workers: the addresses of the workers, by name.
      clients: the certificates of those that are clients alone, by name.
      certificates: those of all, by name.
      files: the file, and those of the certificates.
      deadline: the seconds that a call may take.
      largest: the MiB that a message may have.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from jsmpc._src.deployment import identity
      >>> from jsmpc._src.transport.directory import Directory
      >>> folder = tempfile.TemporaryDirectory()
      >>> for name in ("bob", "carol"):
      ...     made = identity.new(name, folder.name)
      >>> file = Path(folder.name, "workers.toml")
      >>> text = '[workers.bob]\\nhost = "localhost"\\nport = 5001\\ncertificate = "bob.cert.pem"'
      >>> file.write_text(text + '\\n[clients.carol]\\ncertificate = "carol.cert.pem"') > 0
      True
      >>> directory = Directory.load(file)
      >>> directory.workers["bob"].port, list(directory.clients), directory.deadline
      (5001, ['carol'], 60.0)
      >>> folder.cleanup()
    """

    file: Path
    workers: dict[str, Address]
    clients: dict[str, Certificate]
    certificates: dict[str, Certificate]
    files: tuple[Path, ...]
    deadline: float = DEADLINE
    largest: int = LARGEST

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Directory:
        """Read and validate a file of workers and clients.

        A certificate that has expired is refused when it is used, not here: it is no reason to
        do without all others.

        Raises:
          ConfigError: for the first thing in it that is wrong, with file, table, key and remedy.
        """
        file = Path(path)
        table, _ = tables.read(file, ConfigError, _REMEDY)
        table.only(*_OUTER)
        apart = Apart()
        workers, found = {}, {}
        files: list[Path | None] = [file]
        named = table.need("workers", dict, "a table [workers.bob] for each worker")
        for name, row in endpoints.rows(table, "workers", named):
            found[name] = _certificate(row, name, apart, "host", "port", "exchange")
            workers[name] = _address(row, found[name], apart)
            files.append(endpoints.certificate_file(row))
        clients, more = read_clients(table, "workers", workers, apart)
        read = tuple(filter(None, [*files, *more]))
        found |= clients
        deadline = table.seconds("deadline", DEADLINE)
        return cls(file, workers, clients, found, read, deadline, largest(table))

    def worker(self, name: str) -> Address:
        """A worker's address, if its certificate is valid now.

        Raises:
          ConfigError: if no worker is called so, or its certificate is not valid now.
        """
        if name not in self.workers:
            known = tuple(self.workers)
            raise ConfigError(f"{self.file}: no worker {name!r}. {tables.nearest(name, known)}")
        self.certificates[name].check_time(f"{self.file}: [workers.{name}]: certificate")
        return self.workers[name]

    def identity(self, name: str, folder: str | os.PathLike[str] | None = None) -> Identity:
        """The identity of a worker or client, from a folder, by default that of the file.

        Raises:
          ConfigError: if nobody is called so, its files cannot be used, or its certificate is not
            the one that the file shows to the others.
        """
        if name not in self.certificates:
            known = tuple(self.certificates)
            raise ConfigError(
                f"{self.file}: no worker or client {name!r}. {tables.nearest(name, known)}"
            )
        kind = "workers" if name in self.workers else "clients"
        where = f"{self.file}: [{kind}.{name}]: certificate"
        own = self.file.parent if folder is None else folder
        return identity.load_shown(own, name, self.certificates[name].fingerprint, where)

    def caller(self, certificate: bytes) -> str | None:
        """The name of whose certificate (DER) this is, to the last bit; None if it is nobody's.

        Raises:
          ConfigError: if it is not valid now.
        """
        name = self._names.get(certificate)
        if name is not None:
            self.certificates[name].check_time(self.file.name)
        return name

    @functools.cached_property
    def _names(self) -> dict[bytes, str]:
        return {der(found.pem): name for name, found in self.certificates.items()}


def der(pem: bytes) -> bytes:
    """The DER form of a certificate in PEM form."""
    return ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))


def read_clients(
    table: Table, kind: str, others: Iterable[str], apart: Apart
) -> tuple[dict[str, Certificate], list[Path | None]]:
    """The certificates of the tables `[clients.carol]`, and the files that they are in.

    Args:
      kind, others: the table and the names of those that are no clients alone.
    """
    found, files = {}, []
    for name, row in endpoints.rows(table, "clients", table.get("clients", dict) or {}):
        if name in others:
            raise row.refusal("", f"is in [{kind}] too. Leave it out in one of them")
        found[name] = _certificate(row, name, apart)
        files.append(endpoints.certificate_file(row))
    return found, files


def _certificate(row: Table, name: str, apart: Apart, *others: str) -> Certificate:
    row.only("certificate", "fingerprint", *others, above=_OUTER)
    found = endpoints.read_certificate(row, name)
    # Certificates are found by their names, where case does not count.
    apart.check(row, name, "certificate", "name but for its case", name.lower())
    apart.check(row, name, "certificate", "key", found.public_key)
    return found


def _address(row: Table, certificate: Certificate, apart: Apart) -> Address:
    host, port = endpoints.read_address(row)
    name, exchange = certificate.name, row.get("exchange", int)
    apart.check(row, name, "port", "address", (host, port))
    if exchange is not None:
        endpoints.checked_port(row, "exchange", exchange)
        if exchange == port:
            raise row.refusal("exchange", "is the port of requests too. Give each its own")
        apart.check(row, name, "exchange", "address", (host, exchange))
    shown = certificate.pem, certificate.fingerprint
    return Address(name, host, port, *shown, exchange=exchange)


def largest(table: Table, default: int = LARGEST) -> int:
    """The MiB that a message may have."""
    size = table.get("largest", int)
    if size is not None and size < 1:
        raise table.refusal("largest", f"must be 1 MiB or more, not {size}")
    return default if size is None else size
