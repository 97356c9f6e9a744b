"""Who answers queries and who may ask: the parties and clients of a file of parties."""

from __future__ import annotations

import os
from pathlib import Path

from jsmpc._src.deployment import certificates, endpoints, tables
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.endpoints import Apart, Endpoint
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.service.answers import CLIENTS
from jsmpc._src.transport import directory
from jsmpc._src.transport.directory import Address, Directory

LARGEST = 64  # MiB of a message, where the file says nothing


class Parties(Directory):
    """The parties' addresses for clients, and the clients; the dealer has none of both.

    Attributes:
      workers: the parties.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Parties:
        """Read and validate a file of parties.

        Raises:
          ConfigError: for the first thing in it that is wrong, with file, table, key and remedy.
        """
        file = Path(path)
        config = Config.load(file)
        table, _ = tables.read(file, ConfigError, "Name the file of the parties, parties.toml")
        apart, workers = Apart(), {}
        found = {p.name: certificates.read(p.certificate, p.name) for p in config.peers}
        for name, certificate in found.items():
            apart.check(table, name, "parties", "key", certificate.public_key)
            apart.check(table, name, "parties", "name but for its case", name.lower())
        for peer in config.peers[: config.protocol.size]:
            workers[peer.name] = _address(table.file, peer)
        clients, files = directory.read_clients(table, "parties", found, apart)
        rows = endpoints.rows(table, "parties", table.need("parties", dict, ""))
        files += [endpoints.certificate_file(row) for _, row in rows]
        read = tuple(filter(None, [file, *files]))
        largest = directory.largest(table, LARGEST)
        return cls(file, workers, clients, found | clients, read, largest=largest)


def _address(file: Path, peer: Endpoint) -> Address:
    where = f"{file}: [parties.{peer.name}]"
    if peer.name == CLIENTS:
        raise ConfigError(f"{where}: means all clients in a policy; name the party otherwise")
    if peer.requests is None:
        raise ConfigError(
            f"{where}: requests: missing: the port at which it answers clients. Write for example: "
            "requests = 5001"
        )
    return Address(peer.name, peer.host, peer.requests, peer.certificate, peer.fingerprint)
