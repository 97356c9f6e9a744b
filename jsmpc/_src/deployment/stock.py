"""A dealer's stock: what the next runs are dealt, made while nobody waits for it.

It is kept in the dealer's memory alone and ends with its process; what is to last is dealt into
files (`offline` and `Material.save`).
"""

from __future__ import annotations

import collections
import dataclasses
import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

import jax

from jsmpc._src.errors import MaterialError

Deal = Callable[[], list[jax.Array]]


class Set(NamedTuple):
    """What is dealt for one run, and its number, which no other has."""

    number: str
    arrays: list[jax.Array]

    @property
    def size(self) -> int:
        """Its bytes."""
        return sum(x.nbytes for x in self.arrays)


@dataclasses.dataclass(eq=False)
class _Shelf:
    """The sets of one program; how many bytes each has is known once there was one."""

    sets: collections.deque[Set] = dataclasses.field(default_factory=collections.deque)
    size: int | None = None
    awaited: bool = False
    error: Exception | None = None

    @property
    def bytes(self) -> int:
        return len(self.sets) * (self.size or 0)


class Stock:
    """Sets for the programs that a dealer has served, a bounded number of each.

    A thread makes them: what somebody waits for at once, the rest between runs (`refill`), so that
    a run has the machine to itself. The program that was served last comes first, and takes the
    room of those that were served longest ago.

    Args:
      sets: how many are kept for each program.
      room: the bytes that all of them together may take.

    Example:
      >>> import jax.numpy as jnp
      >>> deal = lambda: [jnp.ones(3)]
      >>> stock = Stock(sets=2, room=1 << 20)
      >>> first, second = stock.take(deal), stock.take(deal)
      >>> first.number == second.number, first.size
      (False, 12)
      >>> stock.close()
    """

    def __init__(self, sets: int, room: int) -> None:
        self._most, self._room = sets, room
        self._shelves: dict[Deal, _Shelf] = {}  # the program that was served last is the last
        self._changed, self._idle, self._closed = threading.Condition(), True, False
        self._worker = threading.Thread(target=self._work, name="jsmpc-stock", daemon=True)
        self._worker.start()

    def __len__(self) -> int:
        """How many sets there are."""
        with self._changed:
            return sum(len(shelf.sets) for shelf in self._shelves.values())

    def take(self, deal: Deal) -> Set:
        """A set for one run, which nobody else gets; made now where there is none.

        Nothing else is made until the run is over (`refill`).

        Args:
          deal: makes one; the same object for equal programs.

        Raises:
          MaterialError: if the stock is closed; and whatever `deal` raises.
        """
        with self._changed:
            shelf = self._shelves[deal] = self._shelves.pop(deal, _Shelf())
            shelf.awaited, self._idle = True, False
            self._changed.notify_all()
            self._changed.wait_for(lambda: shelf.sets or shelf.error or self._closed)
            shelf.awaited = False
            if shelf.error is not None:
                raise shelf.error
            if not shelf.sets:
                raise MaterialError("the dealer's stock is closed")
            return shelf.sets.popleft()

    def refill(self) -> None:
        """Makes what was taken anew; to be called once a run is over."""
        with self._changed:
            self._idle = True
            self._changed.notify_all()

    def close(self) -> None:
        """Forgets all sets; the one that is being made is finished first."""
        with self._changed:
            self._closed = True
            self._shelves.clear()
            self._changed.notify_all()
        self._worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._next() is not None)
                found = self._next()
                if self._closed or found is None:
                    return
                deal, shelf = found
                self._make_room(shelf)
            try:
                made = Set(secrets.token_hex(16), jax.block_until_ready(deal()))
            except Exception as error:  # it is that of whoever waits for the set
                made, shelf.error = None, error
            with self._changed:
                if made is not None:
                    shelf.size = made.size
                    shelf.sets.append(made)
                self._changed.notify_all()

    def _next(self) -> tuple[Deal, _Shelf] | None:
        """What is to be made next: what somebody waits for, or what is short and has room."""
        for deal, shelf in reversed(self._shelves.items()):
            short = self._idle and len(shelf.sets) < self._most and self._has_room(shelf)
            if shelf.error is None and (short or (shelf.awaited and not shelf.sets)):
                return deal, shelf
        return None

    def _has_room(self, wanting: _Shelf) -> bool:
        """Whether a set more fits beside those of the programs that were served later."""
        kept = sum(s.bytes for s in self._shelves.values() if s not in self._older(wanting))
        return kept + (wanting.size or 0) <= self._room

    def _make_room(self, wanting: _Shelf) -> None:
        """Throws away sets of programs that were served longer ago, as many as it takes."""
        for shelf in self._older(wanting):
            while shelf.sets and self._bytes + (wanting.size or 0) > self._room:
                shelf.sets.pop()

    def _older(self, wanting: _Shelf) -> list[_Shelf]:
        """The shelves of the programs that were served before a shelf's."""
        shelves = list(self._shelves.values())
        return shelves[: shelves.index(wanting)]

    @property
    def _bytes(self) -> int:
        return sum(s.bytes for s in self._shelves.values())
