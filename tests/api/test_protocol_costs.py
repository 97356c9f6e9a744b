"""The table of what the protocols cost, and the README's copy of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from jsmpc._src.api import protocol_costs
from jsmpc.examples import cli

README = Path(__file__).parents[2] / "README.md"


def test_the_table_has_every_protocol_that_hides_something() -> None:
    lines = protocol_costs.table().splitlines()
    assert lines[0] == "| protocol | parties | corrupt | product | comparison | equality | ReLU |"
    replicated, additive = lines[2:4]
    assert replicated.startswith("| `Replicated3()` | 3 | 1 | 1 round, 8 B | ")
    assert additive.startswith("| `Additive()` | 2 | 1 | 1 round, 16 B, 8 B dealt | ")
    assert not any("Plain" in line for line in lines)


def test_the_readme_has_it() -> None:
    """If this fails: jsmpc protocols --write README.md"""
    text = README.read_text()
    assert protocol_costs.written(text) == text


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_command(["protocols"]) == 0
    assert "`Replicated3()`" in capsys.readouterr().out
    file = tmp_path / "text.md"
    file.write_text(f"before\n{protocol_costs.BEGIN}\nold\n{protocol_costs.END}\nafter\n")
    assert cli.run_command(["protocols", "--write", str(file)]) == 0
    text = file.read_text()
    assert "old" not in text and text.startswith("before\n") and protocol_costs.table() in text
    file.write_text("no markers")
    with pytest.raises(SystemExit):
        cli.run_command(["protocols", "--write", str(file)])
    assert "must hold the markers" in capsys.readouterr().err
