"""The queries that wait at a party, and those whose batch runs."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

import numpy as np

from jsmpc._src.errors import LimitError, ServiceError
from jsmpc._src.service.limits import Bucket, Limits
from jsmpc._src.service.prediction import Rows

Key = tuple[str, bytes]  # whose query, and the number that its client gave it

_FIRST, _LAST = 0.002, 0.25  # seconds until the others are asked again for a query they lacked
_STOPPING = 0.5  # seconds for the rest of a query, once no other one is admitted
_OFFERED = 256  # queries in one message


@dataclasses.dataclass(eq=False)
class Query:
    """A query as a party has it.

    Attributes:
      caller: its client; number: what the client calls it.
      count: how many inputs it has; digest: of what all parties must have in common.
      rows: this party's.
      answer: what its client waits for: this party's summands of the results.
      confirmed: whether all parties have it, as far as this one was asked.
      missing: the parties that lacked it when they were asked last.
    """

    caller: str
    number: bytes
    count: int
    digest: bytes
    rows: Rows
    answer: Future[list[np.ndarray]] = dataclasses.field(default_factory=Future, repr=False)
    confirmed: bool = False
    missing: Sequence[str] = ()
    arrived: float = 0.0
    asked: float = 0.0
    pause: float = _FIRST

    @property
    def key(self) -> Key:
        return self.caller, self.number


class Waiting:
    """Queries from when they are admitted until they are answered; used by several threads.

    A query belongs to the caller that sent it: another's with the same number is another query.

    Args:
      limits: what each client may ask.
      noticed: told of each query that is not answered, the caller and the reason in a word.
    """

    def __init__(
        self,
        limits: Limits,
        noticed: Callable[[str, str], None] = lambda caller, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits, self._noticed, self._clock = limits, noticed, clock
        self._changed = threading.Condition()
        self._queries: dict[Key, Query] = {}
        self._running: set[Key] = set()
        self._buckets: dict[str, Bucket] = {}
        self._turns: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._over: str | None = None
        self._given_up: list[tuple[Key, str]] = []

    def __len__(self) -> int:
        return len(self._queries)

    @property
    def stopping(self) -> bool:
        """Whether no query is admitted any more."""
        return self._over is not None

    def admit(self, query: Query) -> None:
        """Lets a query wait.

        Raises:
          LimitError: if its client has too many, or asked too much lately.
          ServiceError: if its number is that of another one of its client's, or the service ends.
        """
        try:
            with self._changed:
                self._require_room(query)
                query.arrived = query.asked = self._clock()
                self._queries[query.key] = query
                self._turns.setdefault(query.caller)
                self._changed.notify_all()
        except ServiceError as error:
            self._noticed(query.caller, error.reason)
            raise

    def _require_room(self, query: Query) -> None:
        if self._over is not None:
            raise ServiceError(self._over, "stopping")
        if query.key in self._queries:
            raise ServiceError("a query with this number is waiting already", "duplicate")
        own, limits = sum(caller == query.caller for caller, _ in self._queries), self._limits
        if own >= limits.waiting:
            raise LimitError(
                f"{query.caller} has {own} queries waiting, which is the most. Wait for answers "
                "before you ask more",
                "waiting",
            )
        now = self._clock()
        bucket = self._buckets.setdefault(query.caller, Bucket(limits.per_minute, now))
        if not bucket.take(query.count, now):
            raise LimitError(
                f"{query.caller} has asked for {limits.per_minute:g} inputs in the last minute, "
                "which is the most. Ask again later",
                "rate",
            )

    def withdraw(self, key: Key) -> None:
        """Forgets a query whose client has given it up, unless the parties agreed on it."""
        with self._changed:
            query = self._queries.get(key)
            if query is not None and not query.confirmed:
                self._end(query, ServiceError("the client withdrew the query", "withdrawn"))

    # What the leading party does.

    def wait(self, seconds: float) -> None:
        """Until there is something to be done, or for so long."""
        with self._changed:
            now = self._clock()
            until = min([now + seconds, *(q.asked for q in self._open())])
            if not self._ready() and until > now:
                self._changed.wait(until - now)

    def due(self) -> list[Query]:
        """The queries for which the other parties are to be asked now."""
        with self._changed:
            now = self._clock()
            return [q for q in self._open() if q.asked <= now][:_OFFERED]

    def heard(self, query: Query, missing: Sequence[str]) -> None:
        """Notes which parties lack a query; none have to for it to be confirmed."""
        with self._changed:
            query.missing, query.confirmed = missing, not missing
            query.pause = min(2 * query.pause, _LAST)
            query.asked = self._clock() + query.pause

    def batch(self, largest: int) -> list[Query]:
        """The next queries to run together, at most so many inputs; of each client in turn."""
        with self._changed:
            queues: dict[str, collections.deque[Query]] = {}
            for query in self._ready():
                queues.setdefault(query.caller, collections.deque()).append(query)
            found: list[Query] = []
            turns = collections.deque(c for c in self._turns if c in queues)
            while turns:
                queue = queues[caller := turns.popleft()]
                if queue[0].count > largest:
                    continue  # first among those of the next batch
                found.append(query := queue.popleft())
                largest -= query.count
                self._turns.move_to_end(caller)
                if queue:
                    turns.append(caller)
            self._running.update(q.key for q in found)
            return found

    def given_up(self) -> list[tuple[Key, str]]:
        """The queries that were given up since the last call, and why, for the other parties."""
        with self._changed:
            self._expire()
            self._expire_confirmed()
            found, self._given_up = self._given_up, []
            return found

    # What the other parties do.

    def confirm(self, key: Key, digest: bytes) -> bool:
        """Whether this party has a query, and the same as the leading one."""
        with self._changed:
            query = self._queries.get(key)
            if query is None or query.digest != digest:
                return False
            query.confirmed = True
            return True

    def take(self, keys: Iterable[Key]) -> list[Query]:
        """The queries that the leading party runs now."""
        with self._changed:
            found = [self._queries[key] for key in keys]
            self._running.update(q.key for q in found)
            return found

    def drop(self, key: Key, why: str) -> None:
        """Ends a query that the leading party has given up."""
        with self._changed:
            if (query := self._queries.get(key)) is not None and key not in self._running:
                self._end(query, ServiceError(why, "missing"))

    def expire(self) -> None:
        """Ends the queries that the leading party has not asked for in time."""
        with self._changed:
            self._expire()
            self._given_up.clear()

    # What all do.

    def finish(self, query: Query, answer: list[np.ndarray]) -> None:
        """Answers a query."""
        with self._changed:
            self._forget(query)
        query.answer.set_result(answer)

    def stop(self, why: str) -> None:
        """Admits no query any more."""
        with self._changed:
            self._over = self._over or why
            self._changed.notify_all()

    def fail(self, why: str) -> None:
        """Ends all queries, and admits no other one."""
        with self._changed:
            self._over = why
            for query in list(self._queries.values()):
                self._end(query, ServiceError(why, "failed"))

    def _open(self) -> list[Query]:
        return [q for q in self._queries.values() if not q.confirmed]

    def _ready(self) -> list[Query]:
        return [q for q in self._queries.values() if q.confirmed and q.key not in self._running]

    def _expire(self) -> None:
        """Ends what some party has lacked for too long."""
        now, patience = self._clock(), self._limits.patience
        if self.stopping:  # what has not come by now is refused where it comes
            patience = min(patience, _STOPPING)
        for query in [q for q in self._open() if now - q.arrived > patience]:
            lacking = " and ".join(query.missing) or "the leading party"
            why = f"{lacking} did not get the same query within {patience:g} s"
            self._end(query, ServiceError(why, "missing"))

    def _expire_confirmed(self) -> None:
        """Ends what all parties have and what has waited for too long."""
        now, deadline = self._clock(), self._limits.deadline
        for query in [q for q in self._ready() if now - q.arrived > deadline]:
            why = f"the query waited for {deadline:g} s, which is the most"
            self._end(query, ServiceError(why, "deadline"))

    def _end(self, query: Query, error: ServiceError) -> None:
        self._forget(query)
        self._given_up.append((query.key, str(error)))
        self._noticed(query.caller, error.reason)
        query.answer.set_exception(error)

    def _forget(self, query: Query) -> None:
        self._queries.pop(query.key, None)
        self._running.discard(query.key)
