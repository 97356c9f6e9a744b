"""What is to happen unless something else has happened before: the deadlines of many calls."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator

_NAP = 60.0  # seconds to sleep at most


class Alarms:
    """Acts that are due after some seconds, unless they are cleared before; one thread for all.

    Acts are called in that thread, and must be quick.

    Example:
      >>> import threading
      >>> from jsmpc._src.transport.alarms import Alarms
      >>> alarms, rung = Alarms(), threading.Event()
      >>> alarms.clear(alarms.set(60, rung.set)), rung.is_set()
      (True, False)
      >>> alarm = alarms.set(0.01, rung.set)
      >>> rung.wait(5), alarms.clear(alarm)
      (True, False)
      >>> alarms.close()
    """

    def __init__(self) -> None:
        self._changed, self._numbers = threading.Condition(), itertools.count()
        self._set: dict[int, tuple[float, Callable[[], object]]] = {}
        self._awake, self._closed = 0.0, False
        self._thread: threading.Thread | None = None

    def set(self, seconds: float, act: Callable[[], object]) -> int:
        """Sets an alarm; returns its number."""
        number, due = next(self._numbers), time.monotonic() + seconds
        with self._changed:
            self._set[number] = due, act
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="jsmpc-alarms", daemon=True)
                self._thread.start()
            elif due < self._awake:
                self._changed.notify()
        return number

    def clear(self, number: int) -> bool:
        """Forgets an alarm; False if it has rung."""
        with self._changed:
            return self._set.pop(number, None) is not None

    @contextlib.contextmanager
    def within(self, seconds: float, act: Callable[[], object]) -> Iterator[None]:
        """An alarm that is cleared at the end of the block."""
        number = self.set(seconds, act)
        try:
            yield
        finally:
            self.clear(number)

    def close(self) -> None:
        """Forgets all alarms, and waits until none rings; again is nothing."""
        with self._changed:
            self._closed = True
            self._set.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                now = time.monotonic()
                rung = [number for number, (due, _) in self._set.items() if due <= now]
                acts = [self._set.pop(number)[1] for number in rung]
                if not acts:
                    self._awake = min((now + _NAP, *(due for due, _ in self._set.values())))
                    self._changed.wait(self._awake - now)
            for act in acts:
                act()
