"""Workers in processes of their own, for tests: started, asked, killed, and all ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsmpc
from jsmpc._src.deployment import identity, log
from jsmpc._src.deployment.probe import free_port
from jsmpc._src.workers.remote import RemoteWorker

PACKAGE = str(Path(jsmpc.__file__).parents[1])
ENDING = 15  # seconds for a process to be gone


class Processes:
    """Workers as processes, and the file that says where they are; a context that ends them.

    Args:
      folder: where all files are; workers, clients: the names of those who get an identity.
    """

    def __init__(self, folder: Path, workers: list[str], clients: list[str]) -> None:
        self.folder, self.config = folder, folder / "workers.toml"
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._options: dict[str, list[object]] = {}
        self._clients: dict[str, dict[str, RemoteWorker]] = {}
        lines = ["deadline = 30"]
        for name in workers:
            port = free_port("127.0.0.1")
            lines += [f"[workers.{name}]", 'host = "127.0.0.1"', f"port = {port}"]
            lines.append(f'certificate = "{name}.cert.pem"')
        for name in clients:
            lines += [f"[clients.{name}]", f'certificate = "{name}.cert.pem"']
        for name in (*workers, *clients):
            identity.new(name, folder)
        self.config.write_text("\n".join(lines))

    def start(self, name: str, *options: object) -> None:
        """Starts a worker, or starts it again as it was; `wait` for it."""
        self._options[name] = list(options) or self._options.get(name, [])
        words = ["worker", "--name", name, "--config", self.config, *self._options[name]]
        self.running[name] = subprocess.Popen(
            [sys.executable, "-m", "jsmpc", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PACKAGE},
        )

    def wait(self, *names: str) -> None:
        """Waits until these answer."""
        for name in names:
            stdout = self.running[name].stdout
            assert stdout is not None
            if not stdout.readline().startswith(f"{name} answers at"):
                raise AssertionError(f"{name}: {self.end(name)}")

    def end(self, name: str, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """The exit code, and what was printed, of a worker that gets a signal."""
        self.running[name].send_signal(number)
        return self._ended(name)

    def _ended(self, name: str) -> tuple[int, str, str]:
        process = self.running.pop(name)
        try:
            out, err = process.communicate(timeout=ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return process.returncode, out, err

    def client(self, name: str) -> dict[str, RemoteWorker]:
        """All workers, as a client asks them."""
        if name not in self._clients:
            self._clients[name] = jsmpc.workers(self.config, name)
        return self._clients[name]

    def clear(self) -> None:
        """Leaves nothing of any client at bob and alice."""
        for found in self._clients.values():
            for name in {"bob", "alice"} & set(self.running):
                found[name].clear()

    def resident(self, name: str) -> int:
        """The bytes of memory that a worker's process has."""
        text = Path(f"/proc/{self.running[name].pid}/status").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) << 10

    def log(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """The events in a worker's log, which it may have open, and their fields."""
        return list(entries(self.folder / f"{name}.log"))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for found in self._clients.values():
            for worker in found.values():
                worker.close()
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        try:
            ended = {name: self._ended(name) for name in list(self.running)}
        finally:
            for process in self.running.values():
                process.kill()
                process.communicate()
        failed = {name: found for name, found in ended.items() if found[0] or found[2]}
        assert not failed, failed
        for file in self.folder.glob("*.log"):
            log.verify(file)


def entries(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events in a log, and their fields."""
    for line in file.read_text().splitlines():
        found = json.loads(line)
        yield found["event"], found["fields"]
