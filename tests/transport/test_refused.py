"""Who is refused: no certificate, a wrong one, one of nobody here, one that was withdrawn."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from book import Book
from certified import certified, signed_by
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import LinkError
from jsmpc._src.transport import channels, messages, watched
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.server import Server

grpc = channels.library()
CALLERS: list[str] = []


def handler(caller: str, request: dict[str, Any]) -> dict[str, Any]:
    CALLERS.append(caller)
    return {}


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "_PAUSE", 0.0)
    CALLERS.clear()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    made = Book(tmp_path_factory.mktemp("book"), deadline=20)
    made.worker("bob")
    made.client("carol")
    return made


@pytest.fixture(scope="module")
def bob(book: Book) -> Iterator[Server]:
    with Server(book.load(), "bob", None, handler) as made:
        yield made


@pytest.fixture
def other(book: Book, tmp_path: Path) -> Book:
    """A file of its own for the same worker, in another folder."""
    made = Book(tmp_path, deadline=20)
    shutil.copy(book.folder / "bob.cert.pem", tmp_path)
    shutil.copy(book.folder / "bob.key.pem", tmp_path)
    made.worker("bob", port=book.load().workers["bob"].port)
    return made


def port(book: Book) -> int:
    return book.load().workers["bob"].port


@contextlib.contextmanager
def raw(book: Book, key: bytes, certificate: bytes) -> Iterator[Callable[[bytes], list[bytes]]]:
    """Sends bytes with any key and certificate."""
    bob = book.load().workers["bob"]
    credentials = grpc.ssl_channel_credentials(bob.certificate, key, certificate)
    options = [("grpc.ssl_target_name_override", "bob")]
    with grpc.secure_channel(f"127.0.0.1:{bob.port}", credentials, options) as channel:
        method = channel.stream_stream(channels.METHOD)
        yield lambda data: list(method(iter([data]), timeout=10))


def refused(channel: Channel, why: str) -> None:
    with channel, pytest.raises(LinkError, match=f"^bob: .*{why}"):
        channel.call({"secret": 42})
    assert not CALLERS


HANGS_UP = "cannot be reached at .*: it hangs up. Does its file have the certificate of"


def test_whoever_is_in_the_file_is_let_in(bob: Server, book: Book) -> None:
    with Channel(book.load(), "carol", None, "bob") as carol:
        carol.call({})
    assert CALLERS == ["carol"]


def test_somebody_who_is_not_in_the_file(bob: Server, other: Book) -> None:
    other.client("eve")
    refused(Channel(other.load(), "eve", None, "bob"), HANGS_UP + " eve")


def test_the_right_name_with_another_key(bob: Server, other: Book) -> None:
    other.client("carol")
    refused(Channel(other.load(), "carol", None, "bob"), HANGS_UP + " carol")


def test_another_certificate_for_the_right_key(bob: Server, book: Book, other: Book) -> None:
    """TLS asks for the certificate itself as well, not for its key alone."""
    shutil.copy(book.folder / "carol.key.pem", other.folder)
    pem = certified(identity.load(book.folder, "carol"), "carol")
    (other.folder / "carol.cert.pem").write_text(pem)
    other.client("carol")
    refused(Channel(other.load(), "carol", None, "bob"), HANGS_UP + " carol")


def test_a_certificate_that_somebody_in_the_file_has_signed(tmp_path: Path) -> None:
    """An owner whose certificate may sign others does not let others in, nor take their names."""
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    mallory = identity.new("mallory", tmp_path)
    mallory.certificate_path.write_text(certified(mallory, "mallory", authority=True))
    book.client("mallory")
    directory = book.load()
    with Server(directory, "bob", None, handler):
        with Channel(directory, "mallory", None, "bob") as channel:
            channel.call({})
        with raw(book, *signed_by(mallory, "carol")) as ask, pytest.raises(grpc.RpcError) as raised:
            ask(b"".join(messages.encode({})))
    assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert CALLERS == ["mallory"]


def test_a_worker_with_another_key(bob: Server, book: Book, tmp_path: Path) -> None:
    mine = Book(tmp_path)
    mine.worker("bob", port=port(book))  # another bob
    shutil.copy(book.folder / "carol.cert.pem", tmp_path)
    shutil.copy(book.folder / "carol.key.pem", tmp_path)
    mine.client("carol")
    channel = Channel(mine.load(), "carol", None, "bob")
    refused(channel, "cannot be reached at .*: it shows another certificate than the one in the")


def test_a_worker_that_shows_what_another_worker_has(book: Book, tmp_path: Path) -> None:
    """Where bob is looked for, alice answers, whom the file knows."""
    made = Book(tmp_path)
    made.worker("alice")
    made.worker("bob")
    made.client("carol")
    with Server(made.load(), "alice", None, handler):
        made.change("bob", host="localhost", port=made.load().workers["alice"].port)
        channel = Channel(made.load(), "carol", None, "bob")
        refused(channel, "it shows another certificate than the one in the file here")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_certificate_at_all(bob: Server, book: Book, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port(book)), 10) as plain:
        plain.settimeout(10)
        ended = False
        try:
            with context.wrap_socket(plain) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
                ended = secured.recv(1 << 16) == b""
        except (ssl.SSLError, ConnectionError):
            ended = True
    assert ended
    assert not CALLERS


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        bytes(range(256)) * 300,
        b"\x16\x03\x01\xff\xff" + bytes(10_000),
    ],
    ids=["nothing", "http", "http2", "noise", "half a greeting"],
)
def test_what_is_no_tls(
    bob: Server, book: Book, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        contextlib.suppress(ConnectionError, OSError),  # when the worker has hung up
        socket.create_connection(("127.0.0.1", port(book)), 10) as plain,
    ):
        plain.sendall(data)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(1 << 16):
            pass
    with Channel(book.load(), "carol", None, "bob") as carol:
        carol.call({})
    assert CALLERS == ["carol"]
    assert capfd.readouterr() == ("", "")


def test_whoever_is_taken_out_of_the_file_is_refused_at_the_next_request(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    book.client("dave")
    directory = book.load()
    with (
        Server(directory, "bob", None, handler),
        Channel(directory, "carol", None, "bob") as carol,
        Channel(directory, "dave", None, "bob") as dave,
    ):
        carol.call({})
        dave.call({})
        book.remove("carol")
        for _ in range(2):
            with pytest.raises(LinkError, match="bob: refuses carol: the certificate is not in it"):
                carol.call({})
        dave.call({})
        assert CALLERS == ["carol", "dave", "dave"]
        CALLERS.clear()
        refused(Channel(directory, "carol", None, "bob"), HANGS_UP + " carol")
        book.client("carol")
        carol.call({})
        with Channel(directory, "carol", None, "bob") as again:
            again.call({})
        assert CALLERS == ["carol", "carol"]


def test_it_is_noticed_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    directory = book.load()
    with (
        Server(directory, "bob", None, handler),
        Channel(directory, "carol", None, "bob") as carol,
    ):
        carol.call({})
        book.remove("carol")
        time.sleep(1.05)
        with pytest.raises(LinkError, match="bob: refuses carol"):
            carol.call({})


def test_nobody_is_let_in_while_the_file_is_wrong(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    directory = book.load()
    with (
        Server(directory, "bob", None, handler),
        Channel(directory, "carol", None, "bob") as carol,
    ):
        carol.call({})
        right = book.file.read_text()
        book.file.write_text(right + "[clients.carol]")
        with pytest.raises(LinkError, match="refuses carol: its file of workers and clients, or"):
            carol.call({})
        refused_now = Channel(directory, "carol", None, "bob")
        with refused_now, pytest.raises(LinkError, match=HANGS_UP):
            refused_now.call({})
        book.file.write_text(right)
        carol.call({})
    assert CALLERS == ["carol", "carol"]


@pytest.mark.parametrize("name", ["bob", "carol"])
def test_an_expired_certificate(tmp_path: Path, name: str) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    right = book.load()
    made = identity.load(tmp_path, name)
    before = made.certificate_path.read_bytes()
    pem = certified(made, name, timedelta(seconds=-1))
    made.certificate_path.write_text(pem)
    expired = book.load()
    if name == "bob":
        with pytest.raises(ConfigError, match="'bob' expired on"):
            Server(expired, "bob", None, handler)
        with pytest.raises(ConfigError, match="'bob' expired on"):
            Channel(expired, "carol", None, "bob")
        return
    with pytest.raises(ConfigError, match="'carol' expired on"):
        Channel(expired, "carol", None, "bob")
    with (
        Server(expired, "bob", None, handler),
        raw(book, made.key_path.read_bytes(), pem.encode()) as ask,
        pytest.raises(grpc.RpcError) as raised,
    ):
        ask(b"".join(messages.encode({})))
    assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
    assert not CALLERS and before != pem.encode() and right.clients


def test_a_certificate_that_expires_while_it_is_used(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    carol = identity.new("carol", tmp_path)
    carol.certificate_path.write_text(certified(carol, "carol", timedelta(seconds=3)))
    book.client("carol")
    directory = book.load()
    end = directory.clients["carol"].ends.timestamp()
    with (
        Server(directory, "bob", None, handler),
        Channel(directory, "carol", None, "bob") as channel,
    ):
        channel.call({})
        time.sleep(max(0, end - time.time()) + 0.1)
        with pytest.raises(LinkError, match=r"bob: refuses carol: .*certificate, is not valid now"):
            channel.call({})
    assert CALLERS == ["carol"]
