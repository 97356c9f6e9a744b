"""A worker as it serves: who asks is known, what is asked is permitted, and written down."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.deployment.log import Log
from jsmpc._src.errors import JsmpcError, PointerError
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.policy import Policy, Rule
from jsmpc._src.workers.store import ROOM, Store

Ask = Callable[[dict[str, Any]], dict[str, Any]]
HERE = "me"  # who asks in a worker's own process
Operation = Callable[[str, dict[str, Any]], dict[str, Any]]


class Servant:
    """Who answers for a worker.

    Every request goes into the log before anything comes of it, refused ones too. What can be asked
    is what others make known by `serve`.

    Args:
      name: the worker's.
      policy: what is permitted; by default everything.
      book: the log; by default one in memory.
      room: the bytes that all objects may take.
      peer: from another worker's name to what asks it in this one's name; PointerError.

    Attributes:
      store: what lies there.
      permitting: a lock for who asks the policy and enters what it permits.
    """

    def __init__(
        self,
        name: str,
        policy: Policy | None = None,
        book: Log | None = None,
        room: int = ROOM,
        peer: Callable[[str], Ask] | None = None,
    ) -> None:
        self.name, self.store = name, Store(name, room)
        self.book = Log() if book is None else book
        self.policy = dataclasses.replace(policy or Policy(), used=self.book.rules)
        self.permitting, self._writing = threading.Lock(), threading.Lock()
        self._peer, self._operations = peer, dict[str, Operation]()

    def serve(self, **operations: Operation) -> None:
        """Makes more operations known, by name."""
        self._operations.update(operations)

    def handle(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request of somebody whose name is known for certain.

        Raises:
          JsmpcError: where it is refused; it is in the log too.
        """
        doing = request.get("do")
        with self.refusing(caller, doing):
            operation = self._operations.get(doing) if isinstance(doing, str) else None
            if operation is None:
                raise RequestError(f"{self.name} does not know what was asked of it")
            if "gone" in request:
                self._operations["drop"](caller, {"ids": request["gone"]})
            return operation(caller, request)

    @contextlib.contextmanager
    def refusing(self, caller: str, doing: Any) -> Iterator[None]:
        """Enters into the log what is refused, or fails, inside."""
        try:
            yield
        except JsmpcError as error:
            asked = doing if isinstance(doing, str) and doing in self._operations else "unknown"
            self.note("refused", caller, asked=asked, why=f"{type(error).__name__}: {error}"[:500])
            if isinstance(error, PolicyError):
                raise PolicyError(f"{doing} at {self.name}: {error}") from None
            raise
        except Exception as error:
            self.note("failed", caller, asked=doing, why=type(error).__name__)
            raise

    def ask(self, worker: str) -> Ask:
        """What asks another worker in this one's name; PointerError where it cannot be reached."""
        if self._peer is None:
            raise PointerError(
                f"{self.name} cannot reach {worker}: it knows no such worker. Name it in the file "
                "of workers of both, or get the value and send it"
            )
        return self._peer(worker)

    def note(self, event: str, caller: str, **more: Any) -> None:
        """Enters what somebody asked."""
        with self._writing:
            self.book.append(event, by=caller, **more)

    def note_use(self, event: str, caller: str, rule: Rule | None, **more: Any) -> None:
        """Enters what a rule permits, by which the log counts it."""
        self.note(event, caller, rule=None if rule is None else rule.name, **more)
