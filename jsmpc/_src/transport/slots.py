"""Room for what is under way at the same time, in all and for each caller."""

from __future__ import annotations

import collections
import threading
from collections.abc import Hashable


class Slots:
    """So many slots, of which one caller may have a part.

    Example:
      >>> from jsmpc._src.transport.slots import Slots
      >>> slots = Slots(most=3, each=2)
      >>> [slots.take("carol") for _ in range(3)], slots.take("dave")
      ([True, True, False], True)
      >>> slots.give("carol")
      >>> slots.take("carol")
      True
    """

    def __init__(self, most: int, each: int) -> None:
        self._most, self._each, self._lock = most, each, threading.Lock()
        self._taken: collections.Counter[Hashable] = collections.Counter()

    def take(self, caller: Hashable) -> bool:
        """Whether there was a slot for a caller; it has it then."""
        with self._lock:
            if self._taken.total() >= self._most or self._taken[caller] >= self._each:
                return False
            self._taken[caller] += 1
            return True

    def give(self, caller: Hashable) -> None:
        """Gives a slot back."""
        with self._lock:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]
