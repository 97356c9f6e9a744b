"""One connection to a worker and the lanes on it."""

from __future__ import annotations

import threading
from typing import Any

from jsmpc._src.transport import channels
from jsmpc._src.transport.alarms import Alarms
from jsmpc._src.transport.lane import Lane

_IDLE = 5.0  # seconds after which an unused lane is ended


class Connection:
    """Lanes to one worker, each for one call at a time, until the connection fails.

    gRPC would try again by itself, at times of its own; a connection that has failed is replaced
    instead, so that the next call tries at once, and nobody does while there is none.

    Args:
      channel: gRPC's, which this object closes.
      alarms: what ends lanes that are not used.
    """

    def __init__(self, channel: Any, alarms: Alarms) -> None:
        self._channel, self._alarms = channel, alarms
        self._method = channel.stream_stream(channels.METHOD)
        self._lock, self._failed, self._users = threading.Lock(), False, 0
        self._idle: dict[Lane, int] = {}  # with the alarms that end them

    def take(self) -> Lane | None:
        """A lane for one call; None if the connection has failed."""
        with self._lock:
            if self._failed:
                return None
            self._users += 1
            while self._idle:
                lane, alarm = self._idle.popitem()
                if self._alarms.clear(alarm) and lane.open:
                    return lane
            return Lane(self._method)

    def give_back(self, lane: Lane, good: bool) -> None:
        """Takes a lane back after a call, for others if it is good."""
        with self._lock:
            self._users -= 1
            if good and not self._failed:
                self._idle[lane] = self._alarms.set(_IDLE, lambda: self._end(lane))
                return
            last = self._failed and not self._users
        lane.end()
        if last:
            self._channel.close()

    def fail(self) -> None:
        """Gives no more lanes; calls on others may end, as a worker that stops lets them."""
        with self._lock:
            self._failed = True

    def close(self) -> None:
        """Ends the connection, and the calls that are under way on it; again is nothing."""
        self.fail()
        self._channel.close()

    @property
    def used(self) -> bool:
        """Whether calls are under way on it."""
        return self._users > 0

    def _end(self, lane: Lane) -> None:
        with self._lock:
            self._idle.pop(lane, None)
        lane.end()
