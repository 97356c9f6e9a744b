"""The plans that a worker has at hand, and what was compiled of them: in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from jsmpc._src.plans import contents
from jsmpc._src.plans.plan import Plan
from jsmpc._src.workers import fields
from jsmpc._src.workers.servant import Servant

_PLANS = 256 << 20  # bytes of plans that are kept ready
_PROGRAMS = 256  # that are kept compiled: one for each plan and shapes, of a MiB or two


class Library:
    """The plans of a worker, those that were used last."""

    def __init__(self, servant: Servant) -> None:
        self._servant, self._lock = servant, threading.Lock()
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._programs: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        servant.serve(plan=self._plan)

    def _plan(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        found = self.learn(fields.need(request, "data", bytes))
        self._servant.note("plan", caller, plan=found.hash, name=found.name)
        return {"plan": found.hash}

    def learn(self, data: bytes) -> Plan:
        """A plan from its bytes; refused before it is read if no rule is for it."""
        self._servant.policy.permit_plan(contents.hash_of(data))
        found = Plan.from_bytes(data)
        with self._lock:
            self._plans[found.hash] = found
            while sum(p.size for p in self._plans.values()) > _PLANS and len(self._plans) > 1:
                self._plans.popitem(last=False)
        return found

    def find(self, name: str) -> Plan | None:
        """The plan of a hash, if it is here; PolicyError if no rule is for it."""
        self._servant.policy.permit_plan(name)
        with self._lock:
            found = self._plans.get(name)
            if found is not None:
                self._plans.move_to_end(name)
            return found

    def touch(self, plan: Plan, leaves: Sequence[Any]) -> None:
        """Lets go of what was compiled and not used for longest, as there may be any number."""
        key = plan.hash, *((x.shape, x.dtype) for x in leaves)
        with self._lock:
            self._programs[key] = None
            self._programs.move_to_end(key)
            while len(self._programs) > _PROGRAMS:
                (name, *_), _ = self._programs.popitem(last=False)
                if name in self._plans:
                    self._plans[name].forget()
