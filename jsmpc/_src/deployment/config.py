"""The parties of a run, their addresses and certificates, and how they compute: `parties.toml`."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

from jsmpc._src.deployment import certificates, endpoints, identity, tables
from jsmpc._src.deployment.endpoints import Endpoint
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.deployment.identity import Identity
from jsmpc._src.deployment.tables import Table
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.registry import PROTOCOLS, make_protocol
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.ring import Ring

PATIENCE, SILENCE, STALL = 60.0, 10.0, 600.0
STOCK_MEMORY = 1024


@dataclasses.dataclass(frozen=True)
class Config:
    """What a file of parties says, once all of it is valid.

    Attributes:
      file: the file.
      protocol_name: the protocol's name among jsmpc's protocols.
      protocol: the protocol, with the parties' names.
      peers: the parties in the order of their ranks, then the dealer where there is one; with
        `dealt_before` it takes no part, and its material is in the parties' files.
      patience: the seconds to wait for the others at the start.
      silence: the seconds without a sign of life after which a party counts as dead.
      stall: the seconds after which one that lives but sends nothing counts as stuck.
      stock: how many sets of material the dealer keeps ready for each program; 0 to deal as the
        parties run.
      stock_memory: the MiB that all of them may take.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from jsmpc._src.deployment import identity
      >>> folder = tempfile.TemporaryDirectory()
      >>> text = 'protocol = "additive"\\ndealer = "james"'
      >>> for port, name in enumerate(("alice", "bob", "james"), 4001):
      ...     file = identity.new(name, folder.name).certificate_path.name
      ...     text += f'\\n[parties.{name}]\\nhost = "localhost"\\nport = {port}'
      ...     text += f'\\ncertificate = "{file}"'
      >>> file = Path(folder.name, "parties.toml")
      >>> file.write_text(text) > 0
      True
      >>> config = Config.load(file)
      >>> config.protocol.parties, config.rank("bob"), config.rank("james")
      (('alice', 'bob'), 1, 2)
    """

    file: Path
    protocol_name: str
    protocol: Protocol[Any]
    peers: tuple[Endpoint, ...]
    patience: float = PATIENCE
    silence: float = SILENCE
    stall: float = STALL
    stock: int = 0
    stock_memory: int = STOCK_MEMORY

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Config:
        """Read and validate a file of parties.

        Raises:
          ConfigError: for the first thing in it that is wrong, with file, table, key and remedy.
        """
        file = Path(path)
        table, _ = tables.read(file, ConfigError, "Name the file of the parties, parties.toml")
        table.only(*endpoints.OUTER)
        parties = table.need("parties", dict, "a table [parties.alice] for each party")
        peers, dealer = endpoints.read_all(table, parties), table.get("dealer", str)
        name = _protocol_name(table, dealer)
        helped = PROTOCOLS[name].helped
        _check_dealer(table, dealer, tuple(parties), helped)
        protocol = _protocol(table, name, [p for p in parties if p != dealer], dealer)
        last = tuple(sorted(peers, key=lambda peer: peer.name == dealer))
        defaults = {"patience": PATIENCE, "silence": SILENCE, "stall": STALL}
        patience, silence, stall = (table.seconds(*default) for default in defaults.items())
        stock, memory = _stock(table, None if helped else dealer, tuple(parties))
        return cls(file, name, protocol, last, patience, silence, stall, stock, memory)

    def rank(self, name: str) -> int:
        """The place of a party, or of the dealer, among `peers`.

        Raises:
          ConfigError: if nobody is called so.
        """
        names = tuple(peer.name for peer in self.peers)
        if name not in names:
            raise ConfigError(f"{self.file}: no party {name!r}. {tables.nearest(name, names)}")
        return names.index(name)

    def identity(self, name: str, folder: str | os.PathLike[str] | None = None) -> Identity:
        """The identity of one of the parties, from a folder, by default that of the file.

        Raises:
          ConfigError: if nobody is called so, its files cannot be used, or its certificate is not
            the one that the file of parties shows to the others.
        """
        peer = self.peers[self.rank(name)]
        where = f"{self.file}: [parties.{name}]: certificate"
        own = self.file.parent if folder is None else folder
        return identity.load_shown(own, name, peer.fingerprint, where)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of what all parties must agree on: not of addresses, nor of waiting times.

        It covers the certificates, which hold the names, in the order of the ranks, the dealer's
        last; the protocol, the ring and the encoding; and whether the dealer keeps a stock.
        """
        encoding = self.protocol.encoding
        agreed = {
            "protocol": self.protocol_name,
            "certificates": [peer.fingerprint for peer in self.peers],
            "bits": self.protocol.bits,
            "encoding": [encoding.base, encoding.precision_fractional],
            "stocked": self.stock > 0,
        }
        return certificates.digest(json.dumps(agreed, sort_keys=True).encode())


def _protocol_name(table: Table, dealer: str | None) -> str:
    """The name of a protocol that has a dealer if one is named, and only then."""
    known = tuple(PROTOCOLS)
    name = table.need("protocol", str, f'protocol = "{known[0]}"')
    if name not in PROTOCOLS:
        raise table.refusal("protocol", f"none is called {name!r}. {tables.nearest(name, known)}")
    has_dealer = PROTOCOLS[name].dealt_by is not None
    if has_dealer and dealer is None:
        raise table.refusal(
            "dealer", f"missing: the {name} protocol has one. Name who of [parties] deals"
        )
    if dealer is not None and not has_dealer:
        raise table.refusal("dealer", f"the {name} protocol has none. Leave the key out")
    return name


def _check_dealer(table: Table, dealer: str | None, parties: tuple[str, ...], helped: bool) -> None:
    """Refuse a dealer who is neither here nor said to have dealt before, or both."""
    before = table.get("dealt_before", bool) or False
    if before and helped:
        raise table.refusal("dealt_before", f"{dealer} computes with the parties. Leave it out")
    if dealer is not None and dealer in parties and before:
        raise table.refusal("dealt_before", f"{dealer} is in [parties]. Leave one of both out")
    if dealer is not None and dealer not in parties and not before:
        raise table.refusal(
            "dealer",
            f"no such party. {tables.nearest(dealer, parties)}; where all material is in files, "
            "write dealt_before = true",
        )


def _stock(table: Table, dealer: str | None, parties: tuple[str, ...]) -> tuple[int, int]:
    """How many sets, and how many MiB; refused where nobody could keep them."""
    sets, memory = table.get("stock", int), table.get("stock_memory", int)
    if sets is not None and sets < 0:
        raise table.refusal("stock", f"must be 0 sets or more, not {sets}")
    if sets and dealer not in parties:
        raise table.refusal("stock", "no dealer takes part that could keep it. Leave the key out")
    if memory is not None and not sets:
        raise table.refusal("stock_memory", "there is no stock. Write for example: stock = 4")
    if memory is not None and memory < 1:
        raise table.refusal("stock_memory", f"must be 1 MiB or more, not {memory}")
    return sets or 0, STOCK_MEMORY if memory is None else memory


def _protocol(table: Table, name: str, parties: list[str], dealer: str | None) -> Protocol[Any]:
    given = table.get("bits", int)
    bits = 64 if given is None else given
    if bits not in (32, 64):
        raise table.refusal("bits", f"must be 32 or 64, not {bits}")
    base, digits = table.get("base", int), table.get("precision_fractional", int)
    if base not in (None, 2, 10):
        raise table.refusal("base", f"must be 2 or 10, not {base}")
    if digits is not None and digits < 0:
        raise table.refusal("precision_fractional", f"must be 0 or more, not {digits}")
    try:
        encoding = FixedPoint(2 if base is None else base, digits).resolve(Ring(bits))
    except ValueError as error:
        raise table.refusal("precision_fractional", f"{error}. Take fewer digits") from None
    try:
        return make_protocol(name, parties, bits, encoding, dealer)
    except ValueError as error:
        raise table.refusal("parties", f"{error}. Change the parties or the protocol") from None
