"""What workers share among others for who asks: the values do not come to that one."""

from __future__ import annotations

import functools
from typing import Any

from jsmpc._src.api import sharing
from jsmpc._src.errors import PointerError
from jsmpc._src.runtime import prf
from jsmpc._src.workers import fields
from jsmpc._src.workers.computing import Computing
from jsmpc._src.workers.descriptions import protocol_of
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.servant import Ask, Servant


class Splitting:
    """Values of a worker, shared from there."""

    def __init__(self, servant: Servant, computing: Computing) -> None:
        self._servant, self._computing = servant, computing
        self._name = servant.name
        servant.serve(split=self._split)

    def _split(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Shares a value among workers, each of which gets its part from here."""
        smpc, to = protocol_of(request), fields.texts(request, "to", 64)
        if len(to) != smpc.size or len(set(to)) != len(to) or smpc.size < 2:
            raise RequestError("a request to share among other than so many workers as parties")
        id, number = fields.need(request, "id", str), fields.need(request, "leaf", int)
        objects, (value,) = self._computing.operands([{"id": id, "leaf": number}])
        (found,) = objects.values()
        if found.kind != "value":
            raise PointerError(
                f"share at {self._name}: its value is elsewhere. Share it from there"
            )
        with self._servant.permitting:
            others = [name for name in to if name != self._name]
            rule = self._servant.policy.permit_share(found, caller, others)
            self._servant.note_use(
                "share", caller, rule, object=id, leaf=number, plan=found.plan, to=to
            )
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
        return (
            functools.partial(self._servant.handle, self._name)
            if name == self._name
            else self._servant.ask(name)
        )
