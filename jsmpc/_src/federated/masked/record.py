"""What a server knows of a round besides its result."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """A message that was not taken.

    Attributes:
      step: the name of the step that was open.
      client: who it says that it is from, if that can be read; None otherwise.
      reason: "malformed", "signature", "another round", "duplicate", "late", "unknown", "equal
        keys", "out of order" or "excluded".
    """

    step: str
    client: int | None
    reason: str


@dataclasses.dataclass
class RoundRecord:
    """What became of each client in a round. Kept by the server, filled as the round goes.

    Attributes:
      round_number: of the round.
      dropped: by client, the step at which no valid message of it came in time.
      declined: by client, the reason that it gave; such a client is among the dropped ones too.
      excluded: by client, why the server went on without it, as "too few neighbours".
      refused: messages that were not taken, in order.
      accused: by client, those who say that its shares are not what it has committed to.
      false_shares: by client, those whose shares it gave otherwise than they had committed to.
      survivors: those whose updates count.

    Example:
      >>> import jax, numpy as np
      >>> from jsmpc import federated
      >>> setup = federated.OneServer.full(
      ...     clients=4, dropping=1, quantization=federated.Quantization(clip=1.0),
      ...     like=jax.ShapeDtypeStruct((2,), np.float32))
      >>> updates = np.float32([[0, 1], [0, 1], [0, np.nan], [0, 1]])
      >>> record = federated.simulate(setup, updates).result.record
      >>> record.survivors, record.dropped, record.declined
      ((0, 1, 3), {2: 'mask'}, {2: 'not finite'})
    """

    round_number: int
    dropped: dict[int, str] = dataclasses.field(default_factory=dict)
    declined: dict[int, str] = dataclasses.field(default_factory=dict)
    excluded: dict[int, str] = dataclasses.field(default_factory=dict)
    refused: list[Refusal] = dataclasses.field(default_factory=list)
    accused: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    false_shares: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    survivors: tuple[int, ...] = ()


class RoundResult(NamedTuple):
    """What comes of a round.

    Attributes:
      mean: the weighted mean of the survivors' updates, a pytree as they are.
      weight: the sum of their weights.
      record: what became of everyone.
    """

    mean: Any
    weight: int
    record: RoundRecord
