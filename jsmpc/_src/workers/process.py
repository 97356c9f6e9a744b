"""A worker as a process: serves until it is told to stop."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jsmpc._src.api import forms
from jsmpc._src.deployment import log
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.server import Server
from jsmpc._src.workers.hired import Hired
from jsmpc._src.workers.members import Members
from jsmpc._src.workers.policy import Policy
from jsmpc._src.workers.remote import KINDS
from jsmpc._src.workers.servant import Ask
from jsmpc._src.workers.store import ROOM

GRACE = 10.0  # seconds for what runs when it is told to stop


@dataclasses.dataclass(frozen=True)
class Employment:
    """Who a worker is and what it has.

    Attributes:
      name: the worker's; config: the file of workers and clients.
      folder: where its identity is; beside the file by default.
      listen: an address to listen at in the place of the configured one.
      policy: a file that says what is permitted; without one everything is.
      log: `NAME.log` beside the identity by default.
      data: files of arrays, npy or npz, that are the owner's own; tags, description: of these.
        In an npz file, names such as `params/kernel` stand for dictionaries in each other.
      room: the bytes that all values may take.
      calls: how many requests are worked on at the same time.
    """

    name: str
    config: Path
    folder: Path | None = None
    listen: tuple[str, int] | None = None
    policy: Path | None = None
    log: Path | None = None
    data: Sequence[Path] = ()
    tags: Sequence[str] = ()
    description: str = ""
    room: int = ROOM
    calls: int = 16


def run(employment: Employment) -> int:
    """Serves until SIGTERM or SIGINT, then finishes what runs; 0."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with _serving(employment) as server:
        print(f"{employment.name} answers at {server}", flush=True)
        stop.wait()
    return 0


@contextlib.contextmanager
def _serving(employment: Employment) -> Any:
    """A worker that answers, as long as the context lasts: where it does."""
    directory = Directory.load(employment.config)
    name, folder = employment.name, employment.folder
    policy = Policy.load(employment.policy)
    place = folder or employment.config.parent
    with contextlib.ExitStack() as stack:
        peers = _Peers(directory, name, folder, stack)
        book = stack.enter_context(log.opened(employment.log or place / f"{name}.log"))
        servant = Hired(name, policy, book, employment.room, peers.ask)
        for file in employment.data:
            leaves, form = _read(file)
            servant.keeping.offer(leaves, form, employment.tags, employment.description)
        stack.enter_context(contextlib.closing(Members(servant, directory, folder)))
        here = _listening(directory, employment)
        server = Server(here, name, folder, servant.handle, calls=employment.calls)
        stack.callback(server.stop, GRACE)
        address = here.worker(name)
        yield f"{address.host}:{address.port}"


def _listening(directory: Directory, employment: Employment) -> Directory:
    if employment.listen is None:
        return directory
    host, port = employment.listen
    own = dataclasses.replace(directory.worker(employment.name), host=host, port=port)
    return dataclasses.replace(directory, workers={**directory.workers, employment.name: own})


def _read(file: Path) -> tuple[list[Any], Any]:
    """The arrays of a file, and their containers."""
    try:
        found = np.load(file, allow_pickle=False)
        tree = found if isinstance(found, np.ndarray) else _nested(found)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"--data: {file} holds no arrays that can be read ({type(error).__name__}). Write it "
            "with numpy.save or numpy.savez"
        ) from None
    leaves: list[Any] = []
    return leaves, forms.form_of(tree, leaves, lambda x: isinstance(x, np.ndarray))


def _nested(found: Any) -> Any:
    """The arrays of an npz file; names such as `params/kernel` stand for dictionaries."""
    from flax.traverse_util import unflatten_dict  # which takes half a second to import

    return unflatten_dict({key: found[key] for key in found.files}, sep="/")


class _Peers:
    """The other workers, as this one asks them; connections are made when they are needed."""

    def __init__(self, directory: Directory, name: str, folder: Any, stack: Any) -> None:
        self._directory, self._name, self._folder, self._stack = directory, name, folder, stack
        self._channels: dict[str, Channel] = {}
        self._lock = threading.Lock()

    def ask(self, name: str) -> Ask:
        with self._lock:
            if name not in self._channels:
                made = Channel(self._directory, self._name, self._folder, name, kinds=KINDS)
                self._channels[name] = self._stack.enter_context(made)
            return self._channels[name].call
