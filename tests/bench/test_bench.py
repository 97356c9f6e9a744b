"""The benchmark: its table of workloads, what it measures, and its command line."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
import jsmpc.bench
from jsmpc.bench import __main__ as bench
from jsmpc.bench import comparison, limits, measure, report
from jsmpc.bench.__main__ import main
from jsmpc.bench.measure import Local, Remote, Row, Settings
from jsmpc.bench.serving import Failed, Unsupported
from jsmpc.bench.table import WORKLOADS
from jsmpc.bench.workloads import Workload

PUBLISHED = [
    *("matmul_128x784x500", "matmul_1024", "mul_1m", "relu_1m", "less_1m", "argmax_1000x10"),
    *("mlp_infer_b1", "mlp_infer_b50", "mlp_infer_b128", "mlp_train_b128", "lenet_b32"),
    *("transformer_block", "exp", "reciprocal", "div", "sqrt", "rsqrt", "log", "sigmoid", "tanh"),
    *("erf", "gelu", "softmax_1000x10"),
    *("encoder_16", "encoder_64", "layers_3", "layers_12"),
    *("adam_step", "vae_step", "resnet18_b1"),
]


def small(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    return tuple(rng.standard_normal(s).astype(np.float32) for s in ((5, 7), (7, 3)))


MATMUL = Workload("small_matmul", "5×7 @ 7×3", jnp.matmul, small, products=((5, 7, 3),))
PUBLIC = Workload("public_matmul", "5×7 @ 7×3", jnp.matmul, small, public=(1,))
FFT = Workload("small_fft", "no protocol has it", lambda x, _: jnp.fft.fft(x).real, small)
BROKEN = Workload("broken", "its function raises", lambda x, y: x @ x @ y, small)


# --- The workloads ----------------------------------------------------------------------------


def test_the_published_workloads_are_there() -> None:
    assert list(WORKLOADS) == PUBLISHED
    assert all(name == w.name and w.about for name, w in WORKLOADS.items())


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_workload_is_consistent(name: str) -> None:
    workload = WORKLOADS[name]
    inputs = workload.inputs()
    for x, again in zip(inputs, workload.inputs(), strict=True):
        assert np.array_equal(x, again)
        assert np.isfinite(x).all() and np.abs(x).max() <= 128
        assert x.dtype in (np.float32, np.int32)
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    assert jax.tree.leaves(jax.eval_shape(workload.function, *shapes))
    assert bool(workload.products) != workload.elementwise


def test_the_multiply_adds_of_a_network() -> None:
    assert WORKLOADS["mlp_infer_b50"].multiply_adds == 50 * (784 * 500 + 500 * 10)


def test_most_labels_are_the_predictions() -> None:
    (right,) = measure.reference(WORKLOADS["mlp_infer_b128"])
    assert 96 <= right <= 128


# --- A measurement ----------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["both", "online"])
@pytest.mark.parametrize("protocol", ["replicated", "additive", "fss2", "insecure-plain"])
def test_a_measurement_has_every_figure(protocol: str, phase: str) -> None:
    settings = Settings(protocol, phase=phase)
    row = Row(MATMUL.name)
    measure.fill(row, [(row, Local(MATMUL, settings))], repeat=3)
    assert (row.status, row.note) == ("ok", "")
    assert len(row.times) == 3 and row.median is not None and 0 < row.median < 1
    assert row.first_call is not None and row.first_call > 0
    assert (row.offline is not None) == (phase == "online")

    shares = jsmpc.share(jsmpc.random_key(), MATMUL.inputs(), settings.make())
    cost = jsmpc.secure(jnp.matmul).cost(*shares)
    assert row.bytes_per_party == cost.bytes_per_party
    assert row.rounds == cost.rounds
    assert row.dealer_bytes == cost.dealer_bytes
    assert row.max_error is not None and 0 < row.max_error < 1e-4
    assert row.peak_bytes is not None and row.peak_bytes > 50e6
    assert row.share_bytes == 8 * settings.make().size * (5 * 7 + 7 * 3 + 5 * 3)


def test_public_inputs_are_not_shared() -> None:
    candidate = Local(PUBLIC, Settings())
    candidate.first()
    assert candidate.finish()["rounds"] == 3  # of two truncations: a public factor is exact
    assert candidate.finish()["max_error"] < 1e-4


def test_rings_and_parties() -> None:
    assert Settings("additive", parties=4).make().size == 4
    assert Settings("replicated", bits=32).make().bits == 32
    with pytest.raises(jsmpc.ProtocolError, match="3 parties, not 2"):
        Settings("replicated", parties=2).make()


def test_what_is_unsupported_or_broken_says_so() -> None:
    row = Row(FFT.name)
    measure.fill(row, [(row, Local(FFT, Settings()))], repeat=1)
    assert row.status == "unsupported" and "fft" in row.note and row.median is None
    row = Row(BROKEN.name)
    measure.fill(row, [(row, Local(BROKEN, Settings()))], repeat=1)
    assert row.status == "failed" and row.note


def test_candidates_run_in_turns() -> None:
    turns: list[str] = []

    class Fake:
        def __init__(self, name: str):
            self.name = name

        def first(self) -> float:
            return 1.0

        def again(self) -> float:
            turns.append(self.name)
            return float(len(turns))

        def finish(self) -> dict[str, int]:
            return {"rounds": 7}

    row, other = Row("relu_1m"), Row("peer")
    measure.fill(row, [(row, Fake("own")), (other, Fake("peer"))], repeat=3)
    assert turns == ["own", "peer"] * 3
    assert (row.median, row.peers["peer"].median, other.rounds) == (3.0, 4.0, 7)
    text = report.table([row], Settings(), None, ["peer"])
    assert text.splitlines()[1].split() == ["relu_1m", "3000", "1.00", "7", "4000", "1.3"]


def test_the_largest_error() -> None:
    x = np.asarray([1.0, 2.0])
    assert measure.largest_error([x], [x + 0.25]) == 0.25
    assert measure.largest_error([x], [np.asarray([1.0, np.nan])]) == np.inf
    assert measure.largest_error([x], [x[:1]]) == np.inf


# --- Ceilings ---------------------------------------------------------------------------------


def test_shares_of_the_ceilings() -> None:
    gemm = {kind: {"shape": rate} for kind, rate in (("float64", 9.0), ("uint64", 10.0))}
    ceilings = limits.Limits(gemm, write=10.0, copy=20.0, keystream={})
    row = Row("matmul_1024", median=2 * 6 * 1024**3 / 10e9)
    found = limits.share_of_ceiling(WORKLOADS[row.workload], row, ceilings, Settings())
    assert found == ("GEMM", pytest.approx(1.0))
    row = Row("relu_1m", median=0.01, share_bytes=100_000_000)
    found = limits.share_of_ceiling(WORKLOADS[row.workload], row, ceilings, Settings())
    assert found == ("copy", pytest.approx(0.5))
    online = Settings("additive", phase="online")
    assert limits.ring_operations(MATMUL, online) == 2 * 4 * 5 * 7 * 3
    assert limits.ring_operations(MATMUL, Settings("additive")) == 2 * 5 * 5 * 7 * 3
    assert "GEMM float64" in report.limits_text(ceilings)


# --- Other processes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        ("raise SystemExit('no such thing')", Failed, "status 1: no such thing"),
        ("serve(lambda: 1 / 0)", Failed, "ZeroDivisionError"),
        ("def f(): raise Unsupported('not here')\nserve(f)", Unsupported, "not here"),
    ],
)
def test_a_process_that_dies_or_refuses(make: str, error: type[Exception], message: str) -> None:
    program = f"from jsmpc.bench.serving import Unsupported, serve\n{make}"
    with Remote([sys.executable, "-c", program]) as process, pytest.raises(error, match=message):
        process.first()


def test_what_a_peer_loads_imports_nothing_of_jsmpc() -> None:
    folder = Path(jsmpc.bench.__file__).parent
    for name in (*(path.name for path in folder.glob("peer*.py")), "serving.py", "workloads.py"):
        for node in ast.walk(ast.parse((folder / name).read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(found.split(".")[0] == "jsmpc" for found in names)


def test_a_python_without_a_peer(tmp_path: Path) -> None:
    with pytest.raises(comparison.NoPeerError, match="does not run"):
        comparison.find(str(tmp_path / "python"))


# --- The command line -------------------------------------------------------------------------


def test_an_unknown_workload(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["relu_1m", "rely_1m"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "rely_1m" in message and all(name in message for name in PUBLISHED)


@pytest.mark.parametrize(
    "arguments", [["--parties", "2"], ["--repeat", "0"], ["--peer-python", "/nowhere/python"]]
)
def test_bad_options(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["relu_1m", *arguments])
    assert stopped.value.code == 2


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == PUBLISHED


def test_a_run_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    assert main(["matmul_128x784x500", "--repeat", "2", "--json", str(target)]) == 0
    text = capsys.readouterr().out
    assert "Replicated3, 3 parties, 64 bits" in text and "matmul_128x784x500  " in text
    figures = json.loads(target.read_text())
    assert figures["header"]["jax"] == jax.__version__
    (row,) = figures["rows"]
    assert row["status"] == "ok" and len(row["times"]) == 2 and row["max_error"] < 1e-2
    assert row["rounds"] > 0 and row["bytes_per_party"] >= 128 * 500 * 8


def test_what_is_unsupported_fails_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for workload in (FFT, MATMUL, BROKEN):
        monkeypatch.setitem(WORKLOADS, workload.name, workload)
    assert main([FFT.name, MATMUL.name, "--in-process", "--repeat", "1", "--bits", "32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("small_fft") and "not yet supported" in line for line in lines)
    assert main([BROKEN.name, MATMUL.name, "--in-process", "--repeat", "1", "--json", "-"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in figures["rows"]] == ["failed", "ok"]


def test_an_interrupted_run_shows_what_it_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for workload in (MATMUL, BROKEN):
        monkeypatch.setitem(WORKLOADS, workload.name, workload)
    measured = bench._measured

    def interrupted(workload: Workload, *rest: Any) -> Row:
        if workload is BROKEN:
            raise KeyboardInterrupt
        return measured(workload, *rest)

    monkeypatch.setattr(bench, "_measured", interrupted)
    names = [MATMUL.name, BROKEN.name]
    assert main([*names, "--in-process", "--repeat", "1", "--json", "-"]) == 130
    printed = capsys.readouterr()
    assert [row["workload"] for row in json.loads(printed.out)["rows"]] == [MATMUL.name]
    assert "interrupted" in printed.err
