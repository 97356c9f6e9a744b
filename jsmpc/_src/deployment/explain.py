"""What a program of real parties would do, and what it takes, told before anyone runs it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import runpy
import sys
from collections.abc import Sequence
from typing import Any

from jsmpc._src.api.kept import established
from jsmpc._src.api.session import Purpose, Session, active
from jsmpc._src.errors import JsmpcError, ProtocolError
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.cost import measure
from jsmpc._src.readings.pricing import cache
from jsmpc._src.readings.pricing.advice import advise
from jsmpc._src.readings.pricing.network import Network
from jsmpc._src.readings.pricing.profile import price
from jsmpc._src.readings.projection.digest import digest
from jsmpc._src.readings.projection.projection import Projection


@dataclasses.dataclass(frozen=True)
class Run:
    """One program that the parties would run, and what for."""

    purpose: Purpose
    projection: Projection


class Observer(Session):
    """Someone who sees what is to be run and takes no part in it: it has no rows and no values."""

    def __init__(self, protocol: Protocol, stocked: bool = False) -> None:
        self.protocol, self.endpoint = protocol, len(protocol.endpoints)
        self.stocked = stocked
        self.runs: list[Run] = []
        established(self)

    @property
    def name(self) -> str:
        return "an observer"

    def number(self) -> str:
        return ""

    def spend(self, number: str | None) -> None:
        """It has no material."""

    def agreed(self, what: str, value: Any) -> Any:
        raise ProtocolError(f"{what} are known to the parties alone: what follows is not explained")

    def run(self, projection: Projection, given: Sequence[Any], purpose: Purpose) -> list[Any]:
        self.runs.append(Run(purpose, projection))
        return []


def explained(observer: Observer, program: str, arguments: Sequence[str]) -> list[str]:
    """Lines that tell what a program does, in plain words: who gives what, who learns what.

    No party's data is read and nothing is computed. Where the program needs a value that was
    revealed, the explanation ends with the place.
    """
    end = _observed(observer, program, arguments)
    lines = [line for run in observer.runs for line in _described(run, observer.protocol)]
    return [*lines, *end, *_summary(observer.runs)]


def priced(
    observer: Observer, program: str, arguments: Sequence[str], networks: Sequence[Network]
) -> list[str]:
    """Lines that tell what each program of the parties takes: its `Profile`, with advice."""
    end = _observed(observer, program, arguments)
    lines: list[str] = []
    for run in observer.runs:
        what, own = run.purpose.what, run.purpose.function
        advice = () if own is None else advise(own.jaxpr, own.secret, own.line)
        found = price(what, observer.protocol, run.projection, networks, cache.speeds, advice)
        lines += [*str(found).splitlines(), ""]
    return [*lines, *end]


def _observed(observer: Observer, program: str, arguments: Sequence[str]) -> list[str]:
    """Shows an observer what the parties would run; why no more of it is known."""
    before, end = sys.argv, list[str]()
    sys.argv = [program, *arguments]
    try:
        with active(observer), contextlib.redirect_stdout(io.StringIO()):
            runpy.run_path(program, run_name="__main__")
    except JsmpcError as error:
        end = [f"The explanation ends here: {error}"]
    finally:
        sys.argv = before
    return end


def _described(run: Run, protocol: Protocol) -> list[str]:
    cost = measure(run.projection, protocol.parties)
    sent = ", ".join(f"{p} {b:,} B" for p, b in zip(protocol.parties, cost.bytes_sent, strict=True))
    rounds = f"{cost.rounds} round{'s' if cost.rounds != 1 else ''}"
    lines = [f"{run.purpose.what}: {rounds}; sent: {sent}"]
    if cost.dealer_bytes:
        lines.append(f"  {protocol.dealer} deals {cost.dealer_bytes:,} B")
    lines += [f"  takes the input {label!r}" for label in run.purpose.inputs]
    for shown in run.purpose.reveals:
        count = f"{shown.elements:,} number{'s' if shown.elements != 1 else ''}"
        lines.append(f"  reveals {count} to {shown.to}, at {shown.line or 'an unknown line'}")
    lines.append(f"  fingerprint {digest(run.projection)}")
    return lines


def _summary(runs: Sequence[Run]) -> list[str]:
    shown = [d for run in runs for d in run.purpose.reveals]
    if not shown:
        return ["Nothing is revealed."]
    total: dict[str, int] = {}
    for d in shown:
        total[d.to] = total.get(d.to, 0) + d.elements
    learned = "; ".join(f"{to}: {count:,}" for to, count in total.items())
    return [f"Revealed in all, where no loop repeats it: {learned}."]
