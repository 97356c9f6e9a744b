"""The price of a secure function, as a record, a table and a plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.cost import Cost, Counter, Label, cost_of
from jsmpc._src.readings.pricing import memory, timeline
from jsmpc._src.readings.pricing.advice import Hint
from jsmpc._src.readings.pricing.network import Network
from jsmpc._src.readings.pricing.simulation import Duration, simulate
from jsmpc._src.readings.pricing.speeds import Speeds
from jsmpc._src.readings.pricing.tables import amount, duration, place, table
from jsmpc._src.readings.pricing.work import Amounts
from jsmpc._src.readings.projection.projection import Projection

_SHOWN = 12  # parts in a table
_LITTLE = 0.001  # a share of the seconds that is not shown


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a price: of one line, of one operation, or of one operation of one line.

    Attributes:
      rounds: in which it sends something; parts that share a round both count it.
      messages, bytes: that all parties send for it.
      seconds: of a run, by network, that the last party to end spends on it.
    """

    rounds: int
    messages: int
    bytes: int
    seconds: Mapping[str, float]

    def __add__(self, other: Part) -> Part:
        seconds = {name: s + other.seconds[name] for name, s in self.seconds.items()}
        counts = self.rounds + other.rounds, self.messages + other.messages
        return Part(*counts, self.bytes + other.bytes, seconds)


@dataclasses.dataclass(frozen=True)
class Profile:
    """What `jsmpc.profile` found: the price of a secure function before it runs.

    Attributes:
      function: its name.
      protocol: that it is computed under.
      cost: rounds and bytes, as `secure(f).cost` tells them.
      messages: online, of all parties.
      operations: of each endpoint, the dealer last: words of elementwise results, multiply-adds
        of products of matrices, words drawn from the generator.
      peak_memory: the bytes that each endpoint's program holds at most, itself left out, from the
        lives of its values; the compiler reuses some more, or less.
      parts: by (line, operation).
      networks: that seconds are predicted for.
      seconds: of a run by network, compiled and with its inputs shared.
      local_seconds: of these, in which the last party to end computes, or encrypts.
      advice: what to write instead of what is dear.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> secret = jax.ShapeDtypeStruct((1000,), jnp.float32)
      >>> price = jsmpc.profile(jax.nn.relu, secret)
      >>> price.rounds, price.bytes_sent, price.seconds["WAN"] > price.seconds["LAN"]
      (8, (30694, 30694, 30612), True)
      >>> list(price.by_operation)
      ['max', 'start']
    """

    function: str
    protocol: Protocol
    cost: Cost
    messages: int
    operations: tuple[Mapping[str, int], ...]
    peak_memory: tuple[int, ...]
    parts: Mapping[Label, Part]
    networks: tuple[Network, ...]
    seconds: Mapping[str, float]
    local_seconds: Mapping[str, float]
    advice: tuple[Hint, ...]

    @property
    def rounds(self) -> int:
        """Online exchanges, one after another."""
        return self.cost.rounds

    @property
    def bytes_sent(self) -> tuple[int, ...]:
        """Online bytes that each party sends."""
        return self.cost.bytes_sent

    @property
    def busiest(self) -> str:
        """The party that sends most."""
        sent = self.cost.bytes_sent
        return self.cost.parties[sent.index(max(sent))]

    @property
    def dealer_bytes(self) -> int:
        """What the dealer sends."""
        return self.cost.dealer_bytes

    @property
    def setup_bytes(self) -> tuple[int, ...]:
        """Seeds that each endpoint sends once a run."""
        return self.cost.setup_bytes

    @property
    def lower_bound(self) -> bool:
        """Whether a loop of unknown length was counted once."""
        return self.cost.lower_bound

    @property
    def by_line(self) -> dict[str, Part]:
        """The parts by the user's source line, the longest first."""
        return self._by(lambda label: label[0])

    @property
    def by_operation(self) -> dict[str, Part]:
        """The parts by the primitive of the user's function, the longest first."""
        return self._by(lambda label: label[1])

    def as_dict(self) -> dict[str, Any]:
        """All of it as numbers, strings, lists and dicts, to be stored as JSON."""
        sent = zip(self.cost.parties, self.bytes_sent, strict=True)
        names = self.protocol.endpoints
        return {
            "function": self.function,
            "protocol": protocol_name(self.protocol),
            "rounds": self.rounds,
            "lower_bound": self.lower_bound,
            "messages": self.messages,
            "bytes_sent": dict(sent),
            "busiest": self.busiest,
            "dealer_bytes": self.dealer_bytes,
            "setup_bytes": dict(zip(names, self.setup_bytes, strict=True)),
            "operations": dict(zip(names, map(dict, self.operations), strict=True)),
            "peak_memory": dict(zip(names, self.peak_memory, strict=True)),
            "seconds": dict(self.seconds),
            "local_seconds": dict(self.local_seconds),
            "parts": [
                {"line": line, "operation": operation, **dataclasses.asdict(part)}
                for (line, operation), part in self.parts.items()
            ],
            "advice": [dataclasses.asdict(hint) for hint in self.advice],
        }

    def __str__(self) -> str:
        return "\n".join([*self._heading(), *self._table(), *map(str, self.advice)])

    def _heading(self) -> list[str]:
        least = "at least " if self.lower_bound else ""
        sent = zip(self.cost.parties, self.bytes_sent, strict=True)
        dealt = f"; {self.protocol.dealer} deals {amount(self.dealer_bytes)}B"
        lines = [
            f"{self.function}, {protocol_name(self.protocol)}: {least}"
            f"{self.rounds} round{'' if self.rounds == 1 else 's'}, "
            f"{self.messages:,} messages",
            f"sent: {', '.join(f'{p} {amount(b)}B' for p, b in sent)}"
            f"{dealt if self.dealer_bytes else ''}; set-up {amount(sum(self.setup_bytes))}B; "
            f"memory {amount(max(self.peak_memory))}B",
        ]
        lines += [
            f"{name}: {duration(seconds)}, of which {duration(self.local_seconds[name])} local"
            for name, seconds in self.seconds.items()
        ]
        return lines

    def _table(self) -> list[str]:
        names = list(self.seconds)
        head = ("rounds", "bytes", *names, "operation", "line")
        rows = [
            (
                str(part.rounds),
                amount(part.bytes).strip(),
                *(duration(part.seconds[name]) for name in names),
                operation or "-",
                place(line),
            )
            for (line, operation), part in self._sorted(self.parts.items())
            if part.rounds or any(part.seconds[n] > _LITTLE * self.seconds[n] for n in names)
        ][:_SHOWN]
        lines = table(head, rows, right=2 + len(names))
        if hidden := len(self.parts) - len(rows):
            lines.append(f"({hidden} parts that take less are not shown)")
        return lines

    def plot(self, ax: Any = None) -> Any:
        """Draw the seconds of each line as bars, by network; returns the (Matplotlib) axes."""
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        parts = list(self.by_line.items())[:_SHOWN]
        height = 0.8 / max(len(self.networks), 1)
        for i, network in enumerate(self.networks):
            rows = [row + height * i for row in range(len(parts))]
            seconds = [part.seconds[network.name] for _, part in parts]
            ax.barh(rows, seconds, height, label=network.name)
        ax.set_yticks(range(len(parts)), [place(line) for line, _ in parts])
        ax.invert_yaxis()
        ax.set(xlabel="predicted seconds", xscale="log", title=self.function)
        ax.legend()
        return ax

    def _by(self, key: Callable[[Label], str]) -> dict[str, Part]:
        found: dict[str, Part] = {}
        for label, part in self.parts.items():
            name = key(label)
            found[name] = found[name] + part if name in found else part
        return dict(self._sorted(found.items()))

    def _sorted(self, parts: Any) -> list[Any]:
        """Those that take longest on the last network first."""
        last = self.networks[-1].name if self.networks else None

        def rank(item: Any) -> Any:
            part = item[1]
            return (-part.seconds[last] if last else 0.0), -part.bytes

        return sorted(parts, key=rank)


def protocol_name(protocol: Protocol) -> str:
    """A protocol for tables, with its ring and how many run it."""
    dealer = f" and a {protocol.dealt_by}" if protocol.dealer is not None else ""
    return f"{type(protocol).__name__}({protocol.size} parties{dealer}, {protocol.bits} bits)"


def price(
    function: str,
    protocol: Protocol,
    projection: Projection,
    networks: Sequence[Network],
    speeds: Callable[[], Speeds],
    advice: tuple[Hint, ...],
) -> Profile:
    """The profile of a program of all endpoints."""
    counter = Counter()
    cost = cost_of(counter, counter.rounds(projection.block), projection, protocol.computing)
    endpoints = range(len(projection.names))
    programs = [timeline.own_program(projection, e) for e in endpoints]
    timelines = [timeline.timeline(projection, e, programs[e]) for e in endpoints]
    durations = {n.name: simulate(timelines, n, speeds()) for n in networks}
    return Profile(
        function,
        protocol,
        cost,
        sum(tally.messages for tally in counter.tallies.values()),
        tuple(_operations(timeline.total(steps), protocol) for steps in timelines),
        tuple(map(memory.peak, programs)),
        _parts(counter, durations),
        tuple(networks),
        {name: d.seconds for name, d in durations.items()},
        {name: d.local for name, d in durations.items()},
        advice,
    )


def _parts(counter: Counter, durations: Mapping[str, Duration]) -> dict[Label, Part]:
    """What is sent, and what is waited for, by label."""
    labels = dict.fromkeys(counter.tallies)
    for d in durations.values():
        labels.update(dict.fromkeys(d.charges))
    found = {}
    for label in labels:
        seconds = {name: d.charges.get(label, 0.0) for name, d in durations.items()}
        tally = counter.tallies[label]
        found[label] = Part(tally.rounds, tally.messages, tally.size, seconds)
    return found


def _operations(amounts: Amounts, protocol: Protocol) -> dict[str, int]:
    """An endpoint's ring operations in terms of the ring."""
    word = protocol.bits // 8
    elementwise = sum(amounts[unit] for unit in ("elementwise", "multiplied", "divided"))
    return {
        "elementwise words": elementwise // word,
        "multiply-adds": amounts["products32"] + amounts["products64"],
        "words drawn": amounts["drawn"] // word,
    }
