"""What parties can do with each other: the verbs that protocols are written in.

A protocol is straight-line code over *per-party values* (`jsmpc._src.network.values`), and runs on
either network with bit-identical results: `Simulated`, all parties in one program, where a message
is a rename, and `Mesh`, one party a device, where it is a collective.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from jsmpc._src.network.values import Local, PerParty, Replica

AXIS = "party"

N = TypeVar("N", bound="Network")


@dataclasses.dataclass(frozen=True)
class Network(abc.ABC):
    """A network of `parties`; messages are counted under its `phase`."""

    parties: int
    phase: str = "online"

    def during(self: N, phase: str) -> N:
        """The same network in another phase: `setup`, `offline` or `online`."""
        return dataclasses.replace(self, phase=phase)

    # Values that need no message.

    @abc.abstractmethod
    def hosted(self, values: Sequence[Any]) -> Local:
        """From a sequence that has a value for every party, those of the hosted ones."""

    @abc.abstractmethod
    def by_rank(self, *values: Local | None) -> Local:
        """Party i takes its value from the i-th argument; none where that is None."""

    @abc.abstractmethod
    def only(self, rank: int, value: Any) -> Local:
        """A value that party `rank` alone holds."""

    @abc.abstractmethod
    def at(self, rank: int, value: Local, otherwise: Local) -> Local:
        """Party `rank` takes `value`, all others `otherwise`."""

    # Messages.

    @abc.abstractmethod
    def deliver(self, x: Local) -> Local:
        """The dealer's messages: to each party its value, to none where that is absent."""

    @abc.abstractmethod
    def send(self, x: Local, routes: Mapping[int, int]) -> Local:
        """One message for each route {sender: receiver}; absent at those who receive none."""

    @abc.abstractmethod
    def gather(self, x: Local) -> list[Local]:
        """Every party sends its value to all others: the i-th result is party i's value."""

    @abc.abstractmethod
    def collect(self, x: Local, rank: int) -> list[Local]:
        """All other parties send their values to party `rank`; absent elsewhere."""

    @abc.abstractmethod
    def replicate(self, x: Local) -> Replica:
        """Every party sends its value to the party before it."""

    # Replicas.

    @abc.abstractmethod
    def own(self, x: Replica) -> Local:
        """Each party's own component."""

    @abc.abstractmethod
    def next(self, x: Replica) -> Local:
        """The component that each party holds beside its own."""

    @abc.abstractmethod
    def pair(self, own: Local, next: Local) -> Replica:
        """Components that the parties hold already, as own and next."""

    # Between per-party values and arrays with the party on the leading axis.

    @abc.abstractmethod
    def pack(self, x: PerParty) -> tuple[Any, ...]:
        """Stacked arrays: in simulation one, on a mesh one for each component a party holds."""

    @abc.abstractmethod
    def unpack_local(self, stacked: tuple[Any, ...]) -> Local:
        """The inverse of `pack` for a `Local`."""

    @abc.abstractmethod
    def unpack_replica(self, stacked: tuple[Any, ...]) -> Replica:
        """The inverse of `pack` for a `Replica`."""
