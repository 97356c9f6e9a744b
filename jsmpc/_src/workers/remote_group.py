"""Workers in processes of their own as the parties of a protocol."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jsmpc._src.api import kept
from jsmpc._src.api.session import Purpose
from jsmpc._src.errors import JsmpcError, LinkError, ProtocolError
from jsmpc._src.plans.plan import Plan
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._src.workers.descriptions import described
from jsmpc._src.workers.groups import Group, operand_of
from jsmpc._src.workers.members import terms
from jsmpc._src.workers.pointer import Pointer
from jsmpc._src.workers.worker import BaseWorker


class RemoteGroup(Group):
    """Workers each of which runs its own program, which is projected here and sent as a plan.

    They meet when they first compute, and again after one of them was lost.
    """

    def __init__(self, protocol: Protocol, workers: Sequence[BaseWorker]) -> None:
        super().__init__(protocol, workers)
        if any(kept.holders(protocol)):
            raise ProtocolError(
                f"{type(protocol).__name__} keeps a state of its parties, which workers do not. "
                "Run it by jsmpc party"
            )
        self._joined: str | None = None
        self._lock = threading.Lock()

    def execute(
        self,
        projection: Projection,
        purpose: Purpose,
        early: Sequence[Any],
        operands: Sequence[Sequence[Any]],
        groups: Sequence[Sequence[int | None]],
    ) -> list[list[Any]]:
        with self._lock:
            plans = list(self.plans(projection, purpose).values())
            requests = [
                {
                    "inputs": [operand_of(x) for x in given],
                    "keyed": bool(early),
                    "compared": _compared(projection, endpoint),
                    "groups": list(kept_together),
                }
                for endpoint, (given, kept_together) in enumerate(
                    zip(operands, groups, strict=True)
                )
            ]
            found = self._run(plans, requests)
        return [
            [Pointer(worker, info) for info in infos]
            for worker, infos in zip(self.workers, found, strict=True)
        ]

    def _run(self, plans: Sequence[Plan], requests: Sequence[dict[str, Any]]) -> list[Any]:
        """What describes the results at each worker; a run that fails ends at all."""
        for last in (False, True):
            if self._joined is None:
                self._join()
            try:
                tickets = self._prepared(plans, requests)
                break
            except LinkError:  # one of them was started anew, or has lost the others
                self._leave()
                if last:
                    raise
        try:
            return [
                reply["objects"]
                for reply in self._everywhere(lambda i, w: w.asked("compute", ticket=tickets[i]))
            ]
        except BaseException:
            self._leave()
            raise

    def _prepared(self, plans: Sequence[Plan], requests: Sequence[dict[str, Any]]) -> list[str]:
        """What each worker has permitted, with plans that it did not know sent."""

        def prepare(i: int, worker: BaseWorker) -> str:
            request = {"group": self._joined, **requests[i]}
            return str(worker.asked_with(plans[i], "prepare", **request)["ticket"])

        return self._everywhere(prepare)

    def _join(self) -> None:
        group = secrets.token_hex(16)
        replies = self._everywhere(lambda _, w: w.asked("listen", group=group))
        ports = [reply["port"] for reply in replies]
        names, told = list(self.places), described(self.protocol)
        request = {"group": group, "protocol": told, "workers": names, "ports": ports}
        self._everywhere(lambda _, w: w.asked("join", **request, terms=terms()))
        self._joined = group

    def _leave(self) -> None:
        group, self._joined = self._joined, None
        for worker in self.workers:
            with contextlib.suppress(JsmpcError):
                worker.asked("leave", group=group or "")

    def _everywhere(self, ask: Callable[[int, BaseWorker], Any]) -> list[Any]:
        """What all workers reply, asked at the same time; the error that tells most."""
        with ThreadPoolExecutor(len(self.workers)) as pool:
            waiting = [pool.submit(ask, i, worker) for i, worker in enumerate(self.workers)]
        errors = [e for e in (x.exception() for x in waiting) if e is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, LinkError))
        return [x.result() for x in waiting]


def _compared(projection: Projection, endpoint: int) -> list[list[int]]:
    """Of what an endpoint is given, which is compared with others', a digest each."""
    given = projection.given(endpoint)
    return [
        [given.index(i) for i in group.inputs]
        for group in projection.compared
        if endpoint in group.endpoints
    ]
