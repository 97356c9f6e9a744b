"""How long bytes are on their way: bandwidth, half a round trip, and TCP's slow start."""

from __future__ import annotations

import collections
import dataclasses

from jsmpc._src.readings.pricing.network import Network

_SEGMENT = 1448  # payload of a packet of 1,500 bytes, time stamps on
_HEADERS = 52  # of IP and TCP
_FRAME = 16 + 22  # of the links and of a TLS record
_RECORD = 16384
_FIRST_WINDOW = 10 * _SEGMENT  # RFC 6928
_TIMEOUT = 0.2  # of an idle connection, beside a round trip: its window is halved (RFC 2861)

Direction = tuple[int, int]


@dataclasses.dataclass
class _Window:
    """What TCP sends unanswered: it doubles each round trip in which that was too little."""

    size: float = _FIRST_WINDOW
    used: float = 0.0


class Wire:
    """What each endpoint sends and receives leaves and arrives one after another."""

    def __init__(self, network: Network, endpoints: int) -> None:
        self._network = network
        self._leaving, self._arriving = [0.0] * endpoints, [0.0] * endpoints
        self._windows: dict[Direction, _Window] = collections.defaultdict(_Window)

    def arrival(
        self, source: int, target: int, size: int, now: float, encryption: float = 0.0
    ) -> float:
        """When the last of so many payload bytes arrives that are sent now.

        They leave while they are encrypted, which takes so many seconds.
        """
        delay = self._network.round_trip / 2
        total = wire_bytes(size)
        seconds = 8 * total / self._network.bandwidth
        begins = max(now, self._leaving[source])
        left = begins + seconds + self._waits((source, target), total, begins)
        left = max(left, now + encryption)
        self._leaving[source] = begins + seconds
        begins = max(left - seconds + delay, self._arriving[target])
        self._arriving[target] = begins + seconds
        return self._arriving[target]

    def restart(self, now: float) -> None:
        """A new run begins; its clock is 0 at the moment that was `now`."""
        self._leaving, self._arriving = [0.0] * len(self._leaving), [0.0] * len(self._arriving)
        for window in self._windows.values():
            window.used -= now

    def _waits(self, direction: Direction, total: float, now: float) -> float:
        """Seconds in which TCP waits for acknowledgements before it sends all of a message."""
        trip, window = self._network.round_trip, self._windows[direction]
        idle = now - window.used
        while self._network.idle_restart and idle > _TIMEOUT + trip and window.size > _FIRST_WINDOW:
            window.size, idle = max(window.size / 2, _FIRST_WINDOW), idle - _TIMEOUT - trip
        waits = 0.0
        while total > window.size:
            total -= window.size
            waits += max(trip - 8 * window.size / self._network.bandwidth, 0.0)
            window.size *= 2
        window.used = now + waits
        return waits


def wire_bytes(size: int) -> float:
    """The bytes of packets that carry a message's payload."""
    records = -(-max(size, 1) // _RECORD)
    framed = size + 16 + 22 * records
    return framed + _HEADERS * -(-framed // _SEGMENT)
