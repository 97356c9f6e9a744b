"""What parties can do with each other: the verbs that protocols are written in.

A protocol is straight-line code over *per-party values* (`jsmpc._src.network.values`), traced once
for all parties together: every message is an equation with a source and a target. Run whole, the
program simulates all parties on one machine, from which it hides nothing; projected on a party
(`jsmpc._src.readings.projection`), it is what that party runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jsmpc._src.jaxprs import lines
from jsmpc._src.network.messages import held_p, message_p
from jsmpc._src.network.values import Local, PerParty, Replica

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of `parties`; messages are counted under its `phase`.

    What is said here of party i is done by party i + `turn`; None where no turns are taken yet.
    """

    parties: int
    phase: str = "online"
    turn: int | None = None

    def during(self, phase: str) -> Network:
        """The same network in another phase: `setup`, `offline` or `online`."""
        return dataclasses.replace(self, phase=phase)

    def turned(self, turn: int) -> Network:
        """The same network with its parties' roles further by `turn`."""
        return dataclasses.replace(self, turn=((self.turn or 0) + turn) % self.parties)

    def unturned(self) -> Network:
        """The same network before any turns."""
        return dataclasses.replace(self, turn=None)

    def hosted(self, values: Sequence[Any]) -> Local:
        """From a sequence that has a value for every party, those of the hosted ones."""
        return Local(values)

    def by_rank(self, *values: Local | None) -> Local:
        """Party i takes its value from the i-th argument; none where that is None."""
        return Local(None if v is None else v.values[i] for i, v in enumerate(values))

    def only(self, rank: int, value: Any) -> Local:
        """A value that party `rank` alone holds."""
        return Local(value if i == rank else None for i in range(self.parties))

    def deliver(self, x: Local) -> Local:
        """The dealer's messages: to each party its value, to none where that is absent."""
        return Local(
            None if v is None else self._message(v, "dealer", i) for i, v in enumerate(x.values)
        )

    def ask(self, x: Local) -> tuple[Any, ...]:
        """Each party's value, sent to a helper, who is in the dealer's place."""
        return tuple(self._message(v, i, "dealer") for i, v in enumerate(x.values))

    def tell(self, x: Any) -> Any:
        """What all parties know, told to the dealer; sent where the dealer needs and lacks it."""
        return self._message(x, 0, "dealer")

    def at(self, rank: int, value: Local, otherwise: Local) -> Local:
        """Party `rank` takes `value`, all others `otherwise`."""
        return self.by_rank(*(value if i == rank else otherwise for i in range(self.parties)))

    def send(self, x: Local, routes: Mapping[int, int]) -> Local:
        """One message for each route {sender: receiver}; absent at those who receive none."""
        received: list[Any] = [None] * self.parties
        for source, target in routes.items():
            received[target] = self._message(x.values[source], source, target)
        return Local(received)

    def _message(self, x: Any, source: int | str, target: int | str) -> Any:
        ends = {"source": self._address(source), "target": self._address(target)}
        return message_p.bind(x, **ends, phase=self.phase, at=lines.of_protocol())

    def _address(self, rank: int | str) -> int | str:
        return rank if isinstance(rank, str) else (rank + (self.turn or 0)) % self.parties

    def gather(self, x: Local) -> list[Local]:
        """Every party sends its value to all others: the i-th result is party i's value."""
        return [
            Local(
                x.values[source]
                if source == target
                else self._message(x.values[source], source, target)
                for target in range(self.parties)
            )
            for source in range(self.parties)
        ]

    def collect(self, x: Local, rank: int) -> list[Local]:
        """All other parties send their values to party `rank`; absent elsewhere."""
        return [
            self.only(
                rank,
                x.values[source]
                if source == rank
                else self._message(x.values[source], source, rank),
            )
            for source in range(self.parties)
        ]

    def replicate(self, x: Local) -> Replica:
        """Every party sends its value to the party before it."""
        n = self.parties
        return Replica(self._message(x.values[i], i, (i - 1) % n) for i in range(n))

    def own(self, x: Replica) -> Local:
        """Each party's own component."""
        return Local(x.values)

    def next(self, x: Replica) -> Local:
        """The component that each party holds beside its own."""
        return Local((*x.values[1:], x.values[0]))

    def pair(self, own: Local, next: Local) -> Replica:
        """Components that the parties hold already, as own and next."""
        return Replica(
            o if o is n else held_p.bind(o, n)
            for o, n in zip(own.values, (next.values[-1], *next.values[:-1]), strict=True)
        )

    def pack(self, x: PerParty) -> tuple[Sequence[Array], ...]:
        """The parties' arrays, apart: of each array that a share is of, a row for each party."""
        return (x.values,)

    def unpack_local(self, packed: tuple[Any, ...]) -> Local:
        """The inverse of `pack` for a `Local`, of rows apart or in one array."""
        return Local(packed[0][i] for i in range(self.parties))

    def unpack_replica(self, packed: tuple[Any, ...]) -> Replica:
        """The inverse of `pack` for a `Replica`, of rows apart or in one array."""
        return Replica(packed[0][i] for i in range(self.parties))
