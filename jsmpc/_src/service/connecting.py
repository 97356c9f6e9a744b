"""`jsmpc.connect`: from a file of parties to a client of their service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsmpc._src.service.client import Client


def connect(
    config: str | os.PathLike[str],
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    patience: float = 10.0,
) -> Client:
    """A client of the service that `jsmpc serve` runs.

    Args:
      config: the file of the parties, `parties.toml`, with the client's certificate among
        `[clients]`.
      name: the client's.
      folder: where its identity is (`jsmpc keys new`); by default beside the file.
      patience: the seconds in which all parties have to be ready.

    Raises:
      ConfigError: if the file or the identity cannot be used.
      LinkError: naming a party that cannot be reached.
      ServiceError: if the parties are not ready in time, or do not serve the same.

    Guarantee: each party is who its certificate in the file says, and nobody else is asked.

    Example:
      >>> import jsmpc
      >>> with jsmpc.connect("parties.toml", name="carol") as service:  # doctest: +SKIP
      ...     logits = service.predict(images)
      >>> jsmpc.connect("no such file.toml", name="carol")
      Traceback (most recent call last):
          ...
      jsmpc._src.deployment.errors.ConfigError: no such file.toml: there is no such file. …
    """
    from jsmpc._src.service.client import Client  # with gRPC, for those who ask

    return Client(config, name, folder, patience)
