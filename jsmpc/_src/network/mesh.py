"""The parties' network with one party a device, inside `jax.shard_map` over the axis `party`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jsmpc._src.network.network import AXIS, Network
from jsmpc._src.network.values import Local, PerParty, Replica

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Mesh(Network):
    """One party a device: to be used inside `jax.shard_map` over the axis `party`."""

    def _rank(self) -> Array:
        return lax.axis_index(AXIS)

    def hosted(self, values: Sequence[Any]) -> Local:
        stacked = jnp.stack([jnp.asarray(v) for v in values])
        return Local([lax.dynamic_index_in_dim(stacked, self._rank(), keepdims=False)])

    def by_rank(self, *values: Local | None) -> Local:
        given = [v.example for v in values if v is not None]
        cases = [jnp.zeros_like(given[0]) if v is None else v.example for v in values]
        return Local([lax.select_n(self._rank(), *cases)]) if len(cases) > 1 else Local(cases)

    def only(self, rank: int, value: Any) -> Local:
        return Local([value])

    def deliver(self, x: Local) -> Local:
        raise NotImplementedError("on a mesh the dealer deals before: use offline and online")

    def at(self, rank: int, value: Local, otherwise: Local) -> Local:
        return Local([jnp.where(self._rank() == rank, value.example, otherwise.example)])

    def send(self, x: Local, routes: Mapping[int, int]) -> Local:
        return Local([lax.ppermute(x.example, AXIS, list(routes.items()))])

    def gather(self, x: Local) -> list[Local]:
        everyone = lax.all_gather(x.example, AXIS)
        return [Local([everyone[i]]) for i in range(self.parties)]

    def collect(self, x: Local, rank: int) -> list[Local]:
        sources = [i for i in range(self.parties) if i != rank]
        received = [self.send(x, {source: rank}) for source in sources]
        return [*received[:rank], x, *received[rank:]]

    def replicate(self, x: Local) -> Replica:
        routes = {i: (i - 1) % self.parties for i in range(self.parties)}
        return Replica([x.example, self.send(x, routes).example])

    def own(self, x: Replica) -> Local:
        return Local(x.values[:1])

    def next(self, x: Replica) -> Local:
        return Local(x.values[1:])

    def pair(self, own: Local, next: Local) -> Replica:
        return Replica([own.example, next.example])

    def pack(self, x: PerParty) -> tuple[Array, ...]:
        return tuple(v[None] for v in x.values)

    def unpack_local(self, stacked: tuple[Array, ...]) -> Local:
        return Local([stacked[0][0]])

    def unpack_replica(self, stacked: tuple[Array, ...]) -> Replica:
        return Replica([s[0] for s in stacked])
