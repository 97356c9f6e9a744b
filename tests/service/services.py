"""Services for tests: a process for each endpoint, and clients in this one."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tiny

import jsmpc
from jsmpc._src.deployment import identity
from jsmpc._src.service import query
from jsmpc._src.service.client import Client
from jsmpc._src.service.directory import Parties
from jsmpc._src.transport.client import Channel

MODEL = Path(tiny.__file__)
KIND = jax.ShapeDtypeStruct((4,), np.dtype(np.float32))
_PATIENCE = 10.0


def inputs(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)


def expected(x: np.ndarray) -> Any:
    return jax.vmap(lambda x: tiny.apply(tiny.params(), x))(x)


def require_right(found: Any, x: np.ndarray) -> None:
    """Scores within the error of fixed point, and what follows from them exactly."""
    plain = expected(x)
    np.testing.assert_allclose(found["scores"], plain["scores"], atol=1e-3)
    np.testing.assert_array_equal(found["best"], plain["best"])
    np.testing.assert_array_equal(found["positive"], plain["positive"])
    assert found["best"].dtype == plain["best"].dtype and found["positive"].dtype == bool


class Service:
    """The processes `jsmpc serve` of three parties, while the context lasts.

    Args:
      clients: their names.
      options: of `jsmpc serve`, of all parties; own: of some.
    """

    names = ("alice", "bob", "carol")

    def __init__(
        self,
        folder: Path,
        clients: Sequence[str],
        options: Sequence[str] = (),
        own: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.folder, self.config = folder, folder / "parties.toml"
        self._options, self._own = options, own or {}
        host = "127." + ".".join(str(1 + secrets.randbelow(254)) for _ in range(3))
        host = host if sys.platform == "linux" else "127.0.0.1"
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(socket.create_server((host, 0))) for _ in range(6)]
            watched = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in "abc"]
            ports = [s.getsockname()[1] for s in free]
            self.watched = dict(zip(self.names, (s.getsockname()[1] for s in watched), strict=True))
        lines = ['protocol = "replicated"', "patience = 60"]
        for i, name in enumerate(self.names):
            identity.new(name, folder)
            lines += [f"[parties.{name}]", f'host = "{host}"', f"port = {ports[i]}"]
            lines += [f"requests = {ports[3 + i]}", f'certificate = "{name}.cert.pem"']
        for name in clients:
            identity.new(name, folder)
            lines += [f"[clients.{name}]", f'certificate = "{name}.cert.pem"']
        self.config.write_text("\n".join(lines) + "\n")
        self.protocol = jsmpc.Replicated3(parties=self.names)
        shares = jsmpc.share(jsmpc.random_key(), tiny.params(), self.protocol)
        jsmpc.save(shares, folder / "weights")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Service:
        for name in self.names:
            command = [sys.executable, "-m", "jsmpc", "serve", str(MODEL), "--name", name]
            command += ["--config", str(self.config), "--weights", str(self.folder / "weights")]
            command += ["--metrics", str(self.watched[name]), *self._options]
            with open(self.folder / f"{name}.err", "wb") as err:
                self._processes[name] = subprocess.Popen(
                    [*command, *self._own.get(name, ())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    env={**os.environ, "PYTHONFAULTHANDLER": "1"},
                )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait(_PATIENCE)

    def client(self, name: str, patience: float = 90.0) -> Client:
        return jsmpc.connect(self.config, name=name, patience=patience)

    def channel(self, name: str, party: str) -> Channel:
        """The connection of a client that does not do what clients do."""
        return Channel(Parties.load(self.config), name, None, party)

    def messages(self, x: np.ndarray, number: bytes) -> dict[str, dict[str, Any]]:
        """What a client would send to each party."""
        sent = query.messages(self.protocol, x, len(x), number)
        return dict(zip(self.names, sent, strict=True))

    def signal(self, name: str, number: int = signal.SIGTERM) -> None:
        self._processes[name].send_signal(number)

    def ended(self, name: str, seconds: float) -> tuple[int, str]:
        """How a party ended, and what it said of errors."""
        code = self._processes[name].wait(seconds)
        return code, (self.folder / f"{name}.err").read_text()

    def running(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def page(self, name: str, path: str) -> tuple[int, str]:
        """What a party's port for metrics answers."""
        url = f"http://127.0.0.1:{self.watched[name]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def counts(self, name: str) -> dict[str, float]:
        """A party's metrics, by name and labels."""
        lines = self.page(name, "/metrics")[1].splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {key: float(value) for key, value in pairs}

    def until(self, name: str, key: str, value: float, seconds: float = 10.0) -> None:
        """Waits until a count has a value."""
        end = time.monotonic() + seconds
        while (found := self.counts(name).get(key, 0.0)) != value:
            assert time.monotonic() < end, f"{key} at {name} is {found}, not {value}"
            time.sleep(0.02)


def environment(folder: Path) -> dict[str, str]:
    """That of a command whose files are to be found in a folder."""
    return {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
