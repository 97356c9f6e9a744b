"""A worker as one party of a protocol: it meets the others, and takes its part of runs."""

from __future__ import annotations

import collections
import dataclasses
import os
import secrets
import socket
import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src import kernels
from jsmpc._src.api.kept import established
from jsmpc._src.api.session import Purpose, Session
from jsmpc._src.deployment.digests import Digests
from jsmpc._src.deployment.errors import AgreementError
from jsmpc._src.errors import LinkError, PointerError, ProtocolError
from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import sameness
from jsmpc._src.links import links, native
from jsmpc._src.links.exchange import exchange, halt
from jsmpc._src.links.links import Links
from jsmpc._src.plans.plan import Plan
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Projection
from jsmpc._src.runtime import prf
from jsmpc._src.transport.directory import Directory
from jsmpc._src.workers import fields
from jsmpc._src.workers.computing import Claim
from jsmpc._src.workers.descriptions import protocol_of
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.hired import Hired
from jsmpc._version import __version__

CALLS = frozenset({native.TARGET})  # what a party's own program calls besides
PATIENCE, SILENCE, STALL = 20.0, 4.0, 60.0  # seconds, as of links
_MOST = 16  # groups, and runs that were permitted and not begun


def terms() -> dict[str, str]:
    """What all workers of a group have in common."""
    return {"version": __version__, "kernels": sameness.digest()}


class Member(Session):
    """One endpoint of a group of workers."""

    def __init__(self, protocol: Protocol, endpoint: int, connected: Links) -> None:
        self.protocol, self.endpoint, self.links = protocol, endpoint, connected
        self._digests, self._lock = Digests(), threading.Lock()
        self.state = established(self)

    def run(
        self, projection: Projection, given: Sequence[jax.Array], purpose: Purpose
    ) -> list[jax.Array]:
        program = projection.program([self.endpoint], exchange, halt, kernels.evaluate)
        _, (out,) = jax.jit(program)(jnp.asarray(self.links.token), [list(given)])
        return list(out)

    def take(self, ticket: Ticket) -> list[Any]:
        """This endpoint's results of a run that all endpoints begin."""
        with self._lock, compat.protocol_mode():
            key = [prf.random_key()] if ticket.keyed else []
            given = [*self.state, *key, *ticket.claim.leaves]
            digests = [self._digests.together(given[i] for i in x) for x in ticket.compared]
            token = jnp.asarray(self.links.token)
            _, *out = ticket.plan.run([token, *given, *map(jnp.asarray, digests)], CALLS)
            return list(jax.block_until_ready(out))

    def number(self) -> str:
        raise ProtocolError("a worker of a group numbers no material")

    def spend(self, number: str | None) -> None:
        raise ProtocolError("a worker of a group has no material")

    def agreed(self, what: str, value: Any) -> Any:
        raise ProtocolError("a worker of a group stores no shares")


@dataclasses.dataclass(frozen=True)
class Ticket:
    """A run that was permitted: by whom it may be begun, and with what.

    Attributes:
      keyed: whether the endpoint's own key comes after its state.
      compared: which of what is given is public and compared with others', a digest each.
      groups: how many of its results are kept together.
    """

    member: Member
    plan: Plan
    claim: Claim
    keyed: bool
    compared: list[list[int]]
    groups: list[int | None]


class Members:
    """The groups that a worker belongs to, each for the caller who made it.

    Args:
      servant: the worker, whose operations they become.
    """

    def __init__(
        self, servant: Hired, directory: Directory, folder: str | os.PathLike[str] | None
    ) -> None:
        self._servant, self._directory, self._folder = servant, directory, folder
        self._name = servant.name
        self._members: collections.OrderedDict[tuple[str, str], Member] = collections.OrderedDict()
        self._listeners: collections.OrderedDict[tuple[str, str], socket.socket]
        self._listeners = collections.OrderedDict()
        self._tickets: collections.OrderedDict[tuple[str, str], Ticket] = collections.OrderedDict()
        self._lock = threading.Lock()
        servant.serve(
            listen=self._listen,
            join=self._join,
            prepare=self._prepare,
            compute=self._compute,
            leave=self._leave,
        )

    def _listen(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Where the others will find this one."""
        if (reason := native.why_unavailable()) is not None:
            raise LinkError(f"{self._name} cannot compute with others: {reason}")
        own = self._directory.worker(self._name)
        listener = socket.create_server((own.host, own.exchange or 0), backlog=_MOST)
        with self._lock:
            self._listeners[caller, fields.need(request, "group", str)] = listener
            while len(self._listeners) > _MOST:
                self._listeners.popitem(last=False)[1].close()
        return {"port": listener.getsockname()[1]}

    def _join(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Meets the others: all of them do so at the same time."""
        group, smpc = fields.need(request, "group", str), protocol_of(request)
        names, ports = fields.texts(request, "workers", 64), fields.need(request, "ports", list)
        if request.get("terms") != terms():
            raise AgreementError(
                f"{self._name} has another version of jsmpc, or other kernels, than who "
                "asks it. Install the same"
            )
        if len(names) != len(smpc.endpoints) or names.count(self._name) != 1:
            raise RequestError("a request to join a group of others")
        if len(ports) != len(names) or any(
            type(p) is not int or not 0 < p < 1 << 16 for p in ports
        ):
            raise RequestError("a request to join workers of whom not all have a port")
        pairs = zip(map(self._directory.worker, names), ports, strict=True)
        peers = [dataclasses.replace(peer, port=port, exchange=None) for peer, port in pairs]
        with self._lock:
            listener = self._listeners.pop((caller, group), None)
        if listener is None:
            raise PointerError(f"{self._name} does not listen for this group. Share again")
        endpoint = names.index(self._name)
        own = self._directory.identity(self._name, self._folder)
        with listener:
            connected = links.connect(
                endpoint,
                peers,
                listener=listener,
                identity=(str(own.certificate_path), str(own.key_path)),
                patience=PATIENCE,
                silence=SILENCE,
                stall=STALL,
            )
        try:
            member = Member(smpc, endpoint, connected)
        except BaseException:
            connected.abort("it could not be set up")
            raise
        with self._lock:
            self._members[caller, group] = member
            while len(self._members) > _MOST:
                self._members.popitem(last=False)[1].links.close()
        return {}

    def _prepare(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Permits a run, or refuses it, before anybody has begun."""
        member = self._member(caller, fields.need(request, "group", str))
        plan = self._servant.library.find(fields.need(request, "plan", str))
        if plan is None:
            return {"unknown": request["plan"]}
        inputs, compared = fields.need(request, "inputs", list), _compared(request)
        claim = self._servant.computing.claim(caller, plan.hash, plan.name, inputs)
        keyed = request.get("keyed") is True
        given = len(member.state) + keyed + len(claim.leaves)
        if any(i >= given for group in compared for i in group):
            raise RequestError("a request to compare what is not given")
        ticket = Ticket(member, plan, claim, keyed, compared, _groups(request))
        id = secrets.token_hex(16)
        with self._lock:
            self._tickets[caller, id] = ticket
            while len(self._tickets) > _MOST:
                self._tickets.popitem(last=False)
        return {"ticket": id}

    def _compute(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """Takes this worker's part of a run."""
        with self._lock:
            ticket = self._tickets.pop((caller, fields.need(request, "ticket", str)), None)
        if ticket is None:
            raise PointerError(f"{self._name} has not permitted this run. Call it again")
        connected = ticket.member.links
        try:
            results = ticket.member.take(ticket)
            return {
                "objects": self._servant.computing.keep(
                    ticket.claim, grouped(results, ticket.groups)
                )
            }
        except (jax.errors.JaxRuntimeError, ValueError) as error:
            failure = connected.failure
            connected.abort(f"it met {type(error).__name__}")
            if failure is None:
                raise
            raise LinkError(f"{self._name}: {failure}") from None
        except BaseException as error:
            connected.abort(f"it met {type(error).__name__}")
            raise

    def _leave(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            found = self._members.pop((caller, fields.need(request, "group", str)), None)
        if found is not None:
            found.links.close()
        return {}

    def _member(self, caller: str, group: str) -> Member:
        with self._lock:
            found = self._members.get((caller, group))
            if found is not None and found.links.failure is None:
                self._members.move_to_end((caller, group))
                return found
            self._members.pop((caller, group), None)
        raise LinkError(f"{self._name} is not in touch with its group any more")

    def close(self) -> None:
        """Ends all groups."""
        with self._lock:
            for member in self._members.values():
                member.links.close()
            for listener in self._listeners.values():
                listener.close()


def _compared(request: dict[str, Any]) -> list[list[int]]:
    found = fields.need(request, "compared", list)
    if any(type(x) is not list or any(type(i) is not int or i < 0 for i in x) for x in found):
        raise RequestError("a request to compare what is no list of numbers")
    return found


def _groups(request: dict[str, Any]) -> list[int | None]:
    found = fields.need(request, "groups", list)
    if any(x is not None and (type(x) is not int or not 0 <= x <= 64) for x in found):
        raise RequestError("a request to keep results in groups that there are not")
    return found


def grouped(results: Sequence[Any], counts: Sequence[int | None]) -> list[tuple[list[Any], Any]]:
    """Results in their groups, each with the form of its containers; RequestError."""
    if sum(1 if count is None else count for count in counts) != len(results):
        raise RequestError("a request to keep more results, or fewer, than there are")
    remaining, found = iter(results), []
    for count in counts:
        leaves = [next(remaining) for _ in range(1 if count is None else count)]
        found.append((leaves, None if count is None else {"tuple": [None] * count}))
    return found
