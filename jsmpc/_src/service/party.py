"""One endpoint of a service: joins the others, and answers clients until it is told to stop."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsmpc._src.api import storage
from jsmpc._src.deployment.config import Config
from jsmpc._src.deployment.party import Membership, joined
from jsmpc._src.deployment.session import Deployed
from jsmpc._src.errors import JsmpcError
from jsmpc._src.service import model, turns
from jsmpc._src.service.directory import Parties
from jsmpc._src.service.limits import Limits
from jsmpc._src.service.metrics import READY, Metrics
from jsmpc._src.service.prediction import Prediction
from jsmpc._src.service.requests import Requests
from jsmpc._src.service.waiting import Query, Waiting
from jsmpc._src.transport.server import Server

LINGER = 2.0  # seconds in which clients still hear why a service has failed
_GRACE = 5.0  # seconds for replies to be sent
_CALLS, _BESIDE = 512, 8  # the most requests at a time, and a client's beside its queries
_ENTERED = 10.0  # seconds between two entries of refusals


@dataclasses.dataclass(frozen=True)
class Serving:
    """What an endpoint serves, and how.

    Attributes:
      model: a Python file, or the name of one of the package's models.
      weights: where the parties' shares are, as `jsmpc.save` was told; None at a dealer.
      largest: the most inputs of a batch, a power of two.
      limits: what each client may ask.
      metrics: the port for health and counts; None for none.
      by_client: whether counts name clients.
    """

    model: str
    weights: Path | None
    largest: int = 64
    limits: Limits = Limits()
    metrics: int | None = None
    by_client: bool = False


def run(membership: Membership, serving: Serving) -> int:
    """Serves as one endpoint until SIGINT or SIGTERM; the exit code."""
    try:
        _run(membership, serving)
    except JsmpcError as error:
        print(f"{membership.name}: {error}", file=sys.stderr)
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _run(membership: Membership, serving: Serving) -> None:
    config = Config.load(membership.config)
    rank, parties = config.rank(membership.name), Parties.load(membership.config)
    served, metrics = model.load(serving.model), Metrics(serving.by_client)
    refusals = _Refusals(metrics)
    waiting = Waiting(serving.limits, refusals.noticed)
    requests = Requests(config, rank, served, waiting, serving.limits, refusals.noticed, metrics)
    with contextlib.ExitStack() as stack:
        if serving.metrics is not None:
            metrics.watch("waiting", "Queries that wait or run", lambda: len(waiting))
            stack.enter_context(metrics.listening(serving.metrics))
        if rank < config.protocol.size:
            each = serving.limits.waiting + _BESIDE
            calls = min(_CALLS, each * (1 + len(parties.clients)))
            names = membership.name, membership.folder
            server = Server(parties, *names, requests, calls=calls, each=each)
            stack.callback(server.stop, _GRACE)
        try:
            with joined(membership) as session:
                _serve(session, serving, served, waiting, requests, refusals, metrics)
        except BaseException as error:
            why = str(error) if isinstance(error, JsmpcError) else type(error).__name__
            waiting.fail(f"the service has ended at {membership.name}: {why}")
            if rank < config.protocol.size and requests.opened:
                time.sleep(LINGER)
            raise
        waiting.fail(turns.STOPS)


def _serve(
    session: Deployed,
    serving: Serving,
    served: model.Model,
    waiting: Waiting,
    requests: Requests,
    refusals: _Refusals,
    metrics: Metrics,
) -> None:
    _watch(metrics, session)
    weights = storage.load(serving.weights or "")
    prediction = Prediction(session, served, weights, serving.largest)
    prediction.warm()

    def run(batch: Sequence[Query], size: int) -> None:
        metrics.ran(size)
        asked = [[q.caller, q.count] for q in batch]
        with session.entered("batch", inputs=size, queries=asked, refusals=refusals.taken()):
            found = prediction([q.rows for q in batch], size)
        start = 0
        for query in batch:
            end = start + query.count
            waiting.finish(query, [x[start:end] for x in found])
            start = end

    def idle() -> None:
        if refusals.due():
            with session.entered("refusals", refusals=refusals.taken()):
                pass

    with _signals(waiting):
        requests.open(prediction)
        metrics.health = lambda: "stopping" if waiting.stopping else READY
        print(READY, flush=True)
        turns.serve(session, waiting, prediction.largest, run, idle)
    if refusals.some:
        with session.entered("refusals", refusals=refusals.taken()):
            pass


@contextlib.contextmanager
def _signals(waiting: Waiting) -> Iterator[None]:
    """SIGINT and SIGTERM stop the service, once what waits is answered."""

    def stop(*_: Any) -> None:
        # Not in the handler itself: what it interrupts may hold the lock.
        threading.Thread(target=waiting.stop, args=(turns.STOPS,), daemon=True).start()

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, stop) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _watch(metrics: Metrics, session: Deployed) -> None:
    sent = session.links
    metrics.watch("sent_bytes", "To other parties", lambda: float(sum(sent.sent.values())))
    if (stock := session.stock) is not None:
        metrics.watch("stock", "Sets of material that are ready", lambda: len(stock))


class _Refusals:
    """Refusals since they were entered into the log last: how many of whom, for which reason."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._lock = metrics, threading.Lock()
        self._counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self._next = time.monotonic() + _ENTERED

    def noticed(self, caller: str, reason: str) -> None:
        self._metrics.refused(caller, reason)
        with self._lock:
            self._counts[caller, reason] += 1

    @property
    def some(self) -> bool:
        return bool(self._counts)

    def due(self) -> bool:
        return self.some and time.monotonic() >= self._next

    def taken(self) -> list[list[Any]]:
        with self._lock:
            found, self._counts = self._counts, collections.Counter()
        self._next = time.monotonic() + _ENTERED
        return [[caller, reason, times] for (caller, reason), times in sorted(found.items())]
