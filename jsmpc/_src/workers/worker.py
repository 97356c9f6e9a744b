"""Workers: who keeps values, and computes on them."""

from __future__ import annotations

import abc
import collections
import contextlib
import functools
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import forms
from jsmpc._src.api.share import is_share
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.log import Entry, opened
from jsmpc._src.errors import PlanError, PointerError
from jsmpc._src.jaxprs import tracing
from jsmpc._src.plans import specs
from jsmpc._src.plans.located import Located, Place
from jsmpc._src.plans.plan import Plan
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.workers.groups import Group, LocalGroup
from jsmpc._src.workers.handles import PlanPointer, RolesPointer
from jsmpc._src.workers.hired import Hired
from jsmpc._src.workers.pointer import Pointer, operand
from jsmpc._src.workers.policy import Policy
from jsmpc._src.workers.roles import Roles
from jsmpc._src.workers.servant import HERE, Ask
from jsmpc._src.workers.store import ROOM

Found = Pointer | PlanPointer | RolesPointer


class BaseWorker(Place, abc.ABC):
    """Who keeps values, and computes on them: in this process or in another one.

    Attributes:
      name: the worker's.
      released: ids of values to which the last pointer here is gone; told with the next request.
      known: the workers to which pointers that are kept here may lead, by name.
      groups: those of workers that this one is the first of, as parties of a protocol.
    """

    def __init__(self, name: str) -> None:
        self.name = identity.check_name(name)
        self.released: collections.deque[str] = collections.deque()
        self.known: dict[str, BaseWorker] = {self.name: self}
        self.groups: dict[Any, Group] = {}

    @abc.abstractmethod
    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request, from the worker itself."""

    def asked(self, doing: str, **request: Any) -> dict[str, Any]:
        """The reply to a request, after telling which pointers are gone."""
        gone = []
        with contextlib.suppress(IndexError):
            while True:
                gone.append(self.released.popleft())
        if gone:
            request["gone"] = gone
        return self.ask({"do": doing, **request})

    def asked_with(self, plan: Plan, doing: str, **request: Any) -> dict[str, Any]:
        """The reply to a request about a plan, which is sent where the worker does not know it."""
        reply = self.asked(doing, plan=plan.hash, **request)
        if "unknown" in reply:
            self.asked("plan", data=plan.to_bytes())
            reply = self.asked(doing, plan=plan.hash, **request)
        if "unknown" in reply:
            raise PlanError(f"{self.name} lets go of the plan {plan.name} before it runs")
        return reply

    # Values.

    def send(self, x: Any, tags: Sequence[str] = (), description: str = "") -> Any:
        """Keep a value at this worker; see `jsmpc.send`."""
        request = {"tags": _tags(tags), "description": description, "sources": []}
        if isinstance(x, Plan | Roles):
            kind = "plan" if isinstance(x, Plan) else "roles"
            return self._found(
                self.asked("put", kind=kind, data=x.to_bytes(), **request)["object"], x
            )
        if isinstance(x, Pointer):
            return self._send_pointer(x, request)
        if isinstance(x, Located):
            raise PointerError(
                f"send to {self.name}: {x!r} is one array of a pytree at a worker, which has no "
                "pointer of its own. Take it out: jsmpc.run(lambda x: x, part)"
            )
        arrays, form = _taken_apart(x, self.name)
        return self._found(
            self.asked("put", kind="value", leaves=arrays, form=form, **request)["object"]
        )

    def _send_pointer(self, x: Pointer, request: dict[str, Any]) -> Any:
        x.require_there("send")
        if x.location is self:
            raise PointerError(f"send to {self.name}: the value is there already")
        self.meet(x.location)
        reply = self.asked("put", kind="pointer", worker=x.location.name, id=x.id, **request)
        return self._found(reply["object"])

    def fetched(self, doing: str, id: str) -> Any:
        """A value, a pointer, a plan or roles that lie at this worker, brought here."""
        reply = self.asked(doing, id=id)
        if "info" in reply:
            place = self.known.get(reply["worker"])
            if place is None:
                raise PointerError(
                    f"get at {self.name}: it has a pointer to {reply['worker']}, which is not "
                    "known here. Connect to that worker too"
                )
            return place._found(reply["info"])
        if "leaves" in reply:
            return forms.tree_of(reply["form"], iter(map(_here, reply["leaves"])))
        return reply["data"]

    def forwarded(self, id: str, to: BaseWorker) -> Pointer:
        """A value moved to another worker."""
        if to is self:
            raise PointerError(f"move at {self.name}: the value is there already")
        self.meet(to)
        found = to._found(self.asked("move", id=id, to=to.name)["object"])
        to.known.update({name: w for name, w in self.known.items() if name not in to.known})
        return found

    def meet(self, other: BaseWorker) -> None:
        """Makes another worker known to this one, where it does not know it by itself.

        Raises:
          PointerError: if another one of the same name is known.
        """
        if self.known.setdefault(other.name, other) is not other:
            raise PointerError(
                f"{self.name} knows another worker of the name {other.name}. Give each its own name"
            )

    # Shares.

    def shared(self, key: Any, tree: Any, protocol: Protocol, workers: Sequence[BaseWorker]) -> Any:
        """A pytree whose arrays are shared among workers, of which this is one."""
        kinds = {isinstance(worker, Worker) for worker in workers}
        if len(kinds) > 1:
            raise PointerError(
                "share among workers of which some are in this process and some are not: they "
                "cannot reach each other. Take all of one kind"
            )
        place = protocol, tuple(worker.name for worker in workers)
        if place not in self.groups:
            self.groups[place] = workers[0].group(protocol, workers)
        return self.groups[place].shared(key, tree)

    @abc.abstractmethod
    def group(self, protocol: Protocol, workers: Sequence[Any]) -> Group:
        """These workers as the parties of a protocol."""

    # What is there.

    @property
    def objects(self) -> dict[str, str]:
        """What lies at this worker: a line for each object by its id, and no value."""
        found = self.asked("find", words=[])["objects"]
        return {x["id"]: _line(x) for x in found}

    def search(self, *words: str) -> list[Found]:
        """Pointers to all objects of which each word is a tag, or stands in the description."""
        found = self.asked("find", words=_tags(words), hold=True)["objects"]
        return [self._found(x) for x in found]

    def clear(self) -> int:
        """Delete all that the caller has brought here or had computed; how many objects."""
        return int(self.asked("clear")["objects"])

    # Plans.

    def run(self, plan: Plan, leaves: Sequence[Any]) -> list[Any]:
        """The leaves of a plan's result, which stay at this worker, from those of its arguments."""
        reply = self.asked_with(plan, "run", inputs=[operand(x) for x in leaves])
        return [self._found(x) for x in reply["objects"]]

    def _found(self, info: dict[str, Any], content: Any = None) -> Any:
        if info["kind"] == "plan":
            return PlanPointer(self, info, content)
        if info["kind"] == "roles":
            return RolesPointer(self, info, content)
        return Pointer(self, info)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Worker(BaseWorker):
    """A worker in this process: the same as a remote one, for trying things out.

    It hides nothing from this process.

    Args:
      name: 1 to 64 letters, digits, _ and -.
      policy: what its owner permits, or the file that says it; by default everything.
      log: a file for the log; by default it is in memory.
      room: the bytes that all values there may take.

    Raises:
      ConfigError: for a name that no worker may have; PolicyError, LogError for bad files.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> bob = jsmpc.Worker("bob")
      >>> x = bob.send(jnp.array([1.0, 2.0]), tags=["#x"], description="two numbers")
      >>> x.shape, x.location, x.tags
      ((2,), Worker('bob'), ('#x',))
      >>> (x + x).get()
      Array([2., 4.], dtype=float32)
      >>> len(bob.objects), bob.search("#x")[0].description
      (1, 'two numbers')
      >>> x.get(), len(bob.objects)
      (Array([1., 2.], dtype=float32), 0)
    """

    def __init__(
        self,
        name: str,
        policy: Policy | str | os.PathLike[str] | None = None,
        log: str | os.PathLike[str] | None = None,
        room: int = ROOM,
    ) -> None:
        super().__init__(name)
        permitted = policy if isinstance(policy, Policy) else Policy.load(policy)
        self._closing = contextlib.ExitStack()
        book = None if log is None else self._closing.enter_context(opened(log))
        self.servant = Hired(self.name, permitted, book, room, self._peer)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return self.servant.handle(HERE, request)

    def group(self, protocol: Protocol, workers: Sequence[Worker]) -> Group:
        return LocalGroup(protocol, workers)

    def _peer(self, name: str) -> Ask:
        found = self.known.get(name)
        if found is None:
            raise PointerError(f"{self.name} knows no worker {name!r}")
        if isinstance(found, Worker):
            return functools.partial(found.servant.handle, self.name)
        return lambda request: found.ask({k: v for k, v in request.items() if k not in _ABOUT})

    def offer(self, x: Any, tags: Sequence[str] = (), description: str = "") -> Pointer:
        """Keep data of the owner's, to which the policy applies whoever asks."""
        arrays, form = _taken_apart(x, self.name)
        return Pointer(
            self, self.servant.keeping.offer(arrays, form, _tags(tags), description).info()
        )

    @property
    def log(self) -> list[Entry]:
        """What was asked of it, in the order of asking."""
        return list(self.servant.book.read())

    def close(self) -> None:
        """Closes the log's file."""
        self._closing.close()


_ABOUT = ("holder", "asked_by")  # what workers tell of who asks them; in one process it is one


def send(x: Any, to: BaseWorker, tags: Sequence[str] = (), description: str = "") -> Any:
    """Keep a value at a worker; a pointer to it.

    Args:
      x: an array, dictionaries, lists and tuples of arrays, a pointer, a plan or roles.
      to: the worker.
      tags: words to find it by, such as `#radio`; description: a sentence for who finds it.

    Raises:
      PointerError: for a worker without room, or a pointer to what is not there any more.
      TypeError: for another kind of container or value.

    Guarantee: the worker, and whoever may ask it for values, learns the value.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
      >>> x = jsmpc.send(jnp.arange(3.0), bob)
      >>> y = jsmpc.send(x, alice)  # a pointer to a pointer
      >>> jsmpc.get((y + y).get())
      Array([0., 2., 4.], dtype=float32)
    """
    if not isinstance(to, BaseWorker):
        raise PointerError(f"send: {type(to).__name__} is no worker. Pass jsmpc.Worker('bob')")
    return to.send(x, tags, description)


def get(tree: Any) -> Any:
    """The values of all pointers of a pytree, brought back; see `Pointer.get`.

    Args:
      tree: a pytree; its other leaves are returned as they are.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> bob = jsmpc.Worker("bob")
      >>> x = bob.send(jnp.arange(3.0))
      >>> jsmpc.get({"sum": x.sum(), "twice": x + x})
      {'sum': Array(3., dtype=float32), 'twice': Array([0., 2., 4.], dtype=float32)}
    """
    return jax.tree.map(lambda x: x.get() if hasattr(x, "location") else x, tree)


def search(words: str | Sequence[str], workers: Sequence[BaseWorker]) -> dict[str, list[Found]]:
    """What lies at some workers and has all of the words as tags, or in its description.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> bob, alice = jsmpc.Worker("bob"), jsmpc.Worker("alice")
      >>> x = bob.send(jnp.ones(3), tags=["#radio", "#2019"])
      >>> found = jsmpc.search("#radio", [bob, alice])
      >>> found["bob"][0].tags, found["alice"]
      (('#radio', '#2019'), [])
    """
    asked = [words] if isinstance(words, str) else list(words)
    return {w.name: w.search(*asked) for w in workers}


def _tags(tags: Sequence[str]) -> list[str]:
    if isinstance(tags, str) or any(not isinstance(tag, str) for tag in tags):
        raise PointerError('tags are a list of strings, such as ["#radio"]')
    return list(tags)


def _is_leaf(x: Any) -> bool:
    return is_share(x) or hasattr(x, "dtype") or isinstance(x, bool | int | float | complex)


def _taken_apart(x: Any, name: str) -> tuple[list[Any], Any]:
    """The arrays of a value that is for a worker, and the form of their containers."""
    leaves: list[Any] = []
    form = forms.form_of(x, leaves, _is_leaf)
    return [_array(leaf, name) for leaf in leaves], form


def _array(x: Any, name: str) -> Any:
    if is_share(x):
        raise PointerError(
            f"send to {name}: a share goes to all of its parties, none of whom may have the parts "
            "of the others. Use jsmpc.share(key, x, protocol, workers=…)"
        )
    if tracing.is_traced(x):
        raise PointerError(
            f"send to {name} in a function that is being traced, where values are not known. Send "
            "outside of jit, grad and vmap"
        )
    if jax.dtypes.issubdtype(getattr(x, "dtype", np.float32), jax.dtypes.extended):
        raise PointerError(
            f"send to {name}: keys do not travel as such. Send jax.random.key_data(key), and wrap "
            "it in the function: jax.random.wrap_key_data"
        )
    if isinstance(x, np.ndarray | np.generic) and specs.is_wide(x.dtype):
        return _here(x.copy())
    found = jnp.array(x)  # a copy: what is sent does not change any more
    return jnp.asarray(found, found.dtype)  # as strong a type as it has where it arrives


def _here(x: Any) -> Any:
    """An array that came, in its own width."""
    if isinstance(x, jax.Array):
        return x
    with jax.enable_x64(True):
        return jnp.asarray(x)


def _line(info: dict[str, Any]) -> str:
    types = ", ".join(f"{dtype}[{','.join(map(str, shape))}]" for dtype, shape in info["types"])
    what = types if info["kind"] == "value" else " ".join(filter(None, (info["kind"], types)))
    return " ".join([what, *info["tags"]])
