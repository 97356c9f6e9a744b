"""Data sets of which each part lies at a worker: what is known here is where, and how many."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated import splits
from jsmpc._src.federated.splits import Parts
from jsmpc._src.workers.pointer import Pointer
from jsmpc._src.workers.worker import BaseWorker

Tags = str | Sequence[str]


@dataclasses.dataclass(frozen=True, eq=False)
class FederatedDataset:
    """A data set whose parts lie at workers; of the data it holds nothing.

    Attributes:
      workers: who has the parts.
      parts: what each has: a pointer to a pytree of arrays [examples, …], or a pytree of pointers.
      counts: how many examples each has.

    Raises:
      FederatedError: for a worker that is there twice, parts of different containers, and arrays of
        one part that have different lengths, or none.

    Example:
      >>> import numpy as np, jsmpc
      >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
      >>> data = federate({"x": np.arange(5.0), "y": np.arange(5)}, [bob, alice])
      >>> data
      FederatedDataset(3 at bob, 2 at alice)
      >>> len(data), data["bob"].structure["x"].shape
      (5, (3,))
    """

    workers: tuple[BaseWorker, ...]
    parts: tuple[Any, ...]
    counts: tuple[int, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "workers", tuple(self.workers))
        object.__setattr__(self, "parts", tuple(self.parts))
        if not self.workers or len(self.workers) != len(self.parts):
            raise FederatedError(
                f"a data set has a part for each worker, not {len(self.parts)} for "
                f"{len(self.workers)} workers"
            )
        _require_each_once(self.workers)
        counts = [_count(w, part) for w, part in zip(self.workers, self.parts, strict=True)]
        object.__setattr__(self, "counts", tuple(counts))
        kinds = {jax.tree.structure(structure(part)) for part in self.parts}
        if len(kinds) > 1:
            raise FederatedError("the parts of a data set stand in the same containers everywhere")

    @classmethod
    def found(cls, workers: Sequence[BaseWorker], tags: Tags | Mapping[str, Tags]) -> Any:
        """The data set that has some tags; workers where there is none are left out.

        Args:
          tags: words, each of which is a tag or stands in the description, as for `jsmpc.search`;
            or a dictionary of these, for data whose arrays lie there one by one.

        Raises:
          FederatedError: where nobody has it, one has only some of its arrays, or several that fit.

        Guarantee: the workers learn that they were asked; their data do not leave them.

        Example:
          >>> import jax.numpy as jnp, jsmpc
          >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
          >>> x = bob.offer(jnp.ones((3, 13)), tags=["#housing", "#data"])
          >>> y = bob.offer(jnp.ones(3), tags=["#housing", "#target"])
          >>> tags = {"x": ["#housing", "#data"], "y": ["#housing", "#target"]}
          >>> FederatedDataset.found([bob, alice], tags)
          FederatedDataset(3 at bob)
        """
        places, parts = [], []
        for worker in workers:
            part = _found(worker, tags)
            if part is not None:
                places.append(worker)
                parts.append(part)
        if not places:
            names = ", ".join(worker.name for worker in workers)
            raise FederatedError(f"found: none of {names} has data with the tags {tags}")
        return cls(tuple(places), tuple(parts))

    def at(self, names: Sequence[str]) -> FederatedDataset:
        """The parts at some of the workers."""
        places = tuple(w for w in self.workers if w.name in names)
        return FederatedDataset(places, tuple(self[w.name] for w in places))

    def __getitem__(self, name: str) -> Any:
        """What a worker has, by its name; FederatedError if it has no part."""
        for worker, part in zip(self.workers, self.parts, strict=True):
            if worker.name == name:
                return part
        raise FederatedError(f"{name} has no part of {self!r}")

    def __len__(self) -> int:
        """How many examples there are in all."""
        return sum(self.counts)

    def __repr__(self) -> str:
        pairs = zip(self.counts, self.workers, strict=True)
        return f"FederatedDataset({', '.join(f'{n} at {w.name}' for n, w in pairs)})"


def federate(
    dataset: Any,
    workers: Sequence[BaseWorker],
    parts: Parts | None = None,
    *,
    tags: Sequence[str] = (),
    description: str = "",
) -> FederatedDataset:
    """Sends each worker its part of a data set.

    Args:
      dataset: a pytree of arrays [examples, …], which are here.
      workers: in this process, or in others.
      parts: whose examples are whose, as `equal`, `sized`, `dirichlet` and `shards` tell; by
        default `equal` with `jax.random.key(0)`.
      tags, description: by which others find the parts.

    Raises:
      FederatedError: for arrays of different lengths, other than one part for each worker, and a
        part without examples. Nothing is sent then.

    Guarantee: each worker, and whoever its policy lets, learns its part. For data that lie at
    workers already, see `FederatedDataset.found`.

    Example:
      >>> import jax, numpy as np, jsmpc
      >>> from jsmpc import federated
      >>> workers, labels = [jsmpc.Worker(n) for n in ("bob", "alice")], np.array([0, 1, 0, 1])
      >>> parts = federated.shards(jax.random.key(0), labels, clients=2, each=1)
      >>> data = federated.federate(labels, workers, parts, tags=["#labels"])
      >>> sorted(data[name].copy().tolist() for name in ("bob", "alice"))
      [[0, 0], [1, 1]]
    """
    lengths = {len(x) for x in jax.tree.leaves(dataset)}
    if len(lengths) != 1:
        raise FederatedError(f"a data set's arrays have different lengths: {sorted(lengths)}")
    _require_each_once(workers)
    if parts is None:
        parts = splits.equal(jax.random.key(0), lengths.pop(), len(workers))
    if len(parts) != len(workers):
        raise FederatedError(f"federate: {len(parts)} parts for {len(workers)} workers")
    for worker, part in zip(workers, parts, strict=True):
        if not len(part):
            raise FederatedError(f"federate: {worker.name} gets no examples. Leave it out")
    arrays = jax.tree.map(np.asarray, dataset)
    sent = [
        worker.send(jax.tree.map(lambda x, own=part: x[own], arrays), tags, description)
        for worker, part in zip(workers, parts, strict=True)
    ]
    return FederatedDataset(tuple(workers), tuple(sent))


def structure(part: Any) -> Any:
    """The shapes and dtypes of what a worker has."""
    return jax.tree.map(lambda pointer: pointer.structure, part)


def _count(worker: BaseWorker, part: Any) -> int:
    shapes = [x.shape for x in jax.tree.leaves(structure(part))]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise FederatedError(
            f"the arrays of the part at {worker.name} have not one and the same number of "
            f"examples: {shapes[:8]}"
        )
    return int(lengths.pop())


def _require_each_once(workers: Sequence[BaseWorker]) -> None:
    names = [worker.name for worker in workers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise FederatedError(f"{twice[0]} has two parts. Give each worker one")


def _found(worker: BaseWorker, tags: Tags | Mapping[str, Tags]) -> Any:
    """The part that a worker has; None if there is none."""
    if not isinstance(tags, Mapping):
        return _one(worker, tags)
    part = {name: _one(worker, words) for name, words in tags.items()}
    missing = [name for name, pointer in part.items() if pointer is None]
    if missing and len(missing) < len(part):
        raise FederatedError(f"found: {worker.name} has nothing for {', '.join(missing)}")
    return None if missing else part


def _one(worker: BaseWorker, words: Tags) -> Pointer | None:
    listed = [words] if isinstance(words, str) else list(words)
    found = [x for x in worker.search(*listed) if isinstance(x, Pointer) and not x.to_pointer]
    if len(found) > 1:
        raise FederatedError(
            f"found: {worker.name} has {len(found)} objects with {' '.join(listed)}. Name more tags"
        )
    return found[0] if found else None
