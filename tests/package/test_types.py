"""What a type checker tells: users that `secure` keeps a signature, authors what shares are."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jsmpc

USERS = """
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


PROTOCOLS = """
from jsmpc.extend import Context, Protocol, Replica

def f(smpc: Protocol[Replica], ctx: Context, x: Replica) -> Replica:
    b = smpc.msb(ctx, x)
    smpc.mul_ba(ctx, b, x) + smpc.b2a(ctx, smpc.and_bb(ctx, b, smpc.not_b(ctx, b ^ b)))
    x + b  # wrong
    b + x  # wrong
    b ^ x  # wrong
    smpc.mul_aa(ctx, x, b)  # wrong
    smpc.and_bb(ctx, x, b)  # wrong
    smpc.mul_ba(ctx, x, b)  # wrong
    smpc.b2a(ctx, x)  # wrong
    return b  # wrong
"""


@pytest.fixture(scope="module")
def messages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str]]]:
    """Lines and messages of the programs above, by the programs' names."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("needs mypy")
    programs = {"users": USERS, "protocols": PROTOCOLS}
    folder, root = tmp_path_factory.mktemp("types"), Path(jsmpc.__file__).parents[1]
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text)
    paths = [str(folder / f"{name}.py") for name in programs]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", *paths],
        capture_output=True,
        text=True,
        cwd=root,
        env={"MYPYPATH": str(root), "PATH": "/usr/bin:/bin"},
    )
    result: dict[str, list[tuple[int, str]]] = {name: [] for name in programs}
    for line in found.stdout.splitlines():
        if located := re.match(r".*?(\w+)\.py:(\d+): (.*)", line):
            name, number, message = located.groups()
            result[name].append((int(number), message))
    return result


def wrong_lines(found: list[tuple[int, str]], program: str) -> list[str]:
    lines = program.splitlines()
    return [lines[n - 1] for n in dict.fromkeys(n for n, m in found if m.startswith("error"))]


def test_types_help(messages: dict[str, list[tuple[int, str]]]) -> None:
    assert wrong_lines(messages["users"], USERS) == [
        "secure(key, x, wrong=1.0)",
        "secure(key)",
        "jsmpc.Additive(parties=3.5)",
    ]
    revealed = [m for _, m in messages["users"] if "Revealed type" in m]
    assert ["Array" in m for m in revealed] == [True, True, False]
    assert "int" in revealed[2]


def test_boolean_shares_are_told_from_arithmetic_ones(
    messages: dict[str, list[tuple[int, str]]],
) -> None:
    expected = [line for line in PROTOCOLS.splitlines() if line.endswith("# wrong")]
    assert wrong_lines(messages["protocols"], PROTOCOLS) == expected
