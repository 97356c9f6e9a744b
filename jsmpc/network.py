"""What parties can do with each other, in two forms with bit-identical results.

A protocol is written once, as straight-line code over *per-party values*, and runs on either
network:

- `Simulated`: all parties in one program. A per-party value holds the arrays of all parties and
  a message is a rename. It hides nothing from the machine it runs on.
- `Mesh`: one party a device, inside `jax.shard_map` over the mesh axis `party`. A per-party value
  holds one array, and a message is a collective.

In the simulation, a value that only some parties hold is absent (`None`) for the others, so a
protocol step that uses a value its party does not hold fails while it is traced.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

Array = jax.Array

AXIS = "party"

message_p = Primitive("message")
message_p.def_abstract_eval(lambda x, **_: x)
message_p.def_impl(lambda x, **_: x)
mlir.register_lowering(message_p, lambda ctx, x, **_: [x])
batching.defvectorized(message_p)

# A component that two parties hold, each having computed it in its own way: known to both once
# the later of them knows it. Two operands of one value; the result is that value.
held_p = Primitive("held")
held_p.def_abstract_eval(lambda x, y: x)
held_p.def_impl(lambda x, y: x)
mlir.register_lowering(held_p, lambda ctx, x, y: [x])
batching.defvectorized(held_p)


V = TypeVar("V", bound="_PerParty")


class _PerParty:
    """Arrays of one shape, one for each place that this program hosts; acts elementwise."""

    def __init__(self, values: Iterable[Any]):
        self.values = tuple(values)

    def map(self: V, f: Callable[..., Any], *others: Any) -> V:
        """The same local computation at every place; other operands public or per-party."""
        columns = [
            o.values if isinstance(o, _PerParty) else (o,) * len(self.values) for o in others
        ]
        for other in others:
            if isinstance(other, _PerParty) and type(other) is not type(self):
                raise TypeError(f"{type(self).__name__} combined with {type(other).__name__}")
        return type(self)(
            None if value is None or any(v is None for v in rest) else f(value, *rest)
            for value, *rest in zip(self.values, *columns, strict=True)
        )

    def maps(self: V, f: Callable[..., Sequence[Any]], *others: Any) -> list[V]:
        """Like `map`, for a computation with several results."""
        results = self.map(lambda *args: tuple(f(*args)), *others).values
        count = len(next(r for r in results if r is not None))
        return [type(self)(None if r is None else r[i] for r in results) for i in range(count)]

    @property
    def example(self) -> Any:
        """One of the arrays, for its shape and dtype."""
        return next(v for v in self.values if v is not None)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.example.shape)

    @property
    def dtype(self) -> Any:
        return self.example.dtype

    def __add__(self: V, other: Any) -> V:
        return self.map(operator.add, other)

    def __sub__(self: V, other: Any) -> V:
        return self.map(operator.sub, other)

    def __mul__(self: V, other: Any) -> V:
        return self.map(operator.mul, other)

    def __neg__(self: V) -> V:
        return self.map(operator.neg)

    def __xor__(self: V, other: Any) -> V:
        return self.map(operator.xor, other)

    def __and__(self: V, other: Any) -> V:
        return self.map(operator.and_, other)

    def __or__(self: V, other: Any) -> V:
        return self.map(operator.or_, other)

    def __lshift__(self: V, n: int) -> V:
        return self.map(lambda x: x << np.asarray(n, x.dtype))

    def __rshift__(self: V, n: int) -> V:
        return self.map(lambda x: x >> np.asarray(n, x.dtype))

    def astype(self: V, dtype: Any) -> V:
        return self.map(lambda x: x.astype(dtype))


@jax.tree_util.register_pytree_node_class
class Local(_PerParty):
    """A value that each party holds by itself: one array a hosted party."""

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Local:
        return cls(values)


@jax.tree_util.register_pytree_node_class
class Replica(_PerParty):
    """Components 0, 1, … of which party i holds the i-th, its own, and the next.

    The simulation keeps each component once, although two parties hold it; on the mesh a device
    keeps its own and the next.
    """

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Replica:
        return cls(values)


@dataclasses.dataclass(frozen=True)
class Simulated:
    """All `parties` in one program."""

    parties: int
    phase: str = "online"

    def hosted(self, values: Sequence[Any]) -> Local:
        """From a sequence that has a value for every party, those of the hosted ones."""
        return Local(values)

    def by_rank(self, *values: Local | None) -> Local:
        """Party i takes its value from the i-th argument; none where that is None."""
        return Local(None if v is None else v.values[i] for i, v in enumerate(values))

    def only(self, rank: int, value: Any) -> Local:
        """A value that party `rank` alone holds."""
        return Local(value if i == rank else None for i in range(self.parties))

    def deliver(self, correction: Any) -> Any:
        """The dealer's message to party 0."""
        return self._message(correction, "dealer", 0)

    def at(self, rank: int, value: Local, otherwise: Local) -> Local:
        """Party `rank` takes `value`, all others `otherwise`."""
        return self.by_rank(*(value if i == rank else otherwise for i in range(self.parties)))

    def send(self, x: Local, routes: Mapping[int, int]) -> Local:
        """One message for each route {sender: receiver}; absent at those who receive none."""
        received: list[Any] = [None] * self.parties
        for source, target in routes.items():
            received[target] = self._message(x.values[source], source, target)
        return Local(received)

    def _message(self, x: Any, source: int | str, target: int) -> Any:
        return message_p.bind(x, source=source, target=target, phase=self.phase)

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
        return Local(x.values)

    def next(self, x: Replica) -> Local:
        return Local((*x.values[1:], x.values[0]))

    def pair(self, own: Local, next: Local) -> Replica:
        """Components that the parties hold already, as own and next."""
        return Replica(
            o if o is n else held_p.bind(o, n)
            for o, n in zip(own.values, (next.values[-1], *next.values[:-1]), strict=True)
        )

    def pack(self, x: Local | Replica) -> tuple[Array, ...]:
        """Stacked arrays with the party on the leading axis."""
        return (jnp.stack(x.values),)

    def unpack_local(self, stacked: tuple[Array, ...]) -> Local:
        return Local(stacked[0][i] for i in range(self.parties))

    def unpack_replica(self, stacked: tuple[Array, ...]) -> Replica:
        return Replica(stacked[0][i] for i in range(self.parties))


@dataclasses.dataclass(frozen=True)
class Mesh:
    """One party a device: to be used inside `jax.shard_map` over the axis `party`."""

    parties: int
    phase: str = "online"

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

    def deliver(self, correction: Any) -> Any:
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

    def pack(self, x: Local | Replica) -> tuple[Array, ...]:
        return tuple(v[None] for v in x.values)

    def unpack_local(self, stacked: tuple[Array, ...]) -> Local:
        return Local([stacked[0][0]])

    def unpack_replica(self, stacked: tuple[Array, ...]) -> Replica:
        return Replica([s[0] for s in stacked])


Network = Simulated | Mesh
