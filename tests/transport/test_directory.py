"""Files of workers and clients: what they say, what is refused, and that changes are noticed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from book import Book
from certified import certified
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.transport import watched
from jsmpc._src.transport.directory import Directory, der
from jsmpc._src.transport.watched import Watched


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("identities")
    for name in ("bob", "alice", "carol", "Carol"):
        identity.new(name, made)
    return made


@pytest.fixture
def write(folder: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        file = folder / "workers.toml"
        file.write_text(text)
        return file

    return written


BOB = '[workers.bob]\nhost = "127.0.0.1"\nport = 5001\ncertificate = "bob.cert.pem"\n'
ALICE = '[workers.alice]\nhost = "::1"\nport = 5001\ncertificate = "alice.cert.pem"\n'
CAROL = '[clients.carol]\ncertificate = "carol.cert.pem"\n'


def test_what_a_file_says(write: Any, folder: Path) -> None:
    file = write("deadline = 5\nlargest = 7\n" + BOB + "exchange = 5002\n" + ALICE + CAROL)
    found = Directory.load(file)
    assert (list(found.workers), list(found.clients)) == (["bob", "alice"], ["carol"])
    bob, alice = found.workers.values()
    assert (bob.host, bob.port, bob.exchange) == ("127.0.0.1", 5001, 5002)
    assert (alice.host, alice.port, alice.exchange) == ("::1", 5001, None)
    assert (found.deadline, found.largest) == (5.0, 7)
    pem = (folder / "carol.cert.pem").read_bytes()
    assert found.clients["carol"].pem == pem
    assert (found.caller(der(pem)), found.caller(b"")) == ("carol", None)
    assert found.caller(der((folder / "bob.cert.pem").read_bytes())) == "bob"
    assert found.identity("carol") == identity.load(folder, "carol")
    defaults = Directory.load(write(BOB))
    assert (defaults.clients, defaults.deadline, defaults.largest) == ({}, 60.0, 1024)


def test_a_certificate_in_the_file_itself(write: Any, folder: Path) -> None:
    pem = (folder / "carol.cert.pem").read_text()
    found = Directory.load(write(BOB + f'[clients.carol]\ncertificate = """{pem}"""'))
    assert found.caller(der(pem.encode())) == "carol"
    assert [file.name for file in found.files] == ["workers.toml", "bob.cert.pem"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"workers: missing\. Write for example: a table \[workers\.bob\]"),
        ("worker = 1", r"worker: unknown key\. Did you mean 'workers'\?"),
        ("deadline = 0\n" + BOB, "deadline: must be a positive, finite number of seconds"),
        ("deadline = inf\n" + BOB, "deadline: must be a positive, finite number of seconds"),
        ('deadline = "a"\n' + BOB, "deadline: must be a number, not a string"),
        ("largest = 0\n" + BOB, "largest: must be 1 MiB or more, not 0"),
        (BOB + "deadline = 1", r"\[workers\.bob\]: deadline: .*Move it above the first table"),
        (BOB + "exchange = 5001", r"\[workers\.bob\]: exchange: is the port of requests too"),
        (BOB + "exchange = 0", r"\[workers\.bob\]: exchange: must be from 1 to 65535"),
        (BOB.replace("5001", "70000"), r"\[workers\.bob\]: port: must be from 1 to 65535"),
        (BOB.replace("127.0.0.1", "a b"), r"\[workers\.bob\]: host: 'a b' is no name or address"),
        (BOB.replace("bob.cert", "none"), r"\[workers\.bob\]: certificate: .*no such file"),
        (
            BOB.replace("bob.cert", "alice.cert"),
            r"\[workers\.bob\]: certificate: is that of 'alice",
        ),
        (BOB + 'fingerprint = "00"', r"\[workers\.bob\]: fingerprint: the certificate's is"),
        (BOB + CAROL + "port = 1", r"\[clients\.carol\]: port: unknown key"),
        (BOB + CAROL.replace("carol", "bob"), r"\[clients\.bob\]: is in \[workers\] too"),
        (BOB + CAROL + CAROL.replace("carol", "Carol"), ".*'carol' has the same name but for"),
        (BOB + ALICE.replace("::1", "127.0.0.1"), r"\[workers\.alice\]: port: 'bob' has the same"),
        ("clients = 1\n" + BOB, "clients: must be a table, not an integer"),
        ("[workers]\nbob = 1", r"\[workers\.bob\]: must be a table"),
        (BOB + '[clients."a b"]', r"\[clients\.a b\]: 'a b' is no name of a party"),
    ],
)
def test_what_is_refused(write: Any, text: str, problem: str) -> None:
    file = write(text)
    with pytest.raises(ConfigError, match=re.escape(str(file)) + ": " + problem):
        Directory.load(file)


def test_two_workers_need_two_keys(write: Any, folder: Path) -> None:
    pem = certified(identity.load(folder, "bob"), "alice")
    text = ALICE.replace('"alice.cert.pem"', f'"""{pem}"""')
    with pytest.raises(
        ConfigError, match=r"\[workers\.alice\]: certificate: 'bob' has the same ke"
    ):
        Directory.load(write(BOB + text))


def test_an_expired_certificate_is_refused_when_it_is_used(write: Any, folder: Path) -> None:
    expired = (
        certified(identity.load(folder, name), name, timedelta(days=-1))
        for name in ("bob", "carol")
    )
    bob, carol = (f'"""{pem}"""' for pem in expired)
    text = BOB.replace('"bob.cert.pem"', bob) + CAROL.replace('"carol.cert.pem"', carol)
    found = Directory.load(write(text + ALICE))
    assert found.worker("alice").host == "::1"
    with pytest.raises(ConfigError, match=r"\[workers\.bob\]: certificate: .*'bob' expired on"):
        found.worker("bob")
    with pytest.raises(ConfigError, match="'carol' expired on"):
        found.caller(der(found.clients["carol"].pem))


def test_names_that_are_not_there(write: Any, folder: Path) -> None:
    found = Directory.load(write(BOB + CAROL))
    with pytest.raises(ConfigError, match=r"no worker 'bo'\. Did you mean 'bob'\?"):
        found.worker("bo")
    with pytest.raises(ConfigError, match="no worker 'carol'"):
        found.worker("carol")
    with pytest.raises(ConfigError, match=r"no worker or client 'alice'"):
        found.identity("alice")


def test_the_identity_must_be_the_one_in_the_file(write: Any, tmp_path: Path) -> None:
    identity.new("carol", tmp_path)
    found = Directory.load(write(BOB + CAROL))
    with pytest.raises(
        ConfigError, match=r"\[clients\.carol\]: certificate: is not .*refuse carol"
    ):
        found.identity("carol", tmp_path)


def test_a_change_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    seen = Watched(book.load())
    assert "carol" in seen.now().clients
    book.remove("carol")
    assert "carol" in seen.now().clients  # looked at a moment ago
    monkeypatch.setattr(watched, "_PAUSE", 0.0)
    seen = Watched(seen.now())
    book.client("carol")
    assert "carol" in seen.now().clients
    book.remove("carol")
    assert seen.now().clients == {}


def test_a_new_certificate_in_an_old_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_PAUSE", 0.0)
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    seen = Watched(book.load())
    before = seen.now().clients["carol"]
    for file in tmp_path.glob("carol.*"):
        file.unlink()
    identity.new("carol", tmp_path)
    after = seen.now()
    assert after.clients["carol"].fingerprint != before.fingerprint
    assert after.caller(der(before.pem)) is None


def test_nobody_may_ask_while_the_file_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched, "_PAUSE", 0.0)
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    seen = Watched(book.load())
    right = book.file.read_text()
    for wrong in (right[:-8], "", "[workers.bob]"):
        book.file.write_text(wrong)
        for _ in range(3):
            with pytest.raises(ConfigError, match=re.escape(str(book.file))):
                seen.now()
    book.file.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        seen.now()
    assert len(caplog.records) == 4  # each of them once
    book.file.write_text(right)
    assert "carol" in seen.now().clients
