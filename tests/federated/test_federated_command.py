"""`jsmpc federated`: learns, beside the same in the clear, and draws a curve."""

from __future__ import annotations

from pathlib import Path

import pytest

from jsmpc.examples import command, federated

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


def test_it_prints_both_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(SMALL) == 0
    out = capsys.readouterr().out
    assert "4,000 images at 20 clients, 4 a round; aggregate: secure" in out
    right = [float(line.split("%")[0].split()[-1]) for line in out.splitlines() if "%" in line]
    assert len(right) == 2 and abs(right[0] - right[1]) < 1 and min(right) > 20


def test_clients_go_through_their_images(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--aggregate", "mean", "--epochs", "1", "--batch-size", "50"]
    assert command.main([*SMALL, *few]) == 0
    assert float(capsys.readouterr().out.split("%")[0].split()[-1]) > 20


def test_it_draws_curves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    federated.plot({"secure": [(1, 0.5), (2, 0.7)]}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_more_clients_in_a_round_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([*SMALL, "--per-round", "21"])
    assert "21 of 20 clients cannot take part" in capsys.readouterr().err
