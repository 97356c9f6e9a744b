"""`jsmpc federated` with differential privacy: the cost is printed, the budget stops the run."""

from __future__ import annotations

import pytest

from jsmpc._src.federated.privacy import accounting
from jsmpc.examples import command

pytest.importorskip("dp_accounting")

SMALL = ["federated", "--clients", "8", "--per-round", "8", "--steps", "2", "--aggregate", "mean"]


def test_a_budget_stops_the_run_and_its_cost_is_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    costs = [accounting.epsilon(((accounting.Mechanism(2.0), i),), 1e-4) for i in (1, 2)]
    between = f"{sum(costs) / 2:.3f}"
    arguments = ["--rounds", "2", "--noise", "2", "--epsilon", between, "--delta", "1e-4"]
    assert command.main([*SMALL, *arguments, "--clip", "0.5"]) == 0
    out = capsys.readouterr().out
    assert f"ε = {costs[0]:.2f} at δ = 0.0001 after 1 rounds, noise 2.00 × clip 0.5" in out
    assert f"would bring ε to {costs[1]:.3f}" in out
    assert "mean " in out and "in the clear" in out


def test_privacy_of_a_median(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["federated", "--noise", "1", "--aggregate", "secure-median"])
    assert "is of secure or mean, not secure-median" in capsys.readouterr().err
