"""Workers in processes of their own, on this machine or another one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from jsmpc._src.errors import PlanError, PointerError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.directory import Directory
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.groups import Group
from jsmpc._src.workers.remote_group import RemoteGroup
from jsmpc._src.workers.worker import BaseWorker

KINDS = (PlanError, PointerError, RequestError)  # of errors, as workers raise them


class RemoteWorker(BaseWorker):
    """A worker in a process of its own; made by `jsmpc.workers`.

    All that `jsmpc.Worker` can do but what its owner alone can.
    """

    def __init__(self, name: str, channel: Channel) -> None:
        super().__init__(name)
        self._channel = channel

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return self._channel.call(request)

    def meet(self, other: BaseWorker) -> None:
        if not isinstance(other, RemoteWorker):
            raise PointerError(
                f"{self.name} is a process of its own, and cannot reach {other.name}, which lives "
                "in this one. Get the value and send it"
            )
        super().meet(other)

    def group(self, protocol: Protocol, workers: Sequence[BaseWorker]) -> Group:
        return RemoteGroup(protocol, workers)

    def close(self) -> None:
        """Ends the connection; what lies at the worker stays there."""
        self._channel.close()


def workers(
    config: str | os.PathLike[str], name: str, folder: str | os.PathLike[str] | None = None
) -> dict[str, RemoteWorker]:
    """The workers that a file names, each in a process of its own (`jsmpc worker`).

    Args:
      config: the file of workers and clients, workers.toml.
      name: who asks them: one of its clients or workers.
      folder: where the identity of that one is; beside the file by default.

    Returns:
      the workers by their names. A worker need not run before it is asked.

    Raises:
      ConfigError: if the file or the identity cannot be used.

    Guarantee: connections are encrypted by TLS 1.3, and both ends show the certificate that is in
    the file of the other. A worker learns what is sent to it, what is computed there, and who asks.

    Example:
      >>> import jsmpc
      >>> jsmpc.workers("no such file.toml", "carol")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.ConfigError: no such file.toml: there is no such file. …
    """
    directory = Directory.load(config)
    found = {
        target: RemoteWorker(target, Channel(directory, name, folder, target, kinds=KINDS))
        for target in directory.workers
        if target != name
    }
    for worker in found.values():
        worker.known = found  # type: ignore[assignment]
    return found
