"""A stream of a channel, on which requests and replies take turns."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jsmpc._src.transport import channels
from jsmpc._src.transport.blocks import Buffer


class Lane:
    """A stream that stays open between calls: to open one takes longer than a small call.

    Args:
      method: gRPC's, which starts a stream of requests.
    """

    def __init__(self, method: Callable[[Iterator[bytes]], Any]) -> None:
        self._requests: queue.SimpleQueue[Iterator[bytes] | None] = queue.SimpleQueue()
        self._stream = method(itertools.chain.from_iterable(iter(self._requests.get, None)))
        # gRPC's thread that waits for requests is to end with the stream.
        if not self._stream.add_callback(lambda: self._requests.put(None)):
            self._requests.put(None)

    @property
    def open(self) -> bool:
        """Whether it can be asked on, as far as is known."""
        return bool(self._stream.is_active())

    def ask(self, parts: Sequence[Buffer], largest: int) -> bytearray:
        """The bytes of the reply to an encoded request; none if the other end has closed."""
        self._requests.put(channels.chunks(parts))
        return channels.joined(self._stream, largest)

    def end(self) -> None:
        """Ends the stream, and whoever waits for a reply on it; again is nothing."""
        self._stream.cancel()
