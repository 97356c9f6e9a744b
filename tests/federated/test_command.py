"""`jsmpc federated`: learns, beside the same in the clear, and draws a curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from jsmpc.examples import command

SMALL = [
    "federated",
    "--clients",
    "20",
    "--per-round",
    "4",
    "--rounds",
    "2",
    "--steps",
    "5",
    "--alpha",
    "0.5",
]


def test_it_prints_both_accuracies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*SMALL, "--plot", str(tmp_path / "curve.png")]) == 0
    out = capsys.readouterr().out
    assert "4,000 images at 20 clients, 4 a round; aggregate: secure" in out
    right = [float(line.split("%")[0].split()[-1]) for line in out.splitlines() if "%" in line]
    assert len(right) == 2 and abs(right[0] - right[1]) < 1 and min(right) > 20
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_more_clients_in_a_round_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([*SMALL, "--per-round", "21"])
    assert "21 of 20 clients cannot take part" in capsys.readouterr().err
