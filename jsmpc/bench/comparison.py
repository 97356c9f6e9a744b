"""Peers measured beside jsmpc: finding what a Python has, and running `peers` there."""

from __future__ import annotations

import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from jsmpc.bench.measure import Remote, largest_error, reference
from jsmpc.bench.workloads import Workload

_SCRIPT = Path(__file__).with_name("peers.py")
_MODULES = {"spu": ("ABY3", "SEMI2K"), "crypten": ("CrypTen",)}
_PROCESSES = {"spu": ("ABY3 processes",)}
_LOOK = (
    "import importlib.util as u; "
    f"print(*[m for m in {tuple(_MODULES)!r} if u.find_spec(m) is not None])"
)


class NoPeerError(Exception):
    """A path that is no Python, or one in which no peer is installed."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A system to compare with, and the Python that has it."""

    name: str
    python: str


def find(path: str, processes: bool = False) -> list[Peer]:
    """The peers that a Python has, also those with a process a party if asked for.

    Raises:
      NoPeerError: if there are none.
    """
    try:
        done = subprocess.run([path, "-c", _LOOK], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoPeerError(f"{path} does not run as a Python: {error}") from error
    peers = [
        Peer(name, path)
        for module in done.stdout.split()
        for name in (*_MODULES[module], *(_PROCESSES.get(module, ()) if processes else ()))
    ]
    if not peers:
        raise NoPeerError(f"neither SPU nor CrypTen is installed for {path}")
    return peers


class PeerProcess(Remote):
    """A workload on a peer, in a process of its own."""

    def __init__(self, peer: Peer, workload: Workload):
        self._workload = workload
        self._directory = tempfile.TemporaryDirectory()
        self._path = Path(self._directory.name)
        np.savez(self._path / "inputs.npz", *workload.inputs())
        super().__init__([peer.python, str(_SCRIPT), peer.name, workload.name, str(self._path)])

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)
        self._directory.cleanup()

    def finish(self) -> dict[str, Any]:
        values = super().finish()
        with np.load(self._path / "outputs.npz") as stored:
            found = [stored[f"arr_{i}"] for i in range(len(stored.files))]
        return {**values, "max_error": largest_error(found, reference(self._workload))}
