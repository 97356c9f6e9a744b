"""Pointers to plans, and to plans by roles, that lie at a worker."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from jsmpc._src.plans.plan import Plan
from jsmpc._src.workers.roles import Roles

if TYPE_CHECKING:
    from jsmpc._src.workers.worker import BaseWorker


class _Handle:
    """What is known here of something at a worker that is no value.

    Attributes:
      location: the worker; id: its id there; tags, description: as they were sent along.
    """

    def __init__(self, location: BaseWorker, info: dict[str, Any], content: Any = None) -> None:
        self.location, self.id = location, str(info["id"])
        self.tags, self.description = tuple(info["tags"]), str(info["description"])
        self._content = content
        weakref.finalize(self, location.released.append, self.id).atexit = False

    def _bytes(self) -> bytes:
        found = self.location.fetched("read", self.id)
        assert isinstance(found, bytes)
        return found

    def __repr__(self) -> str:
        tags = f" {' '.join(self.tags)}" if self.tags else ""
        return f"{type(self).__name__}(at {self.location.name}, {self.id[:8]}{tags})"


class PlanPointer(_Handle):
    """A plan that lies at a worker; called with pointers to what is there, it runs there."""

    def get(self) -> Plan:
        """The plan; it stays at the worker too."""
        if self._content is None:
            self._content = Plan.from_bytes(self._bytes())
        found: Plan = self._content
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The plan's result, at the worker; errors as of the plan."""
        return self.get()(*args, **kwargs)


class RolesPointer(_Handle):
    """Plans by roles that lie at a worker, for whoever finds them."""

    def get(self) -> Roles:
        """The plans by roles, to be deployed."""
        if self._content is None:
            self._content = Roles.from_bytes(self._bytes())
        found: Roles = self._content
        return found
