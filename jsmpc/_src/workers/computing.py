"""What workers compute for others: plans on what lies there."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jsmpc._src.errors import JsmpcError, PlanError, PointerError
from jsmpc._src.plans.plan import Plan
from jsmpc._src.workers import fields
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.library import Library
from jsmpc._src.workers.servant import Servant
from jsmpc._src.workers.store import Elsewhere, Object

_CHAIN = 16  # workers that ask each other for somebody


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a plan runs on, as it was permitted: for whom, and whose data are in it."""

    caller: str
    plan: str
    leaves: list[Any]
    sources: frozenset[str]
    examples: int | None


class Computing:
    """Plans run at a worker, for those who ask it."""

    def __init__(self, servant: Servant, library: Library, freed: Callable[[Object], None]) -> None:
        self._servant, self._library, self._freed = servant, library, freed
        self._name, self._store = servant.name, servant.store
        servant.serve(run=self._run)

    def _run(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        name = fields.digest(request, "plan")
        inputs = fields.need(request, "inputs", list)
        behind = fields.texts(request, "asked_by", _CHAIN) if "asked_by" in request else []
        objects, leaves = self.operands(inputs)
        self._servant.policy.permit_plan(name)
        if any(x.kind == "pointer" for x in objects.values()):
            return self._run_elsewhere(caller, behind, name, inputs, objects)
        plan = self._library.find(name)
        if plan is None:
            return {"unknown": name}
        plan.check(leaves)
        claim = self.claim(caller, name, plan.name, inputs, behind)
        results = self._results(plan, claim.leaves)
        return {"objects": self.keep(claim, [([x], None) for x in results])}

    def _results(self, plan: Plan, leaves: Sequence[Any]) -> list[Any]:
        """What a plan computes, if there is room for it; PlanError for whatever fails in it."""
        self._library.touch(plan, leaves)
        try:
            types = plan.results(leaves)
            self._store.require_room(sum(x.size * x.dtype.itemsize for x in types), len(types))
            results: list[Any] = jax.block_until_ready(plan.run(leaves))
            return results
        except JsmpcError:
            raise
        except Exception as error:  # of what somebody else has made, which may fail in any way
            raise PlanError(
                f"plan {plan.name} failed at {self._name}: {type(error).__name__}. Run it on data "
                "of your own to see why"
            ) from None

    def permitted(self, caller: str, plan: str, name: str, inputs: Sequence[Any]) -> Claim:
        """As `claim`, for somebody in this process; what is refused is in the log too."""
        with self._servant.refusing(caller, "run"):
            return self.claim(caller, plan, name, inputs)

    def claim(
        self,
        caller: str,
        plan: str,
        name: str,
        inputs: Sequence[Any],
        behind: Sequence[str] = (),
    ) -> Claim:
        """What a plan is to run on, once that is permitted and written down.

        Args:
          behind: for whom the caller asks.
        """
        objects, leaves = self.operands(inputs)
        used = list(objects.values())
        if any(x.kind == "pointer" for x in used):
            raise PointerError(f"run {name} at {self._name}: an operand is a pointer. Get it first")
        with self._servant.permitting:
            rule = self._servant.policy.permit_run(plan, used, {caller, *behind})
            known = {"plan": plan, "name": name, "objects": [x.id for x in used]}
            self._servant.note_use("run", caller, rule, **known, asked_by=list(behind) or None)
        sources = frozenset[str]().union(*(x.sources for x in used))
        if len(used) < len(inputs) or not used:
            sources |= {caller}
        examples = min((x.rows for x in used if x.sources != {caller}), default=None)
        return Claim(caller, plan, leaves, sources, examples)

    def keep(self, claim: Claim, results: Sequence[tuple[list[Any], Any]]) -> list[dict[str, Any]]:
        """Keeps results, each with its containers; what describes them."""
        whose = claim.caller, claim.sources, claim.plan
        new = [
            Object(
                "value",
                leaves,
                form,
                *whose,
                examples=claim.examples,
                holders=Counter([claim.caller]),
            )
            for leaves, form in results
        ]
        self._store.add(*new)
        return [x.info() for x in new]

    def operands(self, inputs: Sequence[Any]) -> tuple[dict[str, Object], list[Any]]:
        """The objects that a plan is to run on, by id, and its leaves."""
        objects: dict[str, Object] = {}
        leaves: list[Any] = []
        for x in inputs:
            if type(x) is not dict:
                leaves.append(fields.array(x))
                continue
            id, number = fields.need(x, "id", str), fields.need(x, "leaf", int)
            found = objects.setdefault(id, self._store.find(id, "run"))
            if found.kind not in ("value", "pointer"):
                raise PointerError(f"run at {self._name}: {found.kind} {id[:12]}… is no array")
            if not 0 <= number < len(found.types):
                raise RequestError("a request for a leaf that an object does not have")
            leaves.append(found.content[number] if found.kind == "value" else None)
        return objects, leaves

    def _run_elsewhere(
        self,
        caller: str,
        behind: Sequence[str],
        plan: str,
        inputs: Sequence[Any],
        objects: dict[str, Object],
    ) -> dict[str, Any]:
        """Has a plan run where all its operands are; the results are pointers here.

        That worker is told for whom, so that nobody gets by way of another what it may not have.
        """
        places = {x.content.worker if x.kind == "pointer" else self._name for x in objects.values()}
        if len(places) > 1:
            raise PointerError(
                f"run at {self._name}: the operands' values are at {' and '.join(sorted(places))}. "
                "Move one of them to the other worker"
            )
        (place,) = places
        self._servant.note("run", caller, plan=plan, objects=list(objects), at=place)
        there = [
            {**x, "id": objects[x["id"]].content.info["id"]} if type(x) is dict else x
            for x in inputs
        ]
        peer, asked_by = self._servant.ask(place), [*behind, caller]
        request = {"do": "run", "plan": plan, "inputs": there, "asked_by": asked_by}
        reply = peer(request)
        if "unknown" in reply:
            found = self._library.find(plan)
            if found is None:
                return {"unknown": plan}
            peer({"do": "plan", "data": found.to_bytes()})
            reply = peer(request)
        infos = [fields.info(x) for x in fields.need(reply, "objects", list)]
        sources = frozenset[str]().union(*(x.sources for x in objects.values()))
        new = [
            Object("pointer", Elsewhere(place, x), None, caller, sources, holders=Counter([caller]))
            for x in infos
        ]
        try:
            self._store.add(*new)
        except PointerError:
            for x in new:
                self._freed(x)
            raise
        return {"objects": [x.info() for x in new]}
