"""A measurement in a process of its own: one JSON object a line, each way.

The measuring process reads the words `first`, `again` and `finish` and answers each with an
object. It imports the standard library only, so that a peer's Python can load it by its path.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Protocol


class Unsupported(Exception):
    """The workload cannot be computed (yet)."""


class Failed(Exception):
    """The measurement broke."""


class Candidate(Protocol):
    """What is measured: a workload on one system."""

    def first(self) -> float:
        """Seconds of the first call: tracing, compiling and running."""

    def again(self) -> float:
        """Seconds of one more run."""

    def finish(self) -> dict[str, Any]:
        """What else is known of the run, after all repetitions."""


def peak_bytes() -> int:
    """The largest resident size of this process so far.

    On Linux from its own table: `ru_maxrss` of a new process starts from its parent's there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(make: Callable[[], Any]) -> None:
    """Make a candidate and answer the requests on standard input.

    What else is printed goes to standard error.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        answer(make, sys.stdin, replies)


def answer(make: Callable[[], Any], requests: Iterable[str], replies: IO[str]) -> bool:
    """Make something and answer requests, each the name of a method, until one fails.

    Returns:
      whether none has failed.
    """
    made = attempt(make)
    for line in requests:
        reply = made
        if "result" in made:
            reply = attempt(getattr(made["result"], line.strip()))
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if "result" not in reply:
            return False
    return True


def attempt(action: Callable[[], Any]) -> dict[str, Any]:
    """What to reply with: the result, or why there is none."""
    try:
        return {"result": action()}
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Failed as error:
        return {"failed": str(error)}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def result(reply: dict[str, Any]) -> Any:
    """The result in a reply.

    Raises:
      Unsupported, Failed: if there is none.
    """
    if "unsupported" in reply:
        raise Unsupported(reply["unsupported"])
    if "result" not in reply:
        raise Failed(reply.get("failed", "no output"))
    return reply["result"]
