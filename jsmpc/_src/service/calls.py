"""Calls of a client to all parties at the same time."""

from __future__ import annotations

import concurrent.futures
import contextlib
import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from jsmpc._src.errors import JsmpcError, LimitError, LinkError, ServiceError
from jsmpc._src.transport.client import Channel

Message = dict[str, Any]

_AT_ONCE = 8  # queries
_MORE = 0.2  # seconds to hear what else is wrong
# What says most about a failure: what a party says, then that it is gone.
_TELLING = (LimitError, ServiceError, LinkError, JsmpcError)


class Calls:
    """Makes calls through a channel to each party, in threads of its own.

    A query's calls begin together, so that no query waits at one party for the rest of itself.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels, self._slots = channels, threading.Semaphore(_AT_ONCE)
        threads = (_AT_ONCE + 1) * len(channels)  # and one for each party beside queries
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="jsmpc-ask")

    def start(self, messages: Sequence[Message], deadline: float) -> list[Future[Message]]:
        """The replies to a message for each party; waits where too many are under way.

        Raises:
          ServiceError: if the client is closed.
        """
        self._slots.acquire()
        left = itertools.count(len(messages) - 1, -1)

        def ended(_: Future[Message]) -> None:
            if next(left) == 0:
                self._slots.release()

        try:
            calls = [
                self._pool.submit(channel.call, message, deadline)
                for channel, message in zip(self._channels, messages, strict=True)
            ]
        except RuntimeError:
            self._slots.release()
            raise ServiceError("the client is closed. Connect anew", "closed") from None
        for call in calls:
            call.add_done_callback(ended)
        return calls

    def notify(self, message: Message, seconds: float) -> None:
        """Tells all parties something; whether they hear it is no matter."""
        with contextlib.suppress(RuntimeError):  # the client is closed
            for channel in self._channels:
                self._pool.submit(channel.call, message, seconds)

    def close(self) -> None:
        """Begins no call any more; again is nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def replies(calls: Sequence[Future[Message]]) -> list[Message]:
    """The replies of all parties; if a call has failed, the error that says most."""
    done, _ = concurrent.futures.wait(calls, return_when=concurrent.futures.FIRST_EXCEPTION)
    if any(call.cancelled() for call in done):
        raise ServiceError("the client was closed before it had an answer", "closed")
    if any(call.exception() for call in done):
        done, _ = concurrent.futures.wait(calls, _MORE)
        raise min(filter(None, (call.exception() for call in done)), key=_telling)
    return [call.result() for call in calls]


def _telling(error: BaseException) -> int:
    return next((i for i, kind in enumerate(_TELLING) if isinstance(error, kind)), len(_TELLING))
