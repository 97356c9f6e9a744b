"""What `jsmpc` says beside its jobs: versions, support, kernels; and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jsmpc
from jsmpc._src.interpreter.support import BEGIN, END
from jsmpc._src.kernels import native
from jsmpc.examples import cli, command, terminal


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["train", "--help"]])
def test_questions_are_answered(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        command.main(arguments)
    assert ending.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith((f"jsmpc {jsmpc.__version__}, JAX ", "usage: jsmpc "))


def test_what_is_supported_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["supported"]) == 0
    assert capsys.readouterr().out == f"{jsmpc.supported()}\n"


def test_the_table_is_written_between_the_markers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "PAGE.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert command.main(["supported", "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert jsmpc.supported().markdown() in text and "old" not in text.split()

    page.write_text("no markers")
    for path in (page, tmp_path / "missing.md"):
        with pytest.raises(SystemExit) as ending:
            command.main(["supported", "--write", str(path)])
        assert ending.value.code == 2
        assert "error: --write: " in capsys.readouterr().err
    assert page.read_text() == "no markers"


def test_the_report_says_how_the_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "why_unavailable", lambda: None)
    assert cli.kernels() == "native"
    monkeypatch.setattr(native, "why_unavailable", lambda: "they do not load")
    assert cli.kernels() == "XLA alone, more slowly: they do not load"
    assert "they do not load" in cli.version()


# --- How a command ends -----------------------------------------------------------------------


def test_an_interrupted_command(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert terminal.run(interrupted) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert terminal.run(lambda: 3) == 3


@pytest.mark.parametrize("command", ["jsmpc supported", "jsmpc.bench --list"])
def test_a_closed_pipe(command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # nobody reads
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (terminal.NOBODY_READS, "")


def test_the_signal_of_ctrl_c_ends_a_process_quietly() -> None:
    program = (
        "import signal, sys, time\n"
        "from jsmpc.examples import terminal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # also in the background
        "def wait():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "sys.exit(terminal.run(wait))\n"
    )
    process: Any = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(30), process.stderr.read()) == (130, "interrupted\n")
