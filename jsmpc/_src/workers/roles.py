"""Plans by fictive roles: who does what in turn, before it is known who will be whom."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from jsmpc._src.api.files import replaced
from jsmpc._src.deployment import identity
from jsmpc._src.errors import PlanError
from jsmpc._src.plans.plan import Plan

if TYPE_CHECKING:
    from jsmpc._src.workers.worker import BaseWorker

_MARK = "jsmpc roles 1"


class Roles:
    """Plans in the order in which they run, each by the role of who runs it.

    The first plan takes what the whole is run on; each of the others what the one before it gave,
    which moves from worker to worker.

    Args:
      plans: from roles to plans.

    Raises:
      PlanError: for something that is no plan, or no role.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> scale = jsmpc.plan(lambda x: 2 * x, "float32[3]", name="scale")
      >>> total = jsmpc.plan(jnp.sum, "float32[3]")
      >>> roles = jsmpc.Roles({"worker1": scale, "worker2": total})
      >>> roles.run(jnp.ones(3))
      Array(6., dtype=float32)
      >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
      >>> found = roles.deploy(worker1=bob, worker2=alice).run(jnp.ones(3))
      >>> found.location.name, found.get()
      ('alice', Array(6., dtype=float32))
    """

    def __init__(self, plans: Mapping[str, Plan]) -> None:
        for role, one in plans.items():
            identity.check_name(role)
            if not isinstance(one, Plan):
                raise PlanError(
                    f"the role {role!r} has no plan but a {type(one).__name__}. Make it one with "
                    "jsmpc.plan(f, shapes)"
                )
        if not plans:
            raise PlanError("roles without a plan. Give one: Roles({'worker1': plan})")
        self.plans = dict(plans)

    def deploy(self, *workers: BaseWorker, **named: BaseWorker) -> Deployed:
        """The same plans with workers in the place of roles, in their order or by their names.

        Each plan is sent to its worker.

        Raises:
          PlanError: unless each role has one worker.
        """
        found = dict(zip(self.plans, workers, strict=False)) | named
        if len(workers) + len(named) != len(self.plans) or set(found) != set(self.plans):
            raise PlanError(
                f"the roles are {', '.join(self.plans)}, and {len(workers) + len(named)} workers "
                "were given for them. Give each role one"
            )
        return Deployed(self, {role: found[role] for role in self.plans})

    def run(self, *args: Any) -> Any:
        """The result, computed here."""
        return _in_turn(list(self.plans.values()), args)

    def to_bytes(self) -> bytes:
        """All of it as bytes."""
        plans = [[role, one.to_bytes()] for role, one in self.plans.items()]
        data: bytes = msgpack.packb([_MARK, plans])
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Roles:
        """The inverse of `to_bytes`; PlanError for anything else."""
        try:
            mark, plans = msgpack.unpackb(data, use_list=False)
            found = [(role, bytes(one)) for role, one in plans if type(role) is str]
        except (ValueError, TypeError):  # of msgpack's, too
            mark, found = None, []
        if mark != _MARK:
            raise PlanError("plans by roles cannot be read. Make them anew")
        return cls({role: Plan.from_bytes(one) for role, one in found})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file; the file's path."""
        file = Path(path)
        with replaced(file) as stream:
            stream.write(self.to_bytes())
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Roles:
        """Read what `save` wrote; PlanError if it is missing or damaged."""
        try:
            return cls.from_bytes(Path(path).read_bytes())
        except OSError as error:
            raise PlanError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None

    def __repr__(self) -> str:
        return f"Roles({', '.join(f'{role}: {one.name}' for role, one in self.plans.items())})"


class Deployed:
    """Plans by roles with the workers that have them; made by `Roles.deploy`."""

    def __init__(self, roles: Roles, workers: dict[str, BaseWorker]) -> None:
        self.roles, self.workers = roles, workers
        self._sent = {role: workers[role].send(one) for role, one in roles.plans.items()}

    def run(self, *args: Any) -> Any:
        """The result, at the last worker; arguments go, or move, to the first one."""
        for role, worker in self.workers.items():
            args = tuple(_brought(x, worker) for x in args)
            result = self._sent[role](*args)
            args = result if isinstance(result, tuple) else (result,)
        return result

    def __repr__(self) -> str:
        shown = ", ".join(f"{role}: {w.name}" for role, w in self.workers.items())
        return f"Deployed({shown})"


def _in_turn(plans: Sequence[Plan], args: tuple[Any, ...]) -> Any:
    result: Any = None
    for one in plans:
        result = one(*args)
        args = result if isinstance(result, tuple) else (result,)
    return result


def _brought(x: Any, worker: BaseWorker) -> Any:
    """A value, or a pointer to one, as a pointer at a worker."""
    location = getattr(x, "location", None)
    if location is worker:
        return x
    return worker.send(x) if location is None else x.move(worker)
