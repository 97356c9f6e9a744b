"""A worker that does what tests ask of it; in a process of its own with the file and the name."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsmpc._src.errors import JsmpcError
from jsmpc._src.transport import failures
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.server import Server

SECRET = "1234.5678"


class UnheardOfError(failures.ConfigError):
    """An error that no caller knows."""


class OwnError(JsmpcError):
    """An error that a caller has to know of."""


KINDS = {kind.__name__: kind for kind in (*failures.KINDS, UnheardOfError, OwnError, JsmpcError)}


def handler(caller: str, request: dict[str, Any]) -> dict[str, Any]:
    """Does what `do` of a request names."""
    match request.get("do"):
        case "raise":
            raise KINDS[request["kind"]](request["text"])
        case "divide":
            return {"value": float(SECRET) / 0}
        case "exit":
            sys.exit(SECRET)
        case "raise what is no text":
            raise failures.ConfigError("naïve \ud800")
        case "look up":
            return {"value": {}[SECRET]}
        case "sleep":
            time.sleep(request["seconds"])
        case "return":
            return request["value"]
        case "return a set":
            return {"value": {SECRET}}
        case "return much":
            return {"value": bytes(request["size"])}
    return {"caller": caller, "request": request}


@contextmanager
def process(file: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, which has ended afterwards."""
    command = [sys.executable, __file__, str(file), name]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **pipes) as started:
        try:
            line = started.stdout.readline()
            assert line == "ready\n", line + started.stdout.read()
            yield started
        finally:
            started.kill()


def main(file: str, name: str) -> None:
    """Serves until the standard input ends."""
    with Server(Directory.load(file), name, None, handler, calls=4):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
