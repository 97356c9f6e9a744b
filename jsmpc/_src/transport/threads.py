"""Threads that do not keep a process from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Threads(Executor):
    """Runs each call in a thread of its own; the process may end while they run.

    The threads of `ThreadPoolExecutor` are waited for at the end of a process, for ever if one of
    them waits for a peer. How many there are is for the caller to bound.
    """

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Starts the call; the future has its result."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(call(*args, **kwargs))
            except BaseException as error:  # it is that of whoever asks the future
                future.set_exception(error)

        threading.Thread(target=run, name="jsmpc-lane", daemon=True).start()
        return future
