"""What goes wrong in a round."""

from __future__ import annotations

from collections.abc import Iterable

from jsmpc._src.errors import FederatedError


class RoundError(FederatedError):
    """A round that cannot go on, or a message that belongs to no step of it.

    Attributes:
      reason: in a few words, for counts.
      clients: whose fault it is, where that is known.

    Example:
      >>> import jax, numpy as np
      >>> from jsmpc import federated
      >>> setup = federated.OneServer(
      ...     clients=3, threshold=2, quantization=federated.Quantization(clip=1.0),
      ...     like=jax.ShapeDtypeStruct((4,), np.float32))
      >>> federated.RoundServer(setup, 1).close()
      Traceback (most recent call last):
          ...
      jsmpc.federated.RoundError: round 1: advertise: 0 clients are there, at least 2 are needed. …
    """

    def __init__(self, text: str, reason: str, clients: Iterable[int] = ()) -> None:
        super().__init__(text)
        self.reason = reason
        self.clients = tuple(clients)
