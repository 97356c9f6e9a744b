"""What a secure computation costs, counted from the messages in its program."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from jsmpc._src.jaxprs import compat, lines, walk
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure
from jsmpc._src.network.messages import message_p

DEALER = "dealer"


@dataclasses.dataclass(frozen=True)
class Cost:
    """Messages of one run.

    Attributes:
      rounds: online messages that wait for one another, the longest chain.
      bytes_sent: online bytes that each party sends.
      dealer_bytes: what the dealer sends beforehand.
      by_line: online bytes of all parties together, by the user's source line.
      lower_bound: whether a loop of unknown length was counted once.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.Additive(parties=("bob", "alice"), dealer="james")
      >>> x = jsmpc.share(jsmpc.random_key(), jnp.ones((2, 3)), smpc)
      >>> cost = jsmpc.secure(lambda x: x @ x.T).cost(x)
      >>> cost.rounds, cost.bytes_sent, cost.dealer_bytes
      (2, (128, 128), 96)
    """

    rounds: int
    bytes_sent: tuple[int, ...]
    dealer_bytes: int
    by_line: dict[str, int]
    parties: tuple[str, ...] = ()
    lower_bound: bool = False

    @property
    def bytes_per_party(self) -> float:
        """The mean over the parties of the online bytes sent."""
        return sum(self.bytes_sent) / max(len(self.bytes_sent), 1)

    def __str__(self) -> str:
        sent = ", ".join(f"{p} {b:,} B" for p, b in zip(self.parties, self.bytes_sent, strict=True))
        least = "at least " if self.lower_bound else ""
        dealer = f"; the dealer sends {self.dealer_bytes:,} B" if self.dealer_bytes else ""
        lines = sorted(self.by_line.items(), key=lambda item: -item[1])
        table = "".join(f"\n  {count:>14,} B  {line}" for line, count in lines)
        return f"{least}{self.rounds} rounds; sent: {sent}{dealer}{table}"


class _Counter:
    """Counts messages while it finds after how many rounds each value is known."""

    def __init__(self) -> None:
        self.sent: collections.Counter[Any] = collections.Counter()
        self.dealt = 0
        self.lines: collections.Counter[str] = collections.Counter()
        self.lower_bound = False

    def depths(self, jaxpr: Any, starts: Sequence[int], times: int) -> list[int]:
        """The round after which each output is known, given those of the inputs."""

        def apply(eqn: Any, operands: list[int]) -> list[int]:
            return self._equation(eqn, operands, times)

        return walk.evaluate(jaxpr, starts, apply, lift=lambda _: 0)

    def _equation(self, eqn: Any, operands: list[int], times: int) -> list[int]:
        latest, count = max(operands, default=0), len(eqn.outvars)
        match structure(eqn):
            case Call(body):
                return self.depths(body, operands, times)
            case Scan() as loop:
                rounds = self._alone(loop.body, times * loop.length)
                return [latest + rounds * loop.length] * count
            case While() as loop:
                self.lower_bound = True
                rounds = max(self._alone(f, times) for f in (loop.condition, loop.body))
                return [latest + rounds] * count
            case Branches(branches):
                return [latest + max(self._alone(b, times) for b in branches)] * count
        return [latest + (eqn.primitive is message_p and self._message(eqn, times))] * count

    def _alone(self, jaxpr: Any, times: int) -> int:
        """The rounds of a sub-program that begins when all its inputs are known."""
        inputs = compat.open_jaxpr(jaxpr)[0].invars
        return max(self.depths(jaxpr, [0] * len(inputs), times), default=0)

    def _message(self, eqn: Any, times: int) -> int:
        """Counts a message; returns how many rounds it takes."""
        aval, source, phase = eqn.invars[0].aval, eqn.params["source"], eqn.params["phase"]
        size = aval.size * aval.dtype.itemsize * times
        if source == DEALER:
            self.dealt += size
        elif phase == "online":
            self.sent[source] += size
            self.lines[lines.user_line(eqn)] += size
            return 1
        return 0


def measure(jaxpr: Any, parties: tuple[str, ...]) -> Cost:
    """The cost of a simulated program, from its jaxpr."""
    counter = _Counter()
    inputs = compat.open_jaxpr(jaxpr)[0].invars
    rounds = max(counter.depths(jaxpr, [0] * len(inputs), 1), default=0)
    sent = tuple(counter.sent[i] for i in range(len(parties)))
    return Cost(rounds, sent, counter.dealt, dict(counter.lines), parties, counter.lower_bound)
