"""The benchmark's workloads with a process for each party: jsmpc's own, and those of a peer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jsmpc.bench import comparison, measure, report
from jsmpc.bench.__main__ import main
from jsmpc.bench.measure import Row, Settings
from jsmpc.bench.processes import Processes
from jsmpc.bench.serving import Failed
from jsmpc.bench.table import WORKLOADS
from jsmpc.bench.workloads import Workload


def descendants(of: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()[1:]]
    found = {of}
    for _ in parents:
        more = found | {pid for pid, parent in parents if parent in found}
        if more == found:
            break
        found = more
    return found - {of}


def alive(pids: set[int]) -> set[int]:
    listed = subprocess.run(["ps", "-eo", "pid,stat"], capture_output=True, text=True, check=True)
    lines = (line.split() for line in listed.stdout.splitlines()[1:])
    return pids & {int(pid) for pid, stat in lines if not stat.startswith("Z")}


def gone(pids: set[int], seconds: float = 10.0) -> bool:
    """Whether processes end within some seconds."""
    end = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pids)


def command(pid: int) -> str:
    listed = ["ps", "-o", "args=", "-p", str(pid)]
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout


def test_real_parties(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started, others = set[int](), descendants(os.getpid())  # of other tests
    leave = Processes.__exit__

    def leaving(parties: Processes, *details: Any) -> None:
        started.update(descendants(os.getpid()) - others)
        leave(parties, *details)

    monkeypatch.setattr(Processes, "__exit__", leaving)
    target = tmp_path / "figures.json"
    arguments = ["--protocol", "additive", "--phase", "online", "--in-process", "--processes"]
    arguments += ["--repeat", "2", "--json", str(target)]
    assert main(["matmul_128x784x500", *arguments]) == 0
    assert len(started) >= 4 and gone(started, 0)
    head = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("workload"))
    assert head.split()[-3:] == ["processes", "ms", "ratio"]
    (row,) = json.loads(target.read_text())["rows"]
    found = row["peers"]["processes"]
    assert (found["status"], found["note"]) == ("ok", "")
    assert len(found["times"]) == 2 and found["first_call"] > 0 and found["offline"] > 0
    assert 0 < found["max_error"] < 1e-3 and found["peak_bytes"] > 50e6


def test_real_parties_that_end_or_refuse() -> None:
    workload = WORKLOADS["matmul_128x784x500"]
    others = descendants(os.getpid())
    with Processes(workload, Settings("insecure-plain")) as parties:
        assert parties.first() > 0
        started = descendants(os.getpid()) - others
        (victim,) = [pid for pid in started if " party " in command(pid)]
        os.kill(victim, signal.SIGKILL)
        with pytest.raises(Failed):
            parties.again()
        assert gone(started)
    unknown = Workload("unknown", "in no table", workload.function, workload.generate)
    with (
        Processes(unknown, Settings("insecure-plain")) as parties,
        pytest.raises(Failed, match="unknown"),
    ):
        parties.first()


def test_an_interrupt_leaves_no_party_behind() -> None:
    arguments = ["matmul_128x784x500", "--protocol", "insecure-plain", "--processes"]
    program = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from jsmpc.bench.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    bench = subprocess.Popen(
        [sys.executable, "-c", program, *arguments, "--repeat", "1000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        started = descendants(bench.pid)
        while not any(" party " in command(pid) for pid in started):
            assert time.monotonic() < end and bench.poll() is None
            time.sleep(0.1)
            started = descendants(bench.pid)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(30) == 130
    finally:
        bench.kill()
        bench.wait()
    assert gone(started)


@pytest.fixture
def fake_spu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to which each party writes its process and its address."""
    package = tmp_path / "spu"
    package.mkdir()
    (package / "__init__.py").write_text(Path(__file__).with_name("fake_spu.py").read_text())
    frontend = "from spu import compiled as compile\nclass Kind:\n    JAX = 1\n"
    (package / "utils").mkdir()
    (package / "utils" / "frontend.py").write_text(frontend)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("FAKE_SPU", str(tmp_path / "parties"))
    return tmp_path / "parties"


def test_a_peer_in_processes(fake_spu: Path) -> None:
    peer = comparison.find(sys.executable, processes=True)[2]
    assert peer.name == "ABY3 processes"
    assert peer.name not in [p.name for p in comparison.find(sys.executable)]
    row = Row(peer.name)
    with comparison.PeerProcess(peer, WORKLOADS["matmul_128x784x500"]) as process:
        measure.fill(row, [(row, process)], repeat=2)
        pids, addresses = zip(*map(str.split, fake_spu.read_text().splitlines()), strict=True)
        assert alive(set(map(int, pids))) == set(map(int, pids))
    assert (row.status, row.note) == ("ok", "")
    assert row.max_error is not None and 0 < row.max_error < 1e-3 and len(row.times) == 2
    assert len(set(pids)) == len(set(addresses)) == 3
    assert gone(set(map(int, pids)))


def test_a_peer_whose_party_ends(fake_spu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SPU_DIES", "1")
    peer = comparison.find(sys.executable, processes=True)[2]
    with comparison.PeerProcess(peer, WORKLOADS["matmul_128x784x500"]) as process:
        process.first()
        with pytest.raises(Failed, match="process ended"):
            process.again()
    assert gone({int(line.split()[0]) for line in fake_spu.read_text().splitlines()})


def test_processes_are_compared_with_processes() -> None:
    row = Row("relu_1m", median=1.0)
    row.peers = {n: Row(n, median=m) for n, m in (("processes", 4.0), ("ABY3 processes", 6.0))}
    text = report.table([row], Settings(), None, list(row.peers))
    assert text.splitlines()[1].split() == ["relu_1m", "1000", "4000", "4.0", "6000", "1.5"]
