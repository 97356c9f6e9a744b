"""All parties in one program: a message is a rename. It hides nothing from its machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.network.messages import held_p, message_p
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, PerParty, Replica

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Simulated(Network):
    """All `parties` in one program."""

    def hosted(self, values: Sequence[Any]) -> Local:
        return Local(values)

    def by_rank(self, *values: Local | None) -> Local:
        return Local(None if v is None else v.values[i] for i, v in enumerate(values))

    def only(self, rank: int, value: Any) -> Local:
        return Local(value if i == rank else None for i in range(self.parties))

    def deliver(self, x: Local) -> Local:
        return Local(
            None if v is None else self._message(v, "dealer", i) for i, v in enumerate(x.values)
        )

    def at(self, rank: int, value: Local, otherwise: Local) -> Local:
        return self.by_rank(*(value if i == rank else otherwise for i in range(self.parties)))

    def send(self, x: Local, routes: Mapping[int, int]) -> Local:
        received: list[Any] = [None] * self.parties
        for source, target in routes.items():
            received[target] = self._message(x.values[source], source, target)
        return Local(received)

    def _message(self, x: Any, source: int | str, target: int) -> Any:
        return message_p.bind(x, source=source, target=target, phase=self.phase)

    def gather(self, x: Local) -> list[Local]:
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
        n = self.parties
        return Replica(self._message(x.values[i], i, (i - 1) % n) for i in range(n))

    def own(self, x: Replica) -> Local:
        return Local(x.values)

    def next(self, x: Replica) -> Local:
        return Local((*x.values[1:], x.values[0]))

    def pair(self, own: Local, next: Local) -> Replica:
        return Replica(
            o if o is n else held_p.bind(o, n)
            for o, n in zip(own.values, (next.values[-1], *next.values[:-1]), strict=True)
        )

    def pack(self, x: PerParty) -> tuple[Array, ...]:
        return (jnp.stack(x.values),)

    def unpack_local(self, stacked: tuple[Array, ...]) -> Local:
        return Local(stacked[0][i] for i in range(self.parties))

    def unpack_replica(self, stacked: tuple[Array, ...]) -> Replica:
        return Replica(stacked[0][i] for i in range(self.parties))
