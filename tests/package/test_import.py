"""`import jsmpc` is quick and quiet: it loads what it needs, and changes nothing.

So does the command, before it knows what it is to do.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsmpc

PROGRAM = """
import json, sys, time
import jax, jax.numpy
settings, before = dict(jax.config.values), set(sys.modules)
start = time.perf_counter()
import jsmpc, jsmpc.examples.command
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "loaded": sorted({m.split(".")[0] for m in set(sys.modules) - before}),
    "settings": dict(jax.config.values) == settings,
}))
"""


def test_importing_is_quick_and_loads_no_application() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    found = json.loads(run.stdout)
    applications = {"flax", "optax", "tqdm", "matplotlib", "scipy", "orbax", "grpc"}
    assert not applications & set(found["loaded"])
    assert found["settings"], "importing jsmpc changes a setting of JAX"
    assert found["seconds"] < 2  # beside JAX; about 0.15 on an idle machine


def test_types_are_for_users_too() -> None:
    assert (Path(jsmpc.__file__).parent / "py.typed").is_file()
