"""Two workers as one client asks them, in this process or as processes."""

from __future__ import annotations

from typing import Any

from processes import Processes

import jsmpc
from jsmpc._src.workers.worker import BaseWorker


class View(BaseWorker):
    """A worker in this process, as another client than `me` sees it."""

    def __init__(self, worker: jsmpc.Worker, client: str) -> None:
        super().__init__(worker.name)
        self._worker, self._client = worker, client

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._worker.servant.handle(self._client, request)

    def group(self, protocol: Any, workers: Any) -> Any:
        raise NotImplementedError


class Pair:
    """Two workers, as one client asks them.

    Attributes:
      me: the client's name; bob, alice: the workers; remote: whether they are processes.
    """

    def __init__(self, processes: Processes | None) -> None:
        self._processes = processes
        self.remote = processes is not None
        if processes is None:
            self.me = "me"
            self.bob: Any = jsmpc.Worker("bob", room=64 << 20)
            self.alice: Any = jsmpc.Worker("alice")
            self.bob.meet(self.alice)
            self.alice.meet(self.bob)
            self._seen = {"bob": 0, "alice": 0}
        else:
            self.me = "carol"
            found = processes.client("carol")
            self.bob, self.alice = found["bob"], found["alice"]
            for worker in (self.bob, self.alice):
                assert not worker.objects
            self._seen = {name: len(processes.log(name)) for name in ("bob", "alice")}

    def client(self, name: str) -> dict[str, Any]:
        """The same workers, as another client sees them."""
        if self._processes is not None:
            return dict(self._processes.client(name))
        found = {w.name: View(w, name) for w in (self.bob, self.alice)}
        for view in found.values():
            view.known = found  # type: ignore[assignment]
        return dict(found)

    def log(self, worker: Any) -> list[tuple[str, dict[str, Any]]]:
        """What this test's requests have left in a worker's log."""
        if self._processes is None:
            found = [(entry.event, entry.fields) for entry in worker.log]
        else:
            found = self._processes.log(worker.name)
        return found[self._seen[worker.name] :]

    def events(self, worker: Any) -> list[str]:
        """The same, without fields."""
        return [event for event, _ in self.log(worker)]

    def close(self) -> None:
        """Leaves nothing of any client behind."""
        if self._processes is not None:
            self._processes.clear()
        else:
            self.bob.close()
            self.alice.close()
