"""A workload among real parties on this machine: each in a process of its own, over TLS."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from jsmpc.bench import serving
from jsmpc.bench.measure import Settings
from jsmpc.bench.serving import Failed
from jsmpc.bench.workloads import Workload

NAME = "processes"
_PROGRAM = Path(__file__).with_name("party.py")
_GRACE = 5.0  # seconds for the parties to end by themselves


class Processes:
    """A candidate that `jsmpc launch` runs; a time is that until all endpoints are done.

    The processes start with the first call, outside of the time that it takes, so that they do not
    disturb those that are measured before.

    Args:
      workload, settings: what to compute, and how.
      patience: the longest wait for an answer of an endpoint, in seconds.
    """

    def __init__(self, workload: Workload, settings: Settings, patience: float = 600.0):
        self._workload, self._settings, self._patience = workload, settings, patience
        self._endpoints: dict[str, tuple[socket.socket, IO[str]]] = {}
        self._offline: list[float] = []
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        self._stack.close()

    def first(self) -> float:
        self._start()
        seconds = self.again()
        self._offline.clear()  # the first holds the dealer's own compilation
        return seconds

    def again(self) -> float:
        dealt = self._ask("prepare")
        if self._settings.phase == "online":
            self._offline.append(max(dealt))
        start = time.perf_counter()
        self._ask("run")
        return time.perf_counter() - start

    def finish(self) -> dict[str, Any]:
        told = self._ask("finish")
        first, *_ = [values for values in told if "max_error" in values]
        return {
            "offline": statistics.median(self._offline) if self._offline else None,
            "max_error": first["max_error"],
            "peak_bytes": max(values["peak_bytes"] for values in told),
        }

    def _start(self) -> None:
        """Starts all endpoints and waits until each has said its name."""
        address = self._folder / "requests"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(address))
            server.listen()
            self._run(address)
            until = time.monotonic() + self._patience
            for _ in self._settings.make().endpoints:
                connection = self._accepted(server, until)
                stream = connection.makefile("r")
                self._endpoints[stream.readline().strip()] = connection, stream

    def _run(self, address: Path) -> None:
        """Runs `jsmpc launch`, whose endpoints connect to an address."""
        self._log = self._stack.enter_context((self._folder / "log").open("w+"))
        settings = self._settings
        command = [sys.executable, "-m", "jsmpc", "launch", "--protocol", settings.protocol]
        command += ["--bits", str(settings.bits)]
        command += ["--parties", str(settings.parties)] if settings.parties else []
        self._launch = subprocess.Popen(
            [*command, str(_PROGRAM), str(address), self._workload.name, settings.phase],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(self._folder)},  # where the identities are
            start_new_session=True,  # so that all of it can be ended, and ctrl-C is for us alone
        )
        self._stack.callback(self._end)

    def _accepted(self, server: socket.socket, until: float) -> socket.socket:
        server.settimeout(0.1)
        while self._launch.poll() is None and time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                connection, _ = server.accept()
                connection.settimeout(self._patience)
                return connection
        raise Failed(f"the parties did not start: {self._last_words()}")

    def _ask(self, request: str) -> list[Any]:
        """What all endpoints reply to a request; Failed if one of them does not."""
        with contextlib.suppress(ConnectionError):  # one that has ended says why in its last reply
            for connection, _ in self._endpoints.values():
                connection.sendall(f"{request}\n".encode())
        return [self._reply(name) for name in self._endpoints]

    def _reply(self, name: str) -> Any:
        try:
            line = self._endpoints[name][1].readline()
        except TimeoutError:
            raise Failed(f"{name} did not reply within {self._patience:g} s") from None
        except ConnectionError:
            line = ""
        return serving.result(json.loads(line or "{}") or {"failed": self._last_words()})

    def _last_words(self) -> str:
        self._end()
        self._log.seek(0)
        lines = [line.strip() for line in self._log if line.strip()]
        return lines[-1] if lines else "no output"

    def _end(self) -> None:
        """Hangs up, so that the endpoints end; no process is left behind."""
        for connection, stream in self._endpoints.values():
            stream.close()
            connection.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._launch.wait(_GRACE)
        finally:
            if self._launch.poll() is None:
                os.killpg(self._launch.pid, signal.SIGKILL)
                self._launch.wait()
