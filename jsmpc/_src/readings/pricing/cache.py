"""The speeds of this machine, in the user's cache: measured once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import jax

from jsmpc._src.kernels import native
from jsmpc._src.readings.pricing import calibration
from jsmpc._src.readings.pricing.speeds import Speeds
from jsmpc._src.readings.pricing.work import UNITS
from jsmpc._version import __version__

_FORM = 1  # of the file, and of what the units mean
_known: dict[str, Speeds] = {}  # in this process


def speeds() -> Speeds:
    """Those of this machine; the first time they are measured, which takes a second or two."""
    machine = _machine()
    name = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:16]
    if name not in _known:
        path = folder() / f"speeds-{name}.json"
        found = _read(path, machine)
        if found is None:
            found = calibration.measure()
            _write(path, machine, found)
        _known[name] = found
    return _known[name]


def folder() -> Path:
    """Where the user's cache is: `$XDG_CACHE_HOME/jsmpc`, or `~/.cache/jsmpc`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "jsmpc"


def _machine() -> dict[str, Any]:
    """What speeds depend on."""
    return {
        "form": _FORM,
        "jsmpc": __version__,
        "jax": jax.__version__,
        "machine": [platform.node(), platform.system(), platform.machine(), _processor()],
        "cores": calibration.cores(),
        "native": native.available(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith(("model name", "flags", "Features")):
                return line.partition(":")[2].strip()
    return platform.processor()


def _read(path: Path, machine: dict[str, Any]) -> Speeds | None:
    """The speeds in a file; None if it is not there, damaged, or of another machine."""
    try:
        stored = json.loads(path.read_text())
        if stored["machine"] != machine:
            return None
        seconds = {unit: float(stored["seconds"][unit]) for unit in UNITS}
        return Speeds(seconds, int(stored["cores"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, machine: dict[str, Any], found: Speeds) -> None:
    """Writes a file whole or not at all; where there is no cache, nothing."""
    content = {"machine": machine, "seconds": dict(found.seconds), "cores": found.cores}
    with contextlib.suppress(OSError, RuntimeError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".speeds-")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(content, file, indent=1)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
