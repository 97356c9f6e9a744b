"""What a secure computation costs, counted from the messages in its program."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from jsmpc import compat
from jsmpc.network import message_p

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
    def __init__(self) -> None:
        self.sent: collections.Counter[Any] = collections.Counter()
        self.dealt = 0
        self.lines: collections.Counter[str] = collections.Counter()
        self.lower_bound = False

    def message(self, eqn: Any, times: int) -> int:
        """Counts a message; returns how many rounds it takes."""
        aval, source, phase = eqn.invars[0].aval, eqn.params["source"], eqn.params["phase"]
        count = aval.size * aval.dtype.itemsize * times
        if source == DEALER:
            self.dealt += count
        elif phase == "online":
            self.sent[source] += count
            self.lines[compat.user_line(eqn)] += count
            return 1
        return 0

    def depths(self, jaxpr: Any, starts: Sequence[int], times: int) -> list[int]:
        """The round after which each output is known, given those of the inputs."""
        jaxpr, _ = compat.open_jaxpr(jaxpr)
        known = dict(zip(jaxpr.invars, starts, strict=True))
        for eqn in jaxpr.eqns:
            operands = [0 if hasattr(v, "val") else known.get(v, 0) for v in eqn.invars]
            known.update(zip(eqn.outvars, self._equation(eqn, operands, times), strict=True))
        return [0 if hasattr(v, "val") else known.get(v, 0) for v in jaxpr.outvars]

    def _equation(self, eqn: Any, operands: list[int], times: int) -> list[int]:
        latest, count = max(operands, default=0), len(eqn.outvars)
        if eqn.primitive is message_p:
            return [latest + self.message(eqn, times)]
        inner = [
            v for p in eqn.params.values() for v in (p if isinstance(p, tuple | list) else [p])
        ]
        inner = [v for v in inner if hasattr(compat.open_jaxpr(v)[0], "eqns")]
        if not inner:
            return [latest] * count
        whole = len(inner) == 1 and len(compat.open_jaxpr(inner[0])[0].invars) == len(operands)
        if whole and eqn.primitive.name != "scan":
            return self.depths(inner[0], operands, times)
        if eqn.primitive.name == "while":
            self.lower_bound = True
        length = eqn.params.get("length", 1)
        rounds = 0
        for body in inner:
            zeros = [0] * len(compat.open_jaxpr(body)[0].invars)
            rounds = max([rounds, *self.depths(body, zeros, times * length)])
        return [latest + rounds * length] * count


def measure(jaxpr: Any, parties: tuple[str, ...]) -> Cost:
    """The cost of a simulated program, from its jaxpr."""
    counter = _Counter()
    inputs = compat.open_jaxpr(jaxpr)[0].invars
    rounds = max(counter.depths(jaxpr, [0] * len(inputs), 1), default=0)
    sent = tuple(counter.sent[i] for i in range(len(parties)))
    return Cost(rounds, sent, counter.dealt, dict(counter.lines), parties, counter.lower_bound)
