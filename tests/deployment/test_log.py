"""The log of runs: what it takes, and that no change to it goes unnoticed."""

from __future__ import annotations

import enum
import hashlib
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jsmpc._src.deployment import log
from jsmpc._src.deployment.errors import LogError


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A log of five entries."""
    file = tmp_path / "runs.log"
    for number in range(5):
        log.append(file, "run", number=number, program=f"{number:02x}" * 32)
    return file


def test_a_line_is_an_object_whose_chain_covers_all_before_it(tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    heads = [
        log.append(file, "run", program="ab", shapes=[(3, 4), ()], bytes_sent={"bob": 7}),
        log.append(file, "reveal", to="everyone", seconds=0.5, path=None, event=True),
    ]
    previous = log.START
    for line, head in zip(file.read_text().splitlines(), heads, strict=True):
        values = json.loads(line)
        assert list(values) == ["chain", "event", "fields", "time"]
        chain = values.pop("chain")
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        assert chain == hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest() == head.chain
        previous = chain
    assert values["fields"] == {"to": "everyone", "seconds": 0.5, "path": None, "event": True}
    assert values["time"].endswith("+00:00")
    assert [head.entries for head in heads] == [1, 2]
    assert log.verify(file) == heads[-1]


def test_an_empty_log_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "runs.log").touch(0o600)
    assert log.verify(tmp_path / "runs.log") == (0, log.START)


class Word(enum.StrEnum):
    YES = "yes"


@pytest.mark.parametrize(
    "value",
    [
        b"secret",
        np.zeros(3),
        np.float64(1.5),
        np.int32(1),
        jnp.ones(()),
        [1.5, 2.5],
        {"x": [0.5]},
        {1: 2},
        float("nan"),
        [b"secret"],
        Word.YES,
        {1, 2},
    ],
    ids=repr,
)
def test_a_log_holds_no_data(value: Any, tmp_path: Path) -> None:
    log.append(tmp_path / "runs.log", "run")
    before = (tmp_path / "runs.log").read_bytes()
    with pytest.raises(TypeError, match=r"field 'x' holds a .*Log a name") as error:
        log.append(tmp_path / "runs.log", "run", x=value)
    assert "secret" not in str(error.value)
    assert (tmp_path / "runs.log").read_bytes() == before


def test_an_event_is_a_string(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="event must be a string, not bytes"):
        log.append(tmp_path / "runs.log", b"run")  # type: ignore[arg-type]


def test_lines_of_any_text_stay_lines(tmp_path: Path) -> None:
    log.append(tmp_path / "runs.log", "a\nb\r\u2028\x85", text="{\n}\x00\ud800")
    assert log.append(tmp_path / "runs.log", "run").entries == 2
    assert log.verify(tmp_path / "runs.log").entries == 2


def changed(lines: list[bytes], line: int, old: bytes, new: bytes) -> list[bytes]:
    assert old in lines[line - 1]
    return [*lines[: line - 1], lines[line - 1].replace(old, new), *lines[line:]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: changed(lines, 2, b'"number":1', b'"number":7'), 2),
        (lambda lines: changed(lines, 5, b'"run"', b'"ran"'), 5),
        (lambda lines: changed(lines, 1, b"T", b"t"), 1),
        (lambda lines: changed(lines, 3, b'"number":2', b'"number": 2'), 3),
        (lambda lines: changed(lines, 3, b'"event"', b'"Event"'), 3),
        (lambda lines: [*lines[:1], *lines[2:]], 2),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [*lines[:3], b"\n", *lines[3:]], 4),
        (lambda lines: [*lines[:4], lines[4][:-1]], 5),
        (lambda lines: [*lines[:4], lines[4][:40]], 5),
        (lambda lines: [*lines, b"[]\n"], 6),
        (lambda lines: [*lines, b"\xff\n"], 6),
        (lambda lines: [*lines, b"[" * 100_000 + b"\n"], 6),
    ],
)
def test_the_first_broken_line_is_named(book: Path, change: Any, line: int) -> None:
    book.write_bytes(b"".join(change(book.read_bytes().splitlines(keepends=True))))
    before = book.read_bytes()
    message = rf"runs\.log: line {line} .*; the {line - 1} before it are .*restore the log"
    with pytest.raises(LogError, match=message):
        log.verify(book)
    with pytest.raises(LogError, match=message):
        log.append(book, "run")
    assert book.read_bytes() == before


def test_a_lost_end_shows_against_a_known_head(book: Path) -> None:
    head = log.verify(book)
    lines = book.read_bytes().splitlines(keepends=True)
    book.write_bytes(b"".join(lines[:4]))
    assert log.verify(book).entries == 4
    with pytest.raises(LogError, match=f"none of the 4 lines has the chain {head.chain}"):
        log.verify(book, head.chain)
    book.write_bytes(b"".join(lines))
    log.append(book, "run")
    assert log.verify(book, head.chain).entries == 6
    assert log.verify(book, log.START).entries == 6


def test_the_log_is_its_owners(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log.append(tmp_path / "runs.log", "run")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "runs.log").stat().st_mode) == 0o600
    (tmp_path / "runs.log").chmod(0o620)
    for use in (lambda f: log.append(f, "run"), log.verify):
        with pytest.raises(LogError, match=r"`chmod 600 .*runs\.log`"):
            use(tmp_path / "runs.log")


def test_a_second_run_with_the_same_log_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PATIENCE", 0.02)
    remedy = r"runs\.log: another run of this party .* 0\.02 s .* until it has ended, .* --log FILE"
    with log.opened(tmp_path / "runs.log"), pytest.raises(LogError, match=remedy):
        log.append(tmp_path / "runs.log", "run")
    assert log.append(tmp_path / "runs.log", "run").entries == 1


def test_logs_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"runs\.log: there is no such log"):
        log.verify(tmp_path / "runs.log")
    assert not list(tmp_path.iterdir())
    with pytest.raises(LogError, match=r"cannot be opened: No such file.*folder that exists"):
        log.append(tmp_path / "none" / "runs.log", "run")


def test_a_full_disk_leaves_no_half_line(book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = book.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    with pytest.raises(LogError, match=r"cannot be written: no space left\. Make room"):
        log.append(book, "run")
    monkeypatch.undo()
    assert book.read_bytes() == before
    assert log.append(book, "run").entries == 6


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    """Each opens the log anew, so that threads exclude each other just as processes do."""
    file = tmp_path / "runs.log"
    start = threading.Barrier(4)

    def write() -> None:
        start.wait()
        for number in range(10):
            log.append(file, "run", number=number)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.verify(file).entries == 40


def test_lines_that_are_written_together_are_one_write(tmp_path: Path) -> None:
    file = tmp_path / "runs.log"
    with log.opened(file) as book:
        book.append("run", what="first")
        size = file.stat().st_size
        with book.together():
            book.append(log.REVEAL, to="everyone", what="score")
            book.append("run", what="second")
            assert file.stat().st_size == size
            assert book.head.entries == 3 and book.reveals["everyone", "score"] == 1
        assert [e.event for e in book.read()] == ["run", "reveal", "run"]
    assert log.verify(file).chain == book.head.chain


def test_of_a_long_log_only_what_decides_is_remembered(tmp_path: Path) -> None:
    with log.opened(tmp_path / "runs.log") as book:
        with book.together():
            for number in range(50):
                book.append("run", what="same")
                book.append(log.MATERIAL, number=f"set-{number % 2}")
        kept = [book.reveals, book.material]
    assert kept == [{}, {"set-0", "set-1"}]
    with log.opened(tmp_path / "runs.log", write=False) as again:
        assert [again.reveals, again.material] == kept and again.head == book.head
