"""The benchmark of aggregations: a row for each, and an exit code that tells of a wrong mean."""

from __future__ import annotations

import dataclasses

import pytest

from jsmpc.bench import __main__ as command
from jsmpc.bench import federated

SMALL = ["federated", "--clients", "10", "--dropping", "1", "--parameters", "100", "--repeat", "1"]


def test_each_way_has_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("10 clients, 100 parameters, 1 drop out")
    rows = lines[3 : 3 + len(federated.ROWS)]
    assert [line[:24].strip() for line in rows] == list(federated.ROWS)


def test_a_wrong_mean_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    full = federated.full
    wrong = {"wrong": lambda task: dataclasses.replace(full(task), error=1.0)}
    monkeypatch.setattr(federated, "ROWS", wrong)
    assert command.main(SMALL) == 1


def test_arguments_that_cannot_be(capsys: pytest.CaptureFixture[str]) -> None:
    for bad in (["--dropping", "3"], ["--parameters", "0"], ["--repeat", "0"]):
        with pytest.raises(SystemExit):
            command.main([*SMALL, *bad])
    assert "five times" in capsys.readouterr().err
