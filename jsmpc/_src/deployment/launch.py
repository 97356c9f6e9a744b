"""All parties of a program on this machine, each in a process of its own, for trying it out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from jsmpc._src.deployment import identity, probe
from jsmpc._src.protocols.base import Protocol

GRACE = 15.0  # seconds in which the others end by themselves once one has failed
ORDERLY = 90.0  # seconds in which all end by themselves once they are told to
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
      command: that of jsmpc's which runs an endpoint.
      clients: who may ask the parties; for them each party has a port more.
      orderly: whether a signal is passed on to the endpoints, which then end by themselves.
    """

    protocol: Protocol
    registered: str
    program: str
    arguments: Sequence[str] = ()
    plain: bool = False
    dealing: bool = True
    silence: float = 10.0
    stock: int = 0
    command: str = "party"
    clients: Sequence[str] = ()
    orderly: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the endpoints that are started."""
        return self.protocol.endpoints if self.dealing else self.protocol.parties


def run(
    launch: Launch,
    prepare: Callable[[Path], Sequence[str]] = lambda config: (),
    heard: Callable[[str, str], None] = lambda name, line: None,
) -> int:
    """Starts all endpoints, shows what they print, and waits; the first exit code that is not 0.

    Args:
      prepare: called with the file of parties before they start; returns more arguments for them.
      heard: called with the name of an endpoint and each line that it prints.
    """
    with tempfile.TemporaryDirectory(prefix="jsmpc-") as folder, contextlib.ExitStack() as stack:
        names, host = launch.names, _host()
        listeners = [stack.enter_context(socket.create_server((host, 0))) for _ in names]
        config = _configured(launch, Path(folder), listeners)
        launch = dataclasses.replace(launch, arguments=[*launch.arguments, *prepare(config)])
        processes: list[subprocess.Popen[str]] = []
        stop = threading.Event()
        with _passed_on(stop) if launch.orderly else contextlib.nullcontext():
            try:
                for name, listener in zip(names, listeners, strict=True):
                    if not stop.is_set():
                        processes.append(_started(launch, name, config, listener.fileno()))
                return _watched(names, processes, heard, stop)
            finally:
                _ended(processes)


def _host() -> str:
    """An address of this machine; where it has many, one that nobody else takes ports of."""
    if sys.platform != "linux":
        return _LOOPBACK
    return "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))


@contextlib.contextmanager
def _passed_on(stop: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM set an event."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: stop.set()) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


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
    for name in (*launch.names, *launch.clients):
        identity.new(name, folder)
    for name, listener in zip(launch.names, listeners, strict=True):
        host, port = listener.getsockname()
        lines += [f"[parties.{name}]", f'host = "{host}"', f"port = {port}"]
        lines += [f'certificate = "{name}.cert.pem"']
        if launch.clients and name != protocol.dealer:
            lines.append(f"requests = {probe.free_port(host)}")
    for name in launch.clients:
        lines += [f"[clients.{name}]", f'certificate = "{name}.cert.pem"']
    config = folder / "parties.toml"
    config.write_text("\n".join(lines) + "\n")
    return config


def _started(launch: Launch, name: str, config: Path, listener: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jsmpc", launch.command, "--name", name]
    command += ["--config", str(config), "--listener", str(listener)]
    command += ["--plain"] if launch.plain else []
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


def _watched(
    names: Sequence[str],
    processes: Sequence[subprocess.Popen[str]],
    heard: Callable[[str, str], None],
    stop: threading.Event,
) -> int:
    """Waits for all, prints what they say, each line under its party's name."""
    width = max(map(len, names))
    readers = []
    for name, process in zip(names, processes, strict=True):
        for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            said = functools.partial(heard, name)
            arguments = (f"{name:<{width}} | ", source, sink, said)
            readers.append(threading.Thread(target=_copied, args=arguments, daemon=True))
            readers[-1].start()
    code, deadline, told = 0, float("inf"), False
    while running := [p for p in processes if p.poll() is None]:
        code = code or next((p.returncode for p in processes if p.returncode), 0)
        if code and deadline == float("inf"):
            deadline = time.monotonic() + GRACE
        if stop.is_set() and not told:
            told, deadline = True, min(deadline, time.monotonic() + ORDERLY)
            for process in running:
                process.terminate()
        if time.monotonic() > deadline:
            _ended(running)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running[0].wait(0.05)
    for reader in readers:
        reader.join(1.0)
    return code or next((p.returncode for p in processes if p.returncode), 0)


def _copied(prefix: str, source: IO[str], sink: Any, said: Callable[[str], None]) -> None:
    for line in source:
        sink.write(prefix + line)
        sink.flush()
        said(line.rstrip("\n"))


def _ended(processes: Sequence[subprocess.Popen[str]]) -> None:
    """No process is left behind."""
    for stop in (subprocess.Popen.terminate, subprocess.Popen.kill):
        running = [p for p in processes if p.poll() is None]
        for process in running:
            stop(process)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
