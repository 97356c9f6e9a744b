"""What workers keep for others: brought, found, taken back, and passed on."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from jsmpc._src.errors import JsmpcError, PointerError
from jsmpc._src.workers import fields, roles
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.library import Library
from jsmpc._src.workers.servant import Servant
from jsmpc._src.workers.store import Elsewhere, Object

_TAGS = 64  # of an object
_TAG, _WORDS = 128, 4096  # characters of a tag, and of a description


class Keeping:
    """The objects of a worker, for those who ask it."""

    def __init__(self, servant: Servant, library: Library) -> None:
        self._servant, self._library = servant, library
        self._name, self._store = servant.name, servant.store
        servant.serve(
            put=self._put,
            get=self._get,
            read=self._read,
            hold=self._hold,
            drop=self._drop,
            find=self._find,
            clear=self._clear,
            move=self._move,
        )

    def offer(
        self, leaves: Sequence[Any], form: Any, tags: Sequence[str], description: str
    ) -> Object:
        """Keeps data of the owner's, which stay whatever others do."""
        known = _described(tags, description)
        new = Object(
            "value",
            list(leaves),
            form,
            self._name,
            frozenset({self._name}),
            kept=True,
            **known,
        )
        self._store.add(new)
        self._servant.note("offer", self._name, object=new.id, tags=list(new.tags))
        return new

    def _put(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        kind = fields.need(request, "kind", str)
        known = _described(
            fields.texts(request, "tags", _TAGS), fields.need(request, "description", str)
        )
        sources = frozenset({caller, *fields.texts(request, "sources", 1024)})
        holder = _holder(request, caller)
        content, form = self._content(kind, request)
        new = Object(kind, content, form, caller, sources, holders=Counter([holder]), **known)
        self._servant.note(
            "put", caller, object=new.id, kind=kind, bytes=new.size, tags=list(new.tags)
        )
        try:
            self._store.add(new)
        except PointerError:
            self.freed(new)
            raise
        return {"object": new.info()}

    def _content(self, kind: str, request: dict[str, Any]) -> tuple[Any, Any]:
        if kind == "value":
            leaves, form = fields.need(request, "leaves", list), request.get("form")
            fields.form(form, len(leaves))
            self._store.require_room(sum(getattr(x, "nbytes", 0) for x in leaves), 1)
            return [fields.array(x) for x in leaves], form
        if kind == "pointer":
            id, worker = fields.need(request, "id", str), fields.name(request, "worker")
            return Elsewhere(worker, self._held(worker, id, self._name)), None
        if kind == "plan":
            found = self._library.learn(fields.need(request, "data", bytes))
            return found.to_bytes(), None
        if kind == "roles":
            data = fields.need(request, "data", bytes)
            for one in roles.Roles.from_bytes(data).plans.values():
                self._servant.policy.permit_plan(one.hash)
            return data, None
        raise RequestError("a request to keep something of an unknown kind")

    def _get(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        reply = self._contents(self._leaving(caller, request, "get"), caller)
        self.freed(self._store.release(caller, request["id"], all_of_them=True))
        return reply

    def _read(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        return self._contents(self._leaving(caller, request, "read"), caller)

    def _leaving(self, caller: str, request: dict[str, Any], doing: str) -> Object:
        found = self._store.find(fields.need(request, "id", str), doing)
        with self._servant.permitting:
            rule = self._servant.policy.permit_get(found, caller, caller)
            self._servant.note_use(doing, caller, rule, object=found.id, plan=found.plan)
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
        objects = [self._store.find(id, "hold") for id in fields.texts(request, "ids")]
        holder = _holder(request, caller)
        self._servant.note("hold", caller, holder=holder, objects=[x.id for x in objects])
        self._store.hold(holder, *objects)
        return {"objects": [x.info() for x in objects]}

    def _held(self, worker: str, id: str, holder: str) -> dict[str, Any]:
        """What another worker says of an object there, to which somebody has a pointer more."""
        if worker == self._name:
            raise PointerError(f"{self._name} keeps no pointers to what is there itself. Use it")
        reply = self._servant.ask(worker)({"do": "hold", "ids": [id], "holder": holder})
        (info,) = fields.need(reply, "objects", list)
        return fields.info(info)

    def _drop(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        ids = fields.texts(request, "ids")
        self._servant.note("drop", caller, objects=len(ids))
        for id in ids:
            self.freed(self._store.release(caller, id))
        return {}

    def freed(self, gone: Object | None) -> None:
        """Lets go of what an object that is gone has pointed to."""
        if gone is not None and isinstance(gone.content, Elsewhere):
            ids = [gone.content.info["id"]]
            with contextlib.suppress(JsmpcError):  # who cannot be reached keeps it for longer
                self._servant.ask(gone.content.worker)({"do": "drop", "ids": ids})

    def _find(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        words = fields.texts(request, "words", _TAGS, _TAG)
        found = [x for x in self._store if x.matches(words)]
        self._servant.note("find", caller, words=words, found=len(found))
        if request.get("hold") is True:
            self._store.hold(caller, *found)
        return {"objects": [x.info() for x in found]}

    def _clear(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        own = [x for x in self._store if x.by == caller]
        self._servant.note("clear", caller, objects=len(own))
        for x in own:
            self.freed(self._store.remove(x.id))
        return {"objects": len(own)}

    def _move(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Moves or copies an object to another worker, without its coming to the caller."""
        found = self._store.find(fields.need(request, "id", str), "move")
        to = fields.name(request, "to")
        if to == self._name:
            raise PointerError(f"move at {self._name}: the value is there already")
        with self._servant.permitting:
            rule = self._servant.policy.permit_get(found, caller, to)
            self._servant.note_use("move", caller, rule, object=found.id, plan=found.plan, to=to)
        if isinstance(found.content, Elsewhere):
            content = {"worker": found.content.worker, "id": found.content.info["id"]}
        else:
            content = self._contents(found, to)
        reply = self._servant.ask(to)(
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
        self.freed(self._store.release(caller, found.id, all_of_them=True))
        return {"object": fields.info(fields.need(reply, "object", dict))}


def _described(tags: Sequence[str], description: str) -> dict[str, Any]:
    if len(tags) > _TAGS or any(len(t) > _TAG for t in tags) or len(description) > _WORDS:
        raise RequestError(
            f"an object has at most {_TAGS} tags of {_TAG} characters and {_WORDS} of description"
        )
    return {"tags": tuple(tags), "description": description}


def _holder(request: dict[str, Any], caller: str) -> str:
    """Whose pointer it is that a request is about: the caller's, or that of whom it names."""
    return fields.name({"holder": caller, **request}, "holder")
