"""How fast a machine does the work of an endpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jsmpc._src.readings.pricing.work import UNITS, Amounts


@dataclasses.dataclass(frozen=True)
class Links:
    """What the links take of an endpoint's processor, in seconds.

    Attributes:
      exchange: of each exchange, however little it carries: a system call a peer, a wake-up.
      message: of each peer beyond the first that something is sent to or received from.
      wake: from the arrival of what a peer was waited for until the endpoint goes on.
      byte: of each byte that is encrypted and sent, or received and decrypted.
      run: of each call of a program: dispatch, agreement with the policy, the log on disk.
    """

    exchange: float
    message: float
    wake: float
    byte: float
    run: float


# Three processes on a machine of two cores with AES-NI and AVX-512, OpenSSL 3, TLS 1.3, from rings
# of exchanges of 8 B to 1 MiB between loopback and emulated links.
MEASURED = Links(exchange=20e-6, message=8e-6, wake=40e-6, byte=0.55e-9, run=0.5e-3)


@dataclasses.dataclass(frozen=True)
class Speeds:
    """Seconds of one core for one of each of the `UNITS`.

    Attributes:
      seconds: by unit.
      cores: that the machine has.
      links: what exchanges take.
    """

    seconds: Mapping[str, float]
    cores: int
    links: Links = MEASURED

    def of(self, amounts: Amounts) -> float:
        """The seconds of one core that work takes."""
        return sum(self.seconds[unit] * amount for unit, amount in amounts.items())

    def __post_init__(self) -> None:
        if set(self.seconds) != set(UNITS) or not all(s >= 0 for s in self.seconds.values()):
            raise ValueError(f"speeds are numbers of seconds for {', '.join(UNITS)}")
