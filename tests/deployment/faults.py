"""Runs of real parties with a fault at a random moment: `python tests/deployment/faults.py [RUNS]`.

Every run must end in time, with an exit code and an error at each party that is left, with no
result printed and no process left behind.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from faulty import SECONDS
from parties import Deployment, Ended
from proxy import Proxied

from jsmpc._src.deployment import identity

PROGRAM = Path(__file__).with_name("faulty.py")
NAMES = ("party0", "party1", "party2")
SILENCE = 2.0
# From inside the program, at the start, and from outside while it runs.
INSIDE = ("raise", "slow", "program", "shapes")
STARTING = ("key", "missing")
OUTSIDE = ("kill", "stop", "cut", "garbage")
KINDS = (*INSIDE, *STARTING, *OUTSIDE)
_CAUSES = (
    "ended the run",
    "closed the connection",
    "no sign of life",
    "do not agree on",
    "certificate",
    "no connection with",
    "is alive but sends no data",
    "broke",
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run with a fault ended, and what is wrong about that; nothing if `problem` is empty."""

    kind: str
    victim: str
    seconds: float
    ended: tuple[Ended, ...]
    problem: str


def run(kind: str, moment: random.Random, folder: Path) -> Outcome:
    """One run with one fault."""
    reached = (
        2 if kind in ("cut", "garbage") else 3
    )  # the last one is reached by nobody: it connects
    victim, after = moment.randrange(reached), moment.uniform(0.0, 0.8 * SECONDS)
    name = NAMES[victim]
    for each in NAMES:
        identity.new(each, folder)
    options: dict[str, tuple[str, ...]] = {}
    if kind == "key":  # one that the others were not shown
        other = folder / "other"
        other.mkdir()
        identity.new(name, other)
        options[name] = ("--folder", str(other))
    with (
        Proxied(3) as place,
        Deployment(
            place,
            folder,
            PROGRAM,
            kind,
            name,
            after,
            silence=SILENCE,
            patience=10.0 if kind in STARTING else 60.0,
            stall=4.0,
            options=options,
            absent=[name] if kind == "missing" else [],
        ) as deployment,
    ):
        if kind in OUTSIDE:
            deployment.wait_for("begun", 60)
            time.sleep(after)
            match kind:
                case "kill":
                    deployment.signal(name, signal.SIGKILL)
                case "stop":
                    deployment.signal(name, signal.SIGSTOP)
                case "cut":
                    place.cut(victim)
                case "garbage":
                    place.spoil(victim)
        start = time.monotonic()
        left = [n for n in NAMES if n != name or kind not in ("stop", "missing", "slow")]
        try:
            ended = deployment.ended(60, left)
        except TimeoutError as error:
            return Outcome(kind, name, time.monotonic() - start, (), f"hangs: {error}")
        seconds = time.monotonic() - start
    faulty = (name,) if kind in ("kill", "raise") else ()
    return Outcome(kind, name, seconds, tuple(ended), _problem(ended, faulty))


def _problem(ended: list[Ended], faulty: tuple[str, ...]) -> str:
    for party in ended:
        if not party.code:
            return f"{party.name} succeeds"
        if "RESULT" in party.out:
            return f"{party.name} prints a result"
        if party.name not in faulty:
            if "Traceback" in party.err or not any(cause in party.err for cause in _CAUSES):
                return f"{party.name} names no cause: {party.err[-300:]}"
            if "the secret" in party.err:
                return f"{party.name} tells what another's error says"
    return ""


def main(runs: int) -> int:
    moment = random.Random(runs)
    found: collections.Counter[tuple[str, bool]] = collections.Counter()
    longest: dict[str, float] = collections.defaultdict(float)
    for i in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            outcome = run(KINDS[i % len(KINDS)], moment, Path(folder))
        found[outcome.kind, not outcome.problem] += 1
        longest[outcome.kind] = max(longest[outcome.kind], outcome.seconds)
        if outcome.problem:
            print(f"{i}: {outcome.kind} at {outcome.victim}: {outcome.problem}", flush=True)
    for kind in KINDS:
        right, wrong = found[kind, True], found[kind, False]
        print(f"{kind:8} {right:4} right {wrong:4} wrong, at most {longest[kind]:.1f} s to the end")
    return int(any(not right for _, right in found))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
