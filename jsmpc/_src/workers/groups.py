"""Workers as the parties of a protocol: each keeps its part of shares, and runs its part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.api import kept, sharing
from jsmpc._src.api.director import Director, Placed
from jsmpc._src.api.session import Purpose
from jsmpc._src.api.share import Share
from jsmpc._src.errors import PointerError
from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.disclosed import Disclosure
from jsmpc._src.links.exchange import exchange, halt
from jsmpc._src.plans import trace
from jsmpc._src.plans.located import Located, apart
from jsmpc._src.plans.plan import Plan
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._src.workers.descriptions import described
from jsmpc._src.workers.members import CALLS, grouped
from jsmpc._src.workers.pointer import Pointer, operand
from jsmpc._src.workers.servant import HERE

if TYPE_CHECKING:
    from jsmpc._src.workers.worker import BaseWorker, Worker


class Group(Director):
    """Workers in the places of a protocol's parties and its dealer.

    Args:
      protocol: whose; workers: one for each of its endpoints, in their order.

    Raises:
      PointerError: for another number of workers, or one of them twice.
    """

    def __init__(self, protocol: Protocol, workers: Sequence[BaseWorker]) -> None:
        names = [worker.name for worker in workers]
        if len(names) != len(protocol.endpoints) or len(set(names)) != len(names):
            raise PointerError(
                f"{type(protocol).__name__} is run by {', '.join(protocol.endpoints)}, and the "
                f"workers are {', '.join(names)}. Give each its own worker, in this order"
            )
        super().__init__(protocol, names)
        self.workers = tuple(workers)
        self._plans: dict[Projection, list[Plan]] = {}
        for worker in workers:
            for other in workers:
                worker.meet(other)

    def shared(self, key: Any, tree: Any) -> Any:
        """A pytree with each array shared among the workers; pointers by their own."""
        leaves, treedef = jax.tree.flatten(apart(tree))
        arrays = sharing.share(
            key, [x for x in leaves if not isinstance(x, Located)], self.protocol
        )
        mine = iter(arrays)
        found = [
            self._split(x) if isinstance(x, Located) else self._placed(next(mine)) for x in leaves
        ]
        return jax.tree.unflatten(treedef, found)

    def _placed(self, share: Share) -> Placed:
        """A share of which each worker gets its part."""
        parts = []
        for rank, worker in enumerate(self.workers[: self.protocol.size]):
            held = sorted(self.protocol.holds(rank))
            rows = tuple(np.asarray(c[row]) for c in share.components for row in held)
            parts.append(worker.send(rows))
        return Placed(self, share.shape, share.dtype, parts, share.digits)

    def _split(self, x: Any) -> Placed:
        """What lies at a worker, shared by it."""
        place = x.place
        for worker in self.workers:
            place.meet(worker)
        names = list(self.places[: self.protocol.size])
        told = described(self.protocol)
        found = place.asked("split", **operand(x), protocol=told, to=names)["objects"]
        parts = [Pointer(w, info) for w, info in zip(self.workers, found, strict=False)]
        return Placed(self, x.shape, x.dtype, parts)

    def plans(self, projection: Projection, purpose: Purpose) -> dict[str, Plan]:
        if projection not in self._plans:
            self._plans[projection] = self._planned(projection, purpose)
        return dict(zip(self.places, self._plans[projection], strict=True))

    def _planned(self, projection: Projection, purpose: Purpose) -> list[Plan]:
        """Each endpoint's own program."""
        shown = [Disclosure(r.to, r.elements, r.line) for r in purpose.reveals]
        types = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in projection.block.inputs]
        plans = []
        with compat.protocol_mode():
            token = jax.ShapeDtypeStruct((), jnp.uint32)
            for endpoint, place in enumerate(self.places):
                own = projection.program([endpoint], exchange, halt, kernels.evaluate)
                given = [types[i] for i in projection.given(endpoint)]
                called = f"{purpose.what}-{place}".replace(" ", "-")
                arguments: Any = (token, [given]), {}
                name = trace.name_from(called)
                plans.append(trace.traced(own, arguments, name, calls=CALLS, reveals=shown))
        return plans

    def fetch(self, part: Any) -> Any:
        return part.copy()


class LocalGroup(Group):
    """Workers of this process: all run as one program, as in a simulation."""

    workers: tuple[Worker, ...]

    def __init__(self, protocol: Protocol, workers: Sequence[BaseWorker]) -> None:
        super().__init__(protocol, workers)
        self._programs: dict[Projection, Any] = {}

    def execute(
        self,
        projection: Projection,
        purpose: Purpose,
        early: Sequence[Any],
        operands: Sequence[Sequence[Any]],
        groups: Sequence[Sequence[int | None]],
    ) -> list[list[Any]]:
        program, names = self._program(projection), self._names(projection, purpose)
        claims = []
        for worker, name, given in zip(self.workers, names, operands, strict=True):
            inputs = [operand_of(x) for x in given]
            claims.append(worker.servant.computing.permitted(HERE, name, purpose.what, inputs))
        everybody = range(len(self.workers))
        with compat.protocol_mode():
            held = [
                [*self._state(e), *early, *claims[e].leaves, *_digests(projection, e)]
                for e in everybody
            ]
            _, out = program(jnp.zeros((), jnp.uint32), held)
        found = []
        for worker, claim, results, counts in zip(self.workers, claims, out, groups, strict=True):
            infos = worker.servant.computing.keep(claim, grouped(results, counts))
            found.append([Pointer(worker, info) for info in infos])
        return found

    def _program(self, projection: Projection) -> Any:
        """The program of all."""
        if projection not in self._programs:
            self._programs[projection] = jax.jit(projection.together(kernels.evaluate))
        return self._programs[projection]

    def _names(self, projection: Projection, purpose: Purpose) -> list[str]:
        """By what policies permit the run: the plans that it would be in processes."""
        if all(worker.servant.policy.names_no_plans for worker in self.workers):
            return [""] * len(self.workers)
        return [plan.hash for plan in self.plans(projection, purpose).values()]

    def _state(self, endpoint: int) -> list[Any]:
        """An endpoint's part of what a simulation keeps."""
        leaves = jax.tree.leaves(self.protocol.state)
        ports = kept.holders(self.protocol)
        return [x for x, p in zip(leaves, ports, strict=True) if endpoint in p.endpoints]


def operand_of(x: Any) -> Any:
    """How a request names what an endpoint is given."""
    if isinstance(x, tuple):
        part, row = x
        part.require_there("compute")
        return {"id": part.id, "leaf": row}
    return x


def _digests(projection: Projection, endpoint: int) -> list[Any]:
    """Of public arguments, which are the same where all run in one program."""
    count = sum(endpoint in group.endpoints for group in projection.compared)
    return [jnp.zeros(32, jnp.uint8)] * count
