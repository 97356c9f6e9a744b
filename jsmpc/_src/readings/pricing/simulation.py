"""The seconds of a run: every endpoint's clock, while all of them run their timelines.

An endpoint computes; what it sends leaves one after another at the network's bandwidth and arrives
half a round trip later; it goes on when all has arrived that it waits for. Each second of the
endpoint that ends last is charged to the label that it was spent for.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Generator, Mapping, Sequence

from jsmpc._src.readings.cost import START, Label
from jsmpc._src.readings.pricing.network import Network
from jsmpc._src.readings.pricing.speeds import Speeds
from jsmpc._src.readings.pricing.timeline import Choice, Exchange, Loop, Sent, Steps
from jsmpc._src.readings.pricing.wire import Direction, Wire
from jsmpc._src.readings.pricing.work import Done, Work

_ITERATIONS = 24  # of a loop that are simulated; the others take as long as the last half of them
_RUNS = 3  # one after another, of which the last is what is told
_INSTANT = 1e-12  # seconds that are none
Charges = dict[Label, float]


@dataclasses.dataclass(frozen=True)
class Duration:
    """How long a run takes.

    Attributes:
      seconds: until the last endpoint has ended.
      local: of these, in which that endpoint computed, encrypted or waited for a core.
      charges: all of these, by label.
    """

    seconds: float
    local: float
    charges: Charges


@dataclasses.dataclass(eq=False)
class _Busy:
    """Work on a core, or on all: core seconds that are left, and what they are charged to."""

    left: float
    width: int
    shares: Charges


@dataclasses.dataclass
class _Idle:
    """Waiting until a moment, for a label."""

    until: float
    shares: Charges


@dataclasses.dataclass
class _Awaiting:
    """Waiting since a moment for messages that may not be on their way yet."""

    since: float
    messages: tuple[Sent, ...]


_Act = _Busy | _Idle | _Awaiting
_Acts = Generator[_Act, None, None]


class _Endpoint:
    """An endpoint's clock, and what it was spent for."""

    def __init__(self, run: _Run, number: int, steps: Steps) -> None:
        self.run, self.number = run, number
        self.charges: Charges = collections.defaultdict(float)
        self.local = 0.0
        self.acts = self._whole(steps)
        self.act: _Act | None = None
        self.next()

    def next(self) -> None:
        """Goes on to what comes next that takes time; None at the end."""
        self.act = next(self.acts, None)

    def spend(self, seconds: float) -> None:
        """Charges seconds of the clock to what is being done."""
        assert isinstance(self.act, _Busy | _Idle)
        for label, share in self.act.shares.items():
            self.charges[label] += seconds * share
        if isinstance(self.act, _Busy):
            self.local += seconds

    def _whole(self, steps: Steps) -> _Acts:
        links = self.run.speeds.links
        yield from _busy({START: links.run}, 1)
        yield from self._steps(steps)

    def _steps(self, steps: Steps) -> _Acts:
        for step in steps:
            match step:
                case Work():
                    yield from self._work(step)
                case Exchange():
                    yield from self._exchange(step)
                case Loop():
                    yield from self._loop(step)
                case Choice():
                    yield from self._steps(step.branches[step.taken])

    def _work(self, work: Work) -> _Acts:
        yield from _busy(self._seconds(work.serial), 1)
        yield from _busy(self._seconds(work.wide), self.run.speeds.cores)

    def _seconds(self, done: Done) -> Charges:
        return {label: self.run.speeds.of(amounts) for label, amounts in done.items()}

    def _exchange(self, step: Exchange) -> _Acts:
        links, run = self.run.speeds.links, self.run
        peers = {s.target for s in step.sent} | {s.source for s in step.received}
        fixed = links.exchange + links.message * (len(peers) - 1)
        labels = {s.label for s in (*step.sent, *step.received)}
        yield from _busy({label: fixed / len(labels) for label in labels}, 1)
        for target in sorted({s.target for s in step.sent}):
            together = [s for s in step.sent if s.target == target]
            seconds = _by_label(together, links.byte)
            run.send(self.number, target, sum(s.size for s in together), sum(seconds.values()))
            yield from _busy(seconds, 1)
        if step.received:
            yield _Awaiting(run.now, step.received)
            yield from _busy(_by_label(step.received, run.unread()), 1)

    def _loop(self, loop: Loop) -> _Acts:
        """The iterations; of many the first ones, and the rest by their pace."""
        half = _ITERATIONS // 2
        start, before, local = 0.0, dict(self.charges), 0.0
        for i in range(min(loop.times, _ITERATIONS)):
            if i == half:
                start, before, local = self.run.now, dict(self.charges), self.local
            yield from self._steps(loop.steps)
        if loop.times > _ITERATIONS:
            repeats = (loop.times - _ITERATIONS) / (_ITERATIONS - half)
            spent = {x: c - before.get(x, 0.0) for x, c in self.charges.items()}
            seconds = self.run.now - start
            self.local += repeats * (self.local - local)
            yield _Idle(self.run.now + repeats * seconds, _normal(spent))


def _busy(seconds: Mapping[Label, float], width: int) -> _Acts:
    if (total := sum(seconds.values())) > 0:
        yield _Busy(total, width, _normal(seconds))


def _by_label(messages: Sequence[Sent], byte: float) -> Charges:
    found: Charges = collections.defaultdict(float)
    for sent in messages:
        found[sent.label] += byte * sent.size
    return found


def _normal(seconds: Mapping[Label, float]) -> Charges:
    """The share that each label has."""
    total = sum(seconds.values())
    return {label: s / total for label, s in seconds.items()} if total else {}


class _Run:
    """All endpoints at once: whoever has a core computes, and messages arrive."""

    def __init__(
        self, timelines: Sequence[Steps], network: Network, speeds: Speeds, wire: Wire
    ) -> None:
        self.network, self.speeds, self.wire, self.now = network, speeds, wire, 0.0
        self.arrivals: dict[Direction, collections.deque[float]] = collections.defaultdict(
            collections.deque
        )
        self.endpoints = [_Endpoint(self, i, steps) for i, steps in enumerate(timelines)]

    def send(self, source: int, target: int, size: int, encryption: float) -> None:
        """What leaves at once for a peer is one message, and encrypted while it leaves."""
        arrival = self.wire.arrival(source, target, size, self.now, encryption)
        self.arrivals[source, target].append(arrival)

    def unread(self) -> float:
        """The seconds a byte that reading takes longer than arriving."""
        return max(self.speeds.links.byte - 8 / self.network.bandwidth, 0.0)

    def end(self) -> Duration:
        """Runs until all have ended."""
        while any(e.act is not None for e in self.endpoints):
            self._deliver()
            active = [e for e in self.endpoints if isinstance(e.act, _Busy | _Idle)]
            assert active, "endpoints wait for one another"
            rates = self._rates([e.act for e in active if isinstance(e.act, _Busy)])
            left = {e: self._left(e.act, rates) for e in active}
            step = min(left.values())
            self.now += step
            for endpoint in active:
                endpoint.spend(step)
                if isinstance(endpoint.act, _Busy):
                    endpoint.act.left -= step * rates[endpoint.act]
            for endpoint in active:
                if left[endpoint] <= step + _INSTANT:
                    endpoint.next()
        last = max(self.endpoints, key=lambda e: sum(e.charges.values()))
        return Duration(self.now, last.local, dict(last.charges))

    def _left(self, act: _Act | None, rates: Mapping[_Busy, float]) -> float:
        """The seconds that something takes still."""
        if isinstance(act, _Busy):
            return act.left / rates[act]
        assert isinstance(act, _Idle)
        return max(act.until - self.now, 0.0)

    def _rates(self, busy: Sequence[_Busy]) -> dict[_Busy, float]:
        """The cores that each has: all it can use, or its fair part of what all share."""
        if self.network.cores is None:
            return {act: float(act.width) for act in busy}
        rates, left = {}, float(self.network.cores)
        for i, act in enumerate(sorted(busy, key=lambda act: act.width)):
            rates[act] = min(float(act.width), left / (len(busy) - i))
            left -= rates[act]
        return rates

    def _deliver(self) -> None:
        """Whoever waits for messages that are all on their way waits until the last is there."""
        for endpoint in self.endpoints:
            act = endpoint.act
            if not isinstance(act, _Awaiting):
                continue
            queues = {s.source: self.arrivals[s.source, endpoint.number] for s in act.messages}
            if all(queues.values()):
                arrivals = {source: queue.popleft() for source, queue in queues.items()}
                late = max(arrivals, key=lambda source: arrivals[source])
                blamed = _normal(_by_label([s for s in act.messages if s.source == late], 1.0))
                waits = arrivals[late] > act.since
                wake = self.speeds.links.wake if waits else 0.0
                endpoint.act = _Idle(arrivals[late] + wake, blamed)
                endpoint.spend(self.now - act.since)


def simulate(timelines: Sequence[Steps], network: Network, speeds: Speeds) -> Duration:
    """How long a run of all endpoints takes.

    Connections are in use already: TCP sends what it has learned in runs before.

    Args:
      timelines: of each endpoint.
      network: that joins them; speeds: of the machine that each of them has, or all share.
    """
    wire = Wire(network, len(timelines))
    for _ in range(_RUNS):
        run = _Run(timelines, network, speeds, wire)
        found = run.end()
        wire.restart(run.now)
    return found
