"""What joins the parties: a bandwidth, a round trip, and whose cores they are."""

from __future__ import annotations

import dataclasses
import math

from jsmpc._src.errors import ProtocolError


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that joins all endpoints of a run with each other.

    Attributes:
      bandwidth: bits a second that each endpoint sends at most, and receives at most.
      round_trip: seconds from one endpoint to another and back.
      name: for tables; by default the two numbers.
      cores: how many cores all endpoints share; None where each has a machine of its own, of the
        kind that the speeds were measured on.
      idle_restart: whether TCP forgets what a connection can carry while that carries little, as
        Linux does unless its `net.ipv4.tcp_slow_start_after_idle` is 0.

    Example:
      >>> import jsmpc
      >>> jsmpc.Network(bandwidth=1e9, round_trip=0.5e-3, name="LAN") == jsmpc.LAN
      True
      >>> jsmpc.Network(bandwidth=20e6, round_trip=0.1).name
      '20 Mbit/s, 100 ms'
    """

    bandwidth: float
    round_trip: float
    name: str = ""
    cores: int | None = None
    idle_restart: bool = True

    def __post_init__(self) -> None:
        if not self.bandwidth > 0 or not 0 <= self.round_trip < math.inf:
            raise ProtocolError(
                "a network has a positive bandwidth in bits a second and a round trip of finitely "
                f"many seconds, 0 or more; found {self.bandwidth} and {self.round_trip}"
            )
        if self.cores is not None and self.cores < 1:
            raise ProtocolError(f"endpoints share at least one core, not {self.cores}")
        if not self.name:
            rate = _rate(self.bandwidth)
            object.__setattr__(self, "name", f"{rate}, {1e3 * self.round_trip:g} ms")


def _rate(bandwidth: float) -> str:
    for unit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if bandwidth >= unit:
            return f"{bandwidth / unit:g} {prefix}bit/s"
    return f"{bandwidth:g} bit/s"


LAN = Network(bandwidth=1e9, round_trip=0.5e-3, name="LAN")
WAN = Network(bandwidth=100e6, round_trip=40e-3, name="WAN")
