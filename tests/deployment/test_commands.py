"""The commands: what they print, how they end, and that errors are one line."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jsmpc._src.deployment import commands, identity, log, probe

NAMES = ("alice", "bob", "james")


def run(*arguments: object) -> int:
    """The exit code of the command in a parser of its own."""
    parser = argparse.ArgumentParser(prog="test")
    commands.add_parsers(parser.add_subparsers(required=True))
    options = parser.parse_args([str(a) for a in arguments])
    return options.run(options)


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr of a command that printed nothing else."""
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("jsmpc: ") and err.index("\n") == len(err) - 1
    return err


@pytest.fixture
def sockets() -> Iterator[dict[str, socket.socket]]:
    """A port for each party, nobody listening yet."""
    bound = {name: socket.socket() for name in NAMES}
    for each in bound.values():
        each.bind(("127.0.0.1", 0))
    yield bound
    for each in bound.values():
        each.close()


@pytest.fixture
def parties(tmp_path: Path, sockets: dict[str, socket.socket]) -> Path:
    text = 'protocol = "additive"\ndealer = "james"\nbase = 10\n'
    for name, each in sockets.items():
        identity.new(name, tmp_path)
        text += f'[parties.{name}]\nhost = "127.0.0.1"\nport = {each.getsockname()[1]}\n'
        text += f'certificate = "{name}.cert.pem"\n'
    (tmp_path / "parties.toml").write_text(text)
    return tmp_path / "parties.toml"


def test_keys_are_made_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keys", "new", "alice", "--folder", tmp_path) == 0
    made = identity.load(tmp_path, "alice")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"key          {made.key_path}  (never leaves this machine)",
        f"certificate  {made.certificate_path}  (for the other parties)",
        f"fingerprint  {made.fingerprint}",
    ]
    assert run("keys", "show", made.certificate_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name         alice"
    assert lines[1].startswith("valid        20") and lines[2].endswith(made.fingerprint)


def test_keys_are_made_here_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("keys", "new", "alice") == 0
    assert (tmp_path / "alice.key.pem").exists()


def test_keys_are_not_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("keys", "new", "alice", "--folder", tmp_path)
    before = (tmp_path / "alice.key.pem").read_bytes()
    capsys.readouterr()
    assert run("keys", "new", "alice", "--folder", tmp_path) == 1
    assert "alice.key.pem exists" in complaint(capsys)
    assert (tmp_path / "alice.key.pem").read_bytes() == before


def test_a_key_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = identity.new("alice", tmp_path)
    assert run("keys", "show", made.key_path) == 1
    err = complaint(capsys)
    secret = made.key_path.read_text().splitlines()[1]
    assert "holds a private key" in err and secret not in err


def test_a_file_of_parties(parties: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", parties) == 0
    head, table = (text.splitlines() for text in capsys.readouterr().out.split("\n\n"))
    assert "protocol   additive (Additive)" in head
    assert "encoding   3 decimal digits behind the point" in head
    assert [row.split()[:3] for row in table] == [
        ["rank", "name", "role"],
        ["0", "alice", "party"],
        ["1", "bob", "party"],
        ["2", "james", "dealer"],
    ]
    for name, row in zip(NAMES, table[1:], strict=True):
        assert row.endswith(identity.load(parties.parent, name).fingerprint)


def test_who_listens(
    parties: Path, sockets: dict[str, socket.socket], capsys: pytest.CaptureFixture[str]
) -> None:
    sockets["bob"].listen()
    assert run("check", parties, "--name", "alice") == 1
    port = sockets["james"].getsockname()[1]
    reached = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert reached == [
        "bob    listens",
        f"james  does not listen at 127.0.0.1:{port}: Connection refused",
    ]
    sockets["james"].listen()
    assert run("check", parties, "--name", "alice") == 0
    assert capsys.readouterr().out.endswith("\n\nbob    listens\njames  listens\n")


def test_the_name_needs_its_key(
    parties: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", parties, "--name", "carol") == 1
    assert "no party 'carol'" in complaint(capsys)
    (parties.parent / "alice.key.pem").chmod(0o644)
    assert run("check", parties, "--name", "alice") == 1
    assert "chmod 600" in complaint(capsys)
    (tmp_path / "empty").mkdir()
    assert run("check", parties, "--name", "bob", "--folder", tmp_path / "empty") == 1
    assert "bob.key.pem: there is no such file" in complaint(capsys)


def test_whoever_is_silent_is_waited_for_a_moment(
    parties: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def silent(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(probe.socket, "create_connection", silent)
    assert run("check", parties, "--name", "alice") == 1
    assert asked == [2.0, 2.0]
    assert capsys.readouterr().out.count("no answer within 2 s") == 2


def test_a_wrong_file_of_parties(parties: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = parties.read_text()
    parties.write_text(text.replace("[parties.bob]", '[parties.bob]\n"\\u001b[2J" = 1'))
    assert run("check", parties) == 1
    err = complaint(capsys)
    assert "[parties.bob]: ?[2J: unknown key" in err and "\x1b" not in err


def test_a_log_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "runs.log"
    first, last = log.append(file, "run"), log.append(file, "run")
    assert run("log", "verify", file, "--head", first.chain) == 0
    assert capsys.readouterr().out == f"entries  2\nchain    {last.chain}\n"
    assert run("log", "verify", file, "--head", "ab") == 1
    assert "has the chain ab" in complaint(capsys)
    file.write_text(file.read_text().replace("run", "ran", 1))
    assert run("log", "verify", file) == 1
    assert "line 1" in complaint(capsys)


@pytest.mark.parametrize("arguments", [(), ("keys",), ("log",), ("check",), ("keys", "new")])
def test_incomplete_commands_show_their_usage(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ending:
        run(*arguments)
    assert ending.value.code == 2
    assert capsys.readouterr().err.startswith("usage: test")
