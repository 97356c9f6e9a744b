"""What lies at a worker: objects by their ids, in bounded room."""

from __future__ import annotations

import dataclasses
import functools
import json
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jsmpc._src.errors import PointerError

ROOM = 4 << 30  # bytes
MOST = 100_000  # objects
_OBJECT, _LEAF = 1024, 256  # bytes that an object, and a leaf, takes by itself


@dataclasses.dataclass(frozen=True)
class Elsewhere:
    """What lies there is a pointer: to an object of another worker, described by its `info`."""

    worker: str
    info: dict[str, Any]


@dataclasses.dataclass(eq=False)
class Object:
    """One thing that lies at a worker.

    Attributes:
      kind: `value`, `pointer`, `plan` or `roles`.
      content: the leaves of a value, an `Elsewhere`, or the bytes of a plan or of roles.
      form: a value's containers.
      by: who brought it or had it computed.
      sources: whose data are in it.
      plan: the hash of the plan that it is a result of; empty for what was brought.
      examples: how many there were of others' where it was computed; None for what was brought.
      tags, description: for those who search.
      kept: whether it is the owner's, and stays whatever others do.
      holders: how many pointers to it each of those has who have any.
    """

    kind: str
    content: Any
    form: Any
    by: str
    sources: frozenset[str]
    plan: str = ""
    tags: tuple[str, ...] = ()
    description: str = ""
    kept: bool = False
    examples: int | None = None
    holders: Counter[str] = dataclasses.field(default_factory=Counter)
    id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))

    @property
    def types(self) -> list[list[Any]]:
        """The shapes and dtypes of a value's leaves."""
        if self.kind == "pointer":
            found: list[list[Any]] = self.content.info["types"]
            return found
        leaves = self.content if self.kind == "value" else ()
        return [[np.dtype(x.dtype).name, list(x.shape)] for x in leaves]

    @functools.cached_property
    def size(self) -> int:
        """The bytes that it takes, those of its description too."""
        form = self.content.info["form"] if self.kind == "pointer" else self.form
        said = len(json.dumps([form, self.tags, self.description]))
        size = _OBJECT + _LEAF * len(self.types) + said
        if self.kind == "value":
            return size + sum(int(x.nbytes) for x in self.content)
        return size + (len(self.content) if isinstance(self.content, bytes) else 0)

    @property
    def rows(self) -> int:
        """How many examples it holds: the least length of the first axes of its leaves.

        Rows that a caller has put beside others' do not count.
        """
        least = min((t[1][0] if t[1] else 1 for t in self.types), default=0)
        return least if self.examples is None else min(least, self.examples)

    def info(self) -> dict[str, Any]:
        """What a pointer knows: no value."""
        return {
            "id": self.id,
            "kind": self.kind,
            "form": self.content.info["form"] if self.kind == "pointer" else self.form,
            "types": self.types,
            "by": self.by,
            "tags": list(self.tags),
            "description": self.description,
        }

    def matches(self, words: Sequence[str]) -> bool:
        """Whether each word is one of its tags, or in its description."""
        return all(w in self.tags or w.lower() in self.description.lower() for w in words)


class Store:
    """Objects by id, for several threads.

    Args:
      name: of the worker, for errors; room: the bytes that all of them may take.
    """

    def __init__(self, name: str, room: int = ROOM) -> None:
        self._name, self._room = name, room
        self._objects: dict[str, Object] = {}
        self._lock = threading.Lock()
        self._size = 0

    def add(self, *new: Object) -> None:
        """Keeps objects, all or none; PointerError where there is no room."""
        size = sum(x.size for x in new)
        with self._lock:
            self.require_room(size, len(new))
            for x in new:
                self._objects[x.id] = x
            self._size += size

    def require_room(self, size: int, count: int) -> None:
        """PointerError if so many bytes, or objects, more do not fit."""
        if self._size + size > self._room or len(self._objects) + count > MOST:
            raise PointerError(
                f"{self._name} has no room for {size:,} B: {self._size:,} of {self._room:,} B "
                f"are taken by {len(self._objects):,} objects. Get or delete what is not needed"
            )

    def find(self, id: str, doing: str) -> Object:
        """The object of an id, or PointerError."""
        with self._lock:
            found = self._objects.get(id)
        if found is None:
            raise PointerError(
                f"{doing} at {self._name}: it has no object {_short(id)}: it was taken back, moved "
                "or deleted, or it never was there. Send the value again"
            )
        return found

    def hold(self, holder: str, *objects: Object) -> None:
        """The holder has one more pointer to each."""
        with self._lock:
            for x in objects:
                x.holders[holder] += 1

    def release(self, holder: str, id: str, *, all_of_them: bool = False) -> Object | None:
        """The holder has a pointer less, or none; the object if nobody has one, and it is gone.

        The pointers of others are theirs: nobody can give them up in their place.
        """
        with self._lock:
            found = self._objects.get(id)
            if found is None:
                return None
            found.holders[holder] -= 1
            if all_of_them or found.holders[holder] <= 0:
                del found.holders[holder]
            return None if found.holders or found.kept else self._removed(id)

    def remove(self, id: str) -> Object | None:
        """Takes an object away, if it is there and none of the owner's; the object."""
        with self._lock:
            found = self._objects.get(id)
            return None if found is None or found.kept else self._removed(id)

    def _removed(self, id: str) -> Object:
        found = self._objects.pop(id)
        self._size -= found.size
        return found

    def __iter__(self) -> Iterator[Object]:
        with self._lock:
            return iter(list(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)


def _short(id: str) -> str:
    return id if len(id) <= 12 else f"{id[:12]}…"
