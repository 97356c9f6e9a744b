"""A worker as it serves: what it does when it is asked, if its owner permits it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.api import sharing
from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.deployment.log import Log
from jsmpc._src.errors import JsmpcError, PlanError, PointerError
from jsmpc._src.plans import contents
from jsmpc._src.plans.plan import Plan
from jsmpc._src.runtime import prf
from jsmpc._src.workers import fields, roles
from jsmpc._src.workers.descriptions import protocol_of
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.policy import Policy, Rule
from jsmpc._src.workers.store import ROOM, Elsewhere, Object, Store

Ask = Callable[[dict[str, Any]], dict[str, Any]]
Operation = Callable[[str, dict[str, Any]], dict[str, Any]]

_PLANS = 256 << 20  # bytes of plans that are kept ready
_PROGRAMS = 256  # that are kept compiled: one for each plan and shapes, of a MiB or two
_TAGS = 64  # of an object
_TAG, _WORDS = 128, 4096  # characters of a tag, and of a description
_CHAIN = 16  # workers that ask each other for somebody


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a plan runs on, as it was permitted: for whom, and whose data are in it."""

    caller: str
    plan: str
    leaves: list[Any]
    sources: frozenset[str]
    examples: int | None


class Servant:
    """What a worker does for those who ask it.

    Every request goes into the log before anything comes of it, refused ones too.

    Args:
      name: the worker's.
      policy: what is permitted; by default everything.
      book: the log; by default one in memory.
      room: the bytes that all objects may take.
      peer: from another worker's name to what asks it in this one's name; PointerError.
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
        self._peer = peer or self._no_peer
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._programs: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._operations: dict[str, Operation] = {
            "put": self._put,
            "get": self._get,
            "read": self._read,
            "hold": self._hold,
            "drop": self._drop,
            "find": self._find,
            "clear": self._clear,
            "move": self._move,
            "plan": self._plan,
            "run": self._run,
            "split": self._split,
        }

    def serve(self, **operations: Operation) -> None:
        """Makes more operations known, by name."""
        self._operations.update(operations)

    def handle(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request of somebody whose name is known for certain.

        Raises:
          JsmpcError: where it is refused; it is in the log too.
        """
        doing = request.get("do")
        with self._refusing(caller, doing):
            operation = self._operations.get(doing) if isinstance(doing, str) else None
            if operation is None:
                raise RequestError(f"{self.name} does not know what was asked of it")
            if "gone" in request:
                self._drop(caller, {"ids": request["gone"]})
            return operation(caller, request)

    @contextlib.contextmanager
    def _refusing(self, caller: str, doing: Any) -> Iterator[None]:
        """Enters into the log what is refused, or fails, inside."""
        try:
            yield
        except JsmpcError as error:
            asked = doing if isinstance(doing, str) and doing in self._operations else "unknown"
            self._note("refused", caller, asked=asked, why=f"{type(error).__name__}: {error}"[:500])
            if isinstance(error, PolicyError):
                raise PolicyError(f"{doing} at {self.name}: {error}") from None
            raise
        except Exception as error:
            self._note("failed", caller, asked=doing, why=type(error).__name__)
            raise

    def offer(
        self, leaves: Sequence[Any], form: Any, tags: Sequence[str], description: str
    ) -> Object:
        """Keeps data of the owner's, which stay whatever others do."""
        known = _described(tags, description)
        new = Object(
            "value", list(leaves), form, self.name, frozenset({self.name}), kept=True, **known
        )
        self.store.add(new)
        self._note("offer", self.name, object=new.id, tags=list(new.tags))
        return new

    # Objects.

    def _put(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        kind = fields.need(request, "kind", str)
        known = _described(
            fields.texts(request, "tags", _TAGS), fields.need(request, "description", str)
        )
        sources = frozenset({caller, *fields.texts(request, "sources", 1024)})
        holder = _holder(request, caller)
        content, form = self._content(kind, request)
        new = Object(kind, content, form, caller, sources, holders=Counter([holder]), **known)
        self._note("put", caller, object=new.id, kind=kind, bytes=new.size, tags=list(new.tags))
        try:
            self.store.add(new)
        except PointerError:
            self._freed(new)
            raise
        return {"object": new.info()}

    def _content(self, kind: str, request: dict[str, Any]) -> tuple[Any, Any]:
        if kind == "value":
            leaves, form = fields.need(request, "leaves", list), request.get("form")
            fields.form(form, len(leaves))
            self.store.require_room(sum(getattr(x, "nbytes", 0) for x in leaves), 1)
            return [_device(x) for x in leaves], form
        if kind == "pointer":
            id, worker = fields.need(request, "id", str), fields.name(request, "worker")
            return Elsewhere(worker, self._held(worker, id, self.name)), None
        if kind == "plan":
            found = self._learned(fields.need(request, "data", bytes))
            return found.to_bytes(), None
        if kind == "roles":
            data = fields.need(request, "data", bytes)
            for one in roles.Roles.from_bytes(data).plans.values():
                self.policy.permit_plan(one.hash)
            return data, None
        raise RequestError("a request to keep something of an unknown kind")

    def _get(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._contents(self._leaving(caller, request, "get"), caller)
        self._freed(self.store.release(caller, request["id"], all_of_them=True))
        return reply

    def _read(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._contents(self._leaving(caller, request, "read"), caller)

    def _leaving(self, caller: str, request: dict[str, Any], doing: str) -> Object:
        found = self.store.find(fields.need(request, "id", str), doing)
        with self._lock:
            rule = self.policy.permit_get(found, caller, caller)
            self._note_use(doing, caller, rule, object=found.id, plan=found.plan)
        return found

    def _contents(self, found: Object, to: str) -> dict[str, Any]:
        """What is told to somebody, who then has a pointer of their own if it is one."""
        if isinstance(found.content, Elsewhere):
            worker, id = found.content.worker, found.content.info["id"]
            return {"worker": worker, "info": self._held(worker, id, to)}
        if found.kind == "value":
            return {"leaves": list(found.content), "form": found.form}
        return {"data": found.content}

    def _hold(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        objects = [self.store.find(id, "hold") for id in fields.texts(request, "ids")]
        holder = _holder(request, caller)
        self._note("hold", caller, holder=holder, objects=[x.id for x in objects])
        self.store.hold(holder, *objects)
        return {"objects": [x.info() for x in objects]}

    def _held(self, worker: str, id: str, holder: str) -> dict[str, Any]:
        """What another worker says of an object there, to which somebody has a pointer more."""
        if worker == self.name:
            raise PointerError(f"{self.name} keeps no pointers to what is there itself. Use it")
        reply = self._peer(worker)({"do": "hold", "ids": [id], "holder": holder})
        (info,) = fields.need(reply, "objects", list)
        return fields.info(info)

    def _drop(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        ids = fields.texts(request, "ids")
        self._note("drop", caller, objects=len(ids))
        for id in ids:
            self._freed(self.store.release(caller, id))
        return {}

    def _freed(self, gone: Object | None) -> None:
        """Lets go of what an object that is gone has pointed to."""
        if gone is not None and isinstance(gone.content, Elsewhere):
            ids = [gone.content.info["id"]]
            with contextlib.suppress(JsmpcError):  # who cannot be reached keeps it for longer
                self._peer(gone.content.worker)({"do": "drop", "ids": ids})

    def _find(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        words = fields.texts(request, "words", _TAGS, _TAG)
        found = [x for x in self.store if x.matches(words)]
        self._note("find", caller, words=words, found=len(found))
        if request.get("hold") is True:
            self.store.hold(caller, *found)
        return {"objects": [x.info() for x in found]}

    def _clear(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        own = [x for x in self.store if x.by == caller]
        self._note("clear", caller, objects=len(own))
        for x in own:
            self._freed(self.store.remove(x.id))
        return {"objects": len(own)}

    def _move(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Moves or copies an object to another worker, without its coming to the caller."""
        found = self.store.find(fields.need(request, "id", str), "move")
        to = fields.name(request, "to")
        if to == self.name:
            raise PointerError(f"move at {self.name}: the value is there already")
        with self._lock:
            rule = self.policy.permit_get(found, caller, to)
            self._note_use("move", caller, rule, object=found.id, plan=found.plan, to=to)
        if isinstance(found.content, Elsewhere):
            content = {"worker": found.content.worker, "id": found.content.info["id"]}
        else:
            content = self._contents(found, to)
        reply = self._peer(to)(
            {
                "do": "put",
                "kind": found.kind,
                "sources": sorted(found.sources),
                "tags": list(found.tags),
                "description": found.description,
                "holder": caller,
                **content,
            }
        )
        self._freed(self.store.release(caller, found.id, all_of_them=True))
        return {"object": fields.info(fields.need(reply, "object", dict))}

    # Plans.

    def _plan(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        found = self._learned(fields.need(request, "data", bytes))
        self._note("plan", caller, plan=found.hash, name=found.name)
        return {"plan": found.hash}

    def _learned(self, data: bytes) -> Plan:
        """A plan from its bytes; refused before it is read if no rule is for it."""
        self.policy.permit_plan(contents.hash_of(data))
        found = Plan.from_bytes(data)
        with self._lock:
            self._plans[found.hash] = found
            while sum(p.size for p in self._plans.values()) > _PLANS and len(self._plans) > 1:
                self._plans.popitem(last=False)
        return found

    def known_plan(self, name: str) -> Plan | None:
        """The plan of a hash, if it is here; PolicyError if no rule is for it."""
        self.policy.permit_plan(name)
        with self._lock:
            found = self._plans.get(name)
            if found is not None:
                self._plans.move_to_end(name)
            return found

    def _run(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        name = fields.digest(request, "plan")
        inputs = fields.need(request, "inputs", list)
        behind = fields.texts(request, "asked_by", _CHAIN) if "asked_by" in request else []
        objects, leaves = self._operands(inputs)
        self.policy.permit_plan(name)
        if any(x.kind == "pointer" for x in objects.values()):
            return self._run_elsewhere(caller, behind, name, inputs, objects)
        plan = self.known_plan(name)
        if plan is None:
            return {"unknown": name}
        plan.check(leaves)
        claim = self.claim(caller, name, plan.name, inputs, behind)
        results = self._results(plan, claim.leaves)
        return {"objects": self.keep(claim, [([x], None) for x in results])}

    def _results(self, plan: Plan, leaves: Sequence[Any]) -> list[Any]:
        """What a plan computes, if there is room for it; PlanError for whatever fails in it."""
        self._touched(plan, leaves)
        try:
            types = plan.results(leaves)
            self.store.require_room(sum(x.size * x.dtype.itemsize for x in types), len(types))
            results: list[Any] = jax.block_until_ready(plan.run(leaves))
            return results
        except JsmpcError:
            raise
        except Exception as error:  # of what somebody else has made, which may fail in any way
            raise PlanError(
                f"plan {plan.name} failed at {self.name}: {type(error).__name__}. Run it on data "
                "of your own to see why"
            ) from None

    def _touched(self, plan: Plan, leaves: Sequence[Any]) -> None:
        """Lets go of what was compiled and not used for longest, as there may be any number."""
        key = plan.hash, *((x.shape, x.dtype) for x in leaves)
        with self._lock:
            self._programs[key] = None
            self._programs.move_to_end(key)
            while len(self._programs) > _PROGRAMS:
                (name, *_), _ = self._programs.popitem(last=False)
                if name in self._plans:
                    self._plans[name].forget()

    def permitted(self, caller: str, plan: str, name: str, inputs: Sequence[Any]) -> Claim:
        """As `claim`, for somebody in this process; what is refused is in the log too."""
        with self._refusing(caller, "run"):
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
        objects, leaves = self._operands(inputs)
        used = list(objects.values())
        if any(x.kind == "pointer" for x in used):
            raise PointerError(f"run {name} at {self.name}: an operand is a pointer. Get it first")
        with self._lock:
            rule = self.policy.permit_run(plan, used, {caller, *behind})
            known = {"plan": plan, "name": name, "objects": [x.id for x in used]}
            self._note_use("run", caller, rule, **known, asked_by=list(behind) or None)
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
        self.store.add(*new)
        return [x.info() for x in new]

    # Shares.

    def _split(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Shares a value among workers, each of which gets its part from here."""
        smpc, to = protocol_of(request), fields.texts(request, "to", 64)
        if len(to) != smpc.size or len(set(to)) != len(to) or smpc.size < 2:
            raise RequestError("a request to share among other than so many workers as parties")
        id, number = fields.need(request, "id", str), fields.need(request, "leaf", int)
        objects, (value,) = self._operands([{"id": id, "leaf": number}])
        (found,) = objects.values()
        with self._lock:
            others = [name for name in to if name != self.name]
            rule = self.policy.permit_share(found, caller, others)
            self._note_use("share", caller, rule, object=id, leaf=number, plan=found.plan, to=to)
        share = sharing.share(prf.random_key(), value, smpc)
        infos = []
        for rank, name in enumerate(to):
            rows = [c[r] for c in share.components for r in sorted(smpc.holds(rank))]
            put = {"do": "put", "kind": "value", "leaves": rows, "tags": [], "description": ""}
            whose = {"sources": sorted(found.sources), "holder": caller}
            form = {"tuple": [None] * len(rows)}
            reply = self._to(name)({**put, "form": form, **whose})
            infos.append(fields.info(fields.need(reply, "object", dict)))
        return {"objects": infos}

    def _to(self, name: str) -> Ask:
        """What asks a worker in this one's name: another one, or itself."""
        return functools.partial(self.handle, self.name) if name == self.name else self._peer(name)

    def _operands(self, inputs: Sequence[Any]) -> tuple[dict[str, Object], list[Any]]:
        """The objects that a plan is to run on, by id, and its leaves."""
        objects: dict[str, Object] = {}
        leaves: list[Any] = []
        for x in inputs:
            if type(x) is not dict:
                leaves.append(_device(x))
                continue
            id, number = fields.need(x, "id", str), fields.need(x, "leaf", int)
            found = objects.setdefault(id, self.store.find(id, "run"))
            if found.kind not in ("value", "pointer"):
                raise PointerError(f"run at {self.name}: {found.kind} {id[:12]}… is no array")
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
        places = {x.content.worker if x.kind == "pointer" else self.name for x in objects.values()}
        if len(places) > 1:
            raise PointerError(
                f"run at {self.name}: the operands' values are at {' and '.join(sorted(places))}. "
                "Move one of them to the other worker"
            )
        (place,) = places
        self._note("run", caller, plan=plan, objects=list(objects), at=place)
        there = [
            {**x, "id": objects[x["id"]].content.info["id"]} if type(x) is dict else x
            for x in inputs
        ]
        peer, asked_by = self._peer(place), [*behind, caller]
        request = {"do": "run", "plan": plan, "inputs": there, "asked_by": asked_by}
        reply = peer(request)
        if "unknown" in reply:
            found = self._plans.get(plan)
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
            self.store.add(*new)
        except PointerError:
            for x in new:
                self._freed(x)
            raise
        return {"objects": [x.info() for x in new]}

    # The log.

    def _note(self, event: str, caller: str, **more: Any) -> None:
        with self._writing:
            self.book.append(event, by=caller, **more)

    def _note_use(self, event: str, caller: str, rule: Rule | None, **more: Any) -> None:
        """Enters what a rule permits, by which the log counts it."""
        self._note(event, caller, rule=None if rule is None else rule.name, **more)

    def _no_peer(self, name: str) -> Ask:
        raise PointerError(
            f"{self.name} cannot reach {name}: it knows no such worker. Name it in the file of "
            "workers of both, or get the value and send it"
        )


def _described(tags: Sequence[str], description: str) -> dict[str, Any]:
    if len(tags) > _TAGS or any(len(t) > _TAG for t in tags) or len(description) > _WORDS:
        raise RequestError(
            f"an object has at most {_TAGS} tags of {_TAG} characters and {_WORDS} of description"
        )
    return {"tags": tuple(tags), "description": description}


def _holder(request: dict[str, Any], caller: str) -> str:
    """Whose pointer it is that a request is about: the caller's, or that of whom it names."""
    return fields.name({"holder": caller, **request}, "holder")


def _device(x: Any) -> Any:
    """An array of a request as one of JAX's, in its own width."""
    if isinstance(x, jax.Array):
        return x
    if not hasattr(x, "dtype"):
        raise RequestError("a request with something that is no array in the place of one")
    with jax.enable_x64(True):
        return jnp.asarray(x)
