"""What links stand on where the native library is missing: the same frames, by Python."""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from jsmpc._src.errors import LinkError
from jsmpc._src.links.secured import PureConnection
from jsmpc._src.links.stream import Stream, views
from jsmpc._src.links.wire import Kind

_FAREWELL = 1.0  # seconds to tell the peers why or that this endpoint ends
CLOSED = "the links were closed"

_handles = itertools.count(1)
_open: dict[int, PureCore] = {}


def find(handle: int) -> PureCore:
    """The open links of a handle, or LinkError."""
    found = _open.get(handle)
    if found is None:
        raise LinkError(CLOSED)
    return found


class PureCore:
    """The streams of one endpoint, a lock that whoever reads and writes holds, and a heartbeat.

    Args:
      names: of all endpoints, by rank; connections: to each, None for oneself.
      beats: the seconds after which each peer is due a heartbeat.
      silence: the seconds without a sign of life after which a peer counts as dead.
      stall: the seconds without data after which a peer counts as stuck.
    """

    def __init__(
        self,
        names: Sequence[str],
        connections: Sequence[PureConnection | None],
        beats: Sequence[float],
        silence: float,
        stall: float,
    ) -> None:
        self._streams = {
            rank: Stream(names[rank], connection, beats[rank])
            for rank, connection in enumerate(connections)
            if connection is not None
        }
        self._silence, self._stall = silence, stall
        self._tick = min([silence / 8, *(s.beat / 2 for s in self._streams.values())])
        self._running, self._noting = threading.Lock(), threading.Lock()
        self._failure: str | None = None
        self._interrupted: tuple[str, str] | None = None
        self._began = self._progress = time.monotonic()
        self._exchanges = 0
        self._closed = False
        self._wake: tuple[int, ...] = os.pipe()
        self.handle = next(_handles)
        _open[self.handle] = self
        self._heart = threading.Thread(target=self._heartbeats, name="jsmpc-links", daemon=True)
        self._heart.start()

    def exchange(
        self, sent: Sequence[tuple[int, Any]], received: Sequence[tuple[int, Any]]
    ) -> None:
        """One exchange of contiguous NumPy arrays, (peer, array) each; LinkError."""
        with self._running:
            self._raise_failure()
            for peer, _ in [*sent, *received]:
                self._stream(peer)
            for rank, stream in self._streams.items():
                if mine := [array for peer, array in sent if peer == rank]:
                    stream.queue(Kind.DATA, views(mine))
                if mine := [array for peer, array in received if peer == rank]:
                    stream.expect(views(mine))
            self._run()
            self._exchanges += 1

    def send_bytes(self, peer: int, data: bytes) -> None:
        with self._running:
            self._raise_failure()
            self._stream(peer).queue(Kind.TALK, [memoryview(data)])
            self._run()

    def receive_bytes(self, peer: int, limit: int) -> bytes:
        with self._running:
            self._raise_failure()
            stream = self._stream(peer)
            stream.expect_talk(limit)
            self._run()
            return bytes(stream.talk)

    def count(self, peer: int, which: int) -> int:
        """The bytes sent to a peer (which = 0), received from it (1), or the exchanges (2)."""
        if which == 2:
            return self._exchanges
        stream = self._stream(peer)
        return stream.received_bytes if which else stream.sent_bytes

    def failure(self) -> str | None:
        return self._failure

    def close(self, reason: str | None) -> None:
        _open.pop(self.handle, None)
        why = CLOSED if reason is None else f"this endpoint ended the run: {reason}"
        with self._noting:
            self._interrupted = self._interrupted or (why, reason or "")
            if self._wake:
                os.write(self._wake[1], b"\0")
        with self._running:
            if self._closed:
                return
            self._closed = True
            self._fail(why, reason or "")
        self._heart.join()
        # What is not delivered when a socket is closed may be lost.
        end = time.monotonic() + _FAREWELL
        for stream in self._streams.values():
            while not stream.delivered() and time.monotonic() < end:
                time.sleep(0.001)
            stream.socket.close()
        with self._noting:
            for end_of_pipe in self._wake:
                os.close(end_of_pipe)
            self._wake = ()

    def _stream(self, peer: int) -> Stream:
        if peer not in self._streams:
            raise LinkError(f"endpoint {peer} is no peer of this one")
        return self._streams[peer]

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise LinkError(self._failure)

    def _run(self) -> None:
        """Until nothing is outgoing and nothing expected, or LinkError."""
        self._began = self._progress = time.monotonic()
        while True:
            busy, done = self._move()
            if done:
                return
            self._beat()
            if busy:
                continue
            self._wait()
            _, done = self._move()
            if done:
                return
            self._check_time()
            self._raise_failure()

    def _move(self) -> tuple[bool, bool]:
        """A turn of every stream: whether anything moved, and whether all is done."""
        if self._interrupted is not None:
            self._fail(*self._interrupted)
            self._raise_failure()
        busy, done = False, True
        for stream in self._streams.values():
            payload = stream.sent_bytes + stream.received_bytes
            if stream.open and stream.outgoing:
                busy |= stream.write_some()
            if stream.open:
                busy |= stream.read_some()
            waiting = stream.outgoing or stream.expecting
            if stream.problem is None and stream.bye and waiting:
                stream.problem = f"{stream.name} closed the connection"
            if stream.problem is not None:
                self._fail(stream.problem, stream.problem)
                self._raise_failure()
            if payload != stream.sent_bytes + stream.received_bytes:
                self._progress = time.monotonic()
            done = done and not waiting
        return busy, done

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wake[0], select.POLLIN)
        for stream in self._streams.values():
            if not stream.open:
                continue
            events = 0 if stream.paused else select.POLLIN
            events |= select.POLLOUT if stream.outgoing else 0
            if events:
                poll.register(stream.socket.fileno(), events)
        poll.poll(max(1, min(self._tick, self._stall) * 1000))

    def _check_time(self) -> None:
        now = time.monotonic()
        for stream in self._streams.values():
            last = max(stream.heard, self._began)
            if stream.open and not stream.paused and now - last > self._silence:
                why = f"no sign of life from {stream.name} for {self._silence:g} s"
                return self._fail(why, why)
        if now - self._progress <= self._stall:
            return None
        for stream in self._streams.values():
            if stream.open and (stream.expecting or stream.outgoing):
                verb = "sends" if stream.expecting else "takes"
                why = f"{stream.name} is alive but {verb} no data for {self._stall:g} s"
                return self._fail(why, why)
        return None

    def _beat(self) -> None:
        now = time.monotonic()
        for stream in self._streams.values():
            if stream.open and not stream.outgoing and now - stream.sent >= stream.beat:
                stream.queue_control(Kind.HEARTBEAT)
                stream.write_some()

    def _heartbeats(self) -> None:
        """While nobody runs an exchange, shows life, and reads that of the others."""
        while self._interrupted is None and self._failure is None:
            poll = select.poll()
            poll.register(self._wake[0], select.POLLIN)
            poll.poll(max(1, self._tick * 1000))
            if not self._running.acquire(blocking=False):
                continue
            try:
                if self._interrupted is None and self._failure is None:
                    self._move()
                    self._beat()
            except LinkError:
                return  # noted; the next exchange raises it
            finally:
                self._running.release()

    def _fail(self, why: str, told: str) -> None:
        """Notes why, and tells the peers, the culprit too; or says goodbye."""
        if self._failure is not None:
            return
        self._failure = why
        for stream in self._streams.values():
            if stream.reachable:
                stream.queue_control(Kind.ABORT if told else Kind.BYE, told)
        end = time.monotonic() + _FAREWELL
        while time.monotonic() < end:
            poll, waiting = select.poll(), False
            for stream in self._streams.values():
                if stream.reachable and stream.outgoing:
                    stream.write_some()
                if stream.reachable and stream.outgoing:
                    poll.register(stream.socket.fileno(), select.POLLOUT)
                    waiting = True
            if not waiting:
                break
            poll.poll(max(1, (end - time.monotonic()) * 1000))
        for stream in self._streams.values():
            stream.drop_outgoing()
            stream.finish()


def exchange_in_program(
    targets: Sequence[int],
    sources: Sequence[int],
    results: Sequence[tuple[tuple[int, ...], Any]],
    token: Any,
    *arrays: Any,
) -> tuple[Any, ...]:
    """What a compiled program calls: the token, and the arrays that arrived."""
    core = find(int(token))
    sent = [np.ascontiguousarray(array) for array in arrays]
    received = [np.empty(shape, dtype) for shape, dtype in results]
    core.exchange(list(zip(targets, sent, strict=True)), list(zip(sources, received, strict=True)))
    return (np.asarray(token, np.uint32), *received)
