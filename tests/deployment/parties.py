"""Real parties for tests: the processes of a deployment, at places that are given."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jsmpc._src.deployment import identity

_PATIENCE = 10.0  # seconds for a process to be gone


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a party's process ended, and what it printed."""

    name: str
    code: int
    out: str
    err: str


class Place(Protocol):
    """Where endpoints are reached, and what stands before a command that is to run at one.

    Attributes:
      addresses, ports: where the others connect; own: the ports where each listens itself.
    """

    addresses: Sequence[str]
    ports: Sequence[int]
    own: Sequence[int]

    def inside(self, endpoint: int) -> list[str]: ...


class Loopback:
    """So many endpoints on this machine, without a network between them."""

    def __init__(self, count: int) -> None:
        # One of its own for each run, so that no other takes a port that was free.
        own = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
        self.addresses = (own if sys.platform == "linux" else "127.0.0.1",) * count
        with contextlib.ExitStack() as stack:
            servers = [socket.create_server((a, 0)) for a in self.addresses]
            self.ports = [stack.enter_context(s).getsockname()[1] for s in servers]
        self.own = self.ports

    def inside(self, endpoint: int) -> list[str]:
        return []


class Deployment:
    """The processes `jsmpc party` of one program, each at its place, while the context lasts.

    Args:
      place: with an address for each of the endpoints.
      folder: for identities, the file of parties and what is printed; program: a Python file;
      arguments: its own.
      names: of the parties, the dealer's last where there is one.
      protocol: its name in the registry; dealer: its name, or None; one who is not among `names`
      dealt before; stock: how many sets it keeps ready for each program.
      silence: the seconds without a sign of life after which a party counts as dead; patience: to
      wait for the others at the start; stall: for data from one that lives.
      options: of `jsmpc party`, by name; absent: who is not started.
      interpreted: what Python runs as the command `jsmpc`.
    """

    def __init__(
        self,
        place: Place,
        folder: Path,
        program: Path,
        *arguments: object,
        names: Sequence[str] = ("party0", "party1", "party2"),
        protocol: str = "replicated",
        dealer: str | None = None,
        stock: int = 0,
        silence: float = 10.0,
        patience: float = 60.0,
        stall: float = 600.0,
        options: Mapping[str, Sequence[str]] | None = None,
        absent: Sequence[str] = (),
        interpreted: Sequence[str] = ("-m", "jsmpc"),
    ) -> None:
        self._place, self._folder, self.names = place, folder, names
        self._python = [sys.executable, *interpreted]
        self._command = [str(program), *map(str, arguments)]
        self._options, self._absent = options or {}, absent
        first = [f'protocol = "{protocol}"', f"silence = {silence}"]
        first += [f"patience = {patience}", f"stall = {stall}"]
        first += [f'dealer = "{dealer}"', f"stock = {stock}"] if dealer else []
        first += ["dealt_before = true"] if dealer and dealer not in names else []
        for name in names:
            if not (folder / f"{name}.key.pem").exists():
                identity.new(name, folder)
        for endpoint, reader in enumerate(names):
            lines = list(first)
            for other, name in enumerate(names):
                port = (place.own if other == endpoint else place.ports)[other]
                lines += [f"[parties.{name}]", f'host = "{place.addresses[other]}"']
                lines += [f"port = {port}", f'certificate = "{name}.cert.pem"']
            self._file(reader, "toml").write_text("\n".join(lines) + "\n")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Deployment:
        for endpoint, name in enumerate(self.names):
            if name in self._absent:
                continue
            party = [*self._python, "party", "--name", name]
            party += [
                "--config",
                str(self._file(name, "toml")),
                *self._options.get(name, ()),
                *self._command,
            ]
            with (
                open(self._file(name, "out"), "wb") as out,
                open(self._file(name, "err"), "wb") as err,
            ):
                self._processes[name] = subprocess.Popen(
                    [*self._place.inside(endpoint), *party],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(_PATIENCE)

    def said(self, name: str) -> str:
        """What a party has printed so far."""
        return self._file(name, "out").read_text(errors="replace")

    def wait_for(self, text: str, seconds: float) -> None:
        """Until all parties have printed a text; TimeoutError, also where one of them has ended."""
        end = time.monotonic() + seconds
        while not all(text in self.said(name) for name in self.names):
            if time.monotonic() > end or any(
                p.poll() is not None for p in self._processes.values()
            ):
                raise TimeoutError(f"{text!r} was not printed by all:\n{self._errors()}")
            time.sleep(0.02)

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to a party's process."""
        self._processes[name].send_signal(number)

    def ended(self, seconds: float, names: Sequence[str] | None = None) -> list[Ended]:
        """How all parties, or those named, ended; TimeoutError if one of them does not."""
        end, found = time.monotonic() + seconds, []
        for name in self.names if names is None else names:
            try:
                code = self._processes[name].wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                text = f"{name} did not end within {seconds:g} s:\n{self._errors()}"
                raise TimeoutError(text) from None
            err = self._file(name, "err").read_text(errors="replace")
            found.append(Ended(name, code, self.said(name), err))
        return found

    def _file(self, name: str, stream: str) -> Path:
        return self._folder / f"{name}.{stream}"

    def _errors(self) -> str:
        return "".join(self._file(name, "err").read_text(errors="replace") for name in self.names)
