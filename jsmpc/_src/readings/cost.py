"""What a secure computation costs, counted from the messages that its endpoints exchange."""

from __future__ import annotations

import collections
import dataclasses

from jsmpc._src.jaxprs.structure import Scan, While
from jsmpc._src.readings.projection import schedule
from jsmpc._src.readings.projection.choreography import Block, Control, Message
from jsmpc._src.readings.projection.projection import Projection, messages


@dataclasses.dataclass(frozen=True)
class Cost:
    """Messages of one run.

    Attributes:
      rounds: online exchanges, one after another; what goes together in one is one round.
      bytes_sent: online bytes that each party sends.
      dealer_bytes: what the dealer sends beforehand.
      setup_bytes: what each endpoint, the dealer last, sends once a run before all else: seeds, and
        32 B to each other party where there are public arguments (online bytes, and a round more,
        where no seeds are sent).
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
    setup_bytes: tuple[int, ...] = ()

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


Label = tuple[str, str]  # a source line of the user's, and the operation there
START: Label = ("", "start")  # of what is no line's: seeds, inputs, the call itself


def label(line: str, operation: str) -> Label:
    """The label of what a line and an operation of the user's take."""
    return (line, operation) if line or operation else START


@dataclasses.dataclass
class Tally:
    """What is sent for one label: online bytes, messages, and the rounds that they take part in."""

    rounds: int = 0
    messages: int = 0
    size: int = 0


class Counter:
    """Counts the messages of a choreography that somebody needs.

    Attributes:
      sent, setup: bytes by the endpoint that sends them online, and once a run.
      dealt: bytes of the dealer's.
      tallies: what is online, by label.
      lower_bound: whether a loop of unknown length was counted once.
    """

    def __init__(self) -> None:
        self.sent: collections.Counter[int] = collections.Counter()
        self.setup: collections.Counter[int] = collections.Counter()
        self.dealt = 0
        self.tallies: dict[Label, Tally] = collections.defaultdict(Tally)
        self.lower_bound = False

    def rounds(self, block: Block, times: int = 1) -> int:
        """The online exchanges of a block, one after another, while its messages are counted."""
        online = [m for m in messages(block) if self._message(m, times)]
        for _, name in {(m.slot, label(m.line, m.operation)) for m in online}:
            self.tallies[name].rounds += times
        inner = [self._control(s, times) for s in block.steps if isinstance(s, Control) and s.at]
        return len({m.slot for m in online}) + sum(inner)

    def _message(self, message: Message, times: int) -> bool:
        """Counts a message; returns whether it is of the online phase."""
        size = message.size * times
        if message.phase == schedule.SETUP:
            self.setup[message.source] += size
        elif message.phase == schedule.OFFLINE:
            self.dealt += size
        else:
            self.sent[message.source] += size
            tally = self.tallies[label(message.line, message.operation)]
            tally.messages += times
            tally.size += size
        return message.phase == schedule.ONLINE

    def _control(self, step: Control, times: int) -> int:
        match step.form:
            case Scan() as loop:
                (body,) = step.blocks
                return self.rounds(body, times * loop.length) * loop.length
            case While():
                self.lower_bound = True
                return sum(self.rounds(block, times) for block in step.blocks)
        return max(self.rounds(block, times) for block in step.blocks)

    def by_line(self) -> dict[str, int]:
        """The online bytes of all endpoints, by line."""
        found: collections.Counter[str] = collections.Counter()
        for (line, _), tally in self.tallies.items():
            found[line] += tally.size
        return dict(found)


def measure(projection: Projection, parties: tuple[str, ...]) -> Cost:
    """The cost of a program, from what its endpoints really send."""
    counter = Counter()
    return cost_of(counter, counter.rounds(projection.block), projection, parties)


def cost_of(
    counter: Counter, rounds: int, projection: Projection, parties: tuple[str, ...]
) -> Cost:
    """What was counted, as a record."""
    sent = tuple(counter.sent[i] for i in range(len(parties)))
    setup = tuple(counter.setup[i] for i in range(len(projection.names)))
    by_line = counter.by_line()
    return Cost(rounds, sent, counter.dealt, by_line, parties, counter.lower_bound, setup)
