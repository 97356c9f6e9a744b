"""What a type checker tells users: `secure` keeps the signature of the function."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import jsmpc

USES = """
import jax
import jsmpc

def f(x: jax.Array, *, scale: float = 2.0) -> jax.Array:
    return x * scale

smpc = jsmpc.Additive(parties=3)
named = jsmpc.Additive(parties=("bob", "alice"), dealer="james")
secure = jsmpc.secure(f)
configured = jsmpc.secure(static_argnames="scale")(f)
key = jsmpc.random_key()
x = jsmpc.share(key, jax.numpy.ones(3), smpc)
reveal_type(secure(key, x, scale=1.0))
reveal_type(configured(key, x))
secure(key, x, wrong=1.0)
secure(key)
jsmpc.Additive(parties=3.5)
reveal_type(secure.cost(x).rounds)
"""


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_types_help(tmp_path: Path) -> None:
    program = tmp_path / "uses.py"
    program.write_text(USES)
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(program)],
        capture_output=True,
        text=True,
        cwd=Path(jsmpc.__file__).parents[1],
        env={"MYPYPATH": str(Path(jsmpc.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )
    lines = [line.split(":", 1)[1] for line in found.stdout.splitlines() if "uses.py" in line]
    kinds = [(int(line.split(":")[0]), line.split(": ", 1)[1].split(":")[0][:5]) for line in lines]
    text = USES.splitlines()
    errors = [n for n, kind in kinds if kind == "error"]
    assert [text[n - 1] for n in errors] == [
        "secure(key, x, wrong=1.0)",
        "secure(key)",
        "jsmpc.Additive(parties=3.5)",
    ]
    revealed = [line for line in lines if "Revealed type" in line]
    assert ["Array" in line for line in revealed] == [True, True, False]
    assert "int" in revealed[2]
