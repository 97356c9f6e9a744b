"""All parties of a program on this machine, each in a process of its own, for trying it out."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from jsmpc._src.deployment import identity
from jsmpc._src.protocols.base import Protocol

GRACE = 15.0  # seconds in which the others end by themselves once one has failed
_LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True)
class Launch:
    """What to run, and how.

    Attributes:
      protocol: whose endpoints are started; `registered` is its name in the registry.
      program: a Python file; arguments: its own.
      plain: whether the parties do without encryption.
      dealing: whether a dealer's process takes part, or its material is in files.
      silence: the seconds without a sign of life after which a party counts as dead.
      stock: how many sets of material the dealer keeps ready for each program.
    """

    protocol: Protocol
    registered: str
    program: str
    arguments: Sequence[str] = ()
    plain: bool = False
    dealing: bool = True
    silence: float = 10.0
    stock: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the endpoints that are started."""
        return self.protocol.endpoints if self.dealing else self.protocol.parties


def run(launch: Launch) -> int:
    """Starts all endpoints, shows what they print, and waits; the first exit code that is not 0."""
    with tempfile.TemporaryDirectory(prefix="jsmpc-") as folder, contextlib.ExitStack() as stack:
        names = launch.names
        listeners = [stack.enter_context(_listener()) for _ in names]
        config = _configured(launch, Path(folder), listeners)
        processes: list[subprocess.Popen[str]] = []
        try:
            for name, listener in zip(names, listeners, strict=True):
                processes.append(_started(launch, name, config, listener.fileno()))
            return _watched(names, processes)
        finally:
            _ended(processes)


def _listener() -> socket.socket:
    return socket.create_server((_LOOPBACK, 0))


def _configured(launch: Launch, folder: Path, listeners: Sequence[socket.socket]) -> Path:
    """A file of the parties, with a new identity for each of them."""
    protocol, encoding = launch.protocol, launch.protocol.encoding
    lines = [
        f'protocol = "{launch.registered}"',
        f"bits = {protocol.bits}",
        f"base = {encoding.base}",
        f"precision_fractional = {encoding.precision_fractional}",
        f"silence = {launch.silence}",
    ]
    if protocol.dealer is not None:
        lines.append(f'dealer = "{protocol.dealer}"')
        lines.append(f"dealt_before = {'false' if launch.dealing else 'true'}")
        lines.append(f"stock = {launch.stock}")
    for name, listener in zip(launch.names, listeners, strict=True):
        identity.new(name, folder)
        lines += [
            f"[parties.{name}]",
            f'host = "{_LOOPBACK}"',
            f"port = {listener.getsockname()[1]}",
            f'certificate = "{name}.cert.pem"',
        ]
    config = folder / "parties.toml"
    config.write_text("\n".join(lines) + "\n")
    return config


def _started(launch: Launch, name: str, config: Path, listener: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jsmpc", "party", "--name", name, "--config", str(config)]
    command += ["--listener", str(listener), *(["--plain"] if launch.plain else [])]
    return subprocess.Popen(
        [*command, launch.program, *launch.arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        pass_fds=[listener],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _watched(names: Sequence[str], processes: Sequence[subprocess.Popen[str]]) -> int:
    """Waits for all, prints what they say, each line under its party's name."""
    width = max(map(len, names))
    readers = []
    for name, process in zip(names, processes, strict=True):
        for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            arguments = (f"{name:<{width}} | ", source, sink)
            readers.append(threading.Thread(target=_copied, args=arguments, daemon=True))
            readers[-1].start()
    code, deadline = 0, float("inf")
    while running := [p for p in processes if p.poll() is None]:
        code = code or next((p.returncode for p in processes if p.returncode), 0)
        if code and deadline == float("inf"):
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            _ended(running)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running[0].wait(0.05)
    for reader in readers:
        reader.join(1.0)
    return code or next((p.returncode for p in processes if p.returncode), 0)


def _copied(prefix: str, source: IO[str], sink: Any) -> None:
    for line in source:
        sink.write(prefix + line)
        sink.flush()


def _ended(processes: Sequence[subprocess.Popen[str]]) -> None:
    """No process is left behind."""
    for stop in (subprocess.Popen.terminate, subprocess.Popen.kill):
        running = [p for p in processes if p.poll() is None]
        for process in running:
            stop(process)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
