"""What ends early or comes slowly: workers that die, requests that stop, and orderly ends."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import handler, process

from book import Book
from fuzz import encoded, mutated, send_raw
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import channels, messages, server
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.server import Server


@pytest.fixture
def book(tmp_path: Path) -> Book:
    made = Book(tmp_path)
    made.worker("bob")
    made.client("carol")
    return made


@pytest.fixture
def carol(book: Book) -> Iterator[Channel]:
    with Channel(book.load(), "carol", None, "bob") as made:
        yield made


def fails(act: Callable[[], Any], within: float) -> str:
    """The text of the LinkError that is raised within some seconds."""
    start = time.monotonic()
    with pytest.raises(LinkError, match=r"^bob: ") as raised:
        act()
    assert time.monotonic() - start < within
    return str(raised.value)


def sleep(channel: Channel, seconds: float = 30.0) -> dict[str, Any]:
    return channel.call({"do": "sleep", "seconds": seconds})


def after(seconds: float, act: Callable[..., Any], *args: Any) -> None:
    threading.Timer(seconds, act, args).start()


def test_nobody_there(carol: Channel) -> None:
    text = fails(lambda: carol.call({}), 1)
    assert text.endswith("nobody listens there")


def test_a_host_that_is_not_known(book: Book) -> None:
    book.change("bob", host="no-such-host.invalid")
    with Channel(book.load(), "carol", None, "bob") as carol:
        text = fails(lambda: carol.call({}, deadline=8), 10)
    assert "the name of the host is not known" in text or "no answer within" in text


def test_a_worker_that_is_killed_and_started_again(book: Book, carol: Channel) -> None:
    with process(book.file, "bob") as bob:
        assert carol.call({})["caller"] == "carol"
        after(0.3, bob.kill)
        assert "the connection was lost in a call" in fails(lambda: sleep(carol), 2)
    assert "nobody listens there" in fails(lambda: carol.call({}), 1)
    with Server(book.load(), "bob", None, handler):
        assert carol.call({})["caller"] == "carol"  # at once
    with Server(book.load(), "bob", None, handler), ThreadPoolExecutor(4) as pool:
        assert {found["caller"] for found in pool.map(carol.call, [{}] * 4)} == {"carol"}


def test_a_worker_that_stops_answering_is_noticed(book: Book, carol: Channel) -> None:
    with process(book.file, "bob") as bob:
        carol.call({})
        after(0.3, bob.send_signal, signal.SIGSTOP)
        fails(lambda: sleep(carol), 6)
        bob.send_signal(signal.SIGCONT)
        assert carol.call({})["caller"] == "carol"


def test_the_end_of_its_input_ends_a_worker_in_order(book: Book, carol: Channel) -> None:
    with process(book.file, "bob") as bob:
        carol.call({})
        after(0.3, bob.stdin.close)
        assert sleep(carol, 1.0)["caller"] == "carol"  # what runs is finished
        assert bob.wait(5) == 0
        assert bob.stdout.read() == ""


def test_a_process_ends_though_nothing_was_closed(book: Book) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from serving import handler
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.server import Server
directory = Directory.load({str(book.file)!r})
server = Server(directory, "bob", None, handler)
channel = Channel(directory, "carol", None, "bob")
print(channel.call({{}})["caller"], flush=True)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        assert started.stdout.readline() == "carol\n"
        assert started.wait(3) == 0  # before anything is ended that waits
        assert started.stdout.read() == ""


def test_stopping_waits_for_calls_and_takes_no_more(book: Book, carol: Channel) -> None:
    with Server(book.load(), "bob", None, handler) as bob, ThreadPoolExecutor(1) as pool:
        carol.call({})
        running = pool.submit(sleep, carol, 0.8)
        time.sleep(0.2)
        stopping = threading.Thread(target=bob.stop)
        stopping.start()
        time.sleep(0.2)
        fails(lambda: carol.call({}), 1)
        assert not running.done()
        assert running.result(5)["caller"] == "carol"
        stopping.join(5)
        assert bob.wait(0)


def test_a_worker_that_starts_before_the_last_one_has_ended(book: Book, carol: Channel) -> None:
    with Server(book.load(), "bob", None, handler) as bob, ThreadPoolExecutor(2) as pool:
        running = pool.submit(sleep, carol, 1.0)
        time.sleep(0.2)
        stopping = pool.submit(bob.stop)
        time.sleep(0.2)
        fails(lambda: carol.call({}), 1)
        with Server(book.load(), "bob", None, handler):
            assert carol.call({})["caller"] == "carol"
            assert not running.done()
            assert running.result(5)["caller"] == "carol"
        stopping.result(5)


def test_stopping_does_not_wait_for_ever(book: Book, carol: Channel) -> None:
    with Server(book.load(), "bob", None, handler) as bob:
        carol.call({})
        after(0.2, bob.stop, 0.3)
        fails(lambda: sleep(carol, 3.0), 1.5)


def test_an_idle_server_stops_at_once(book: Book, carol: Channel) -> None:
    bob = Server(book.load(), "bob", None, handler)
    assert not bob.wait(0)
    carol.call({})
    time.sleep(0.1)  # until its stream waits
    start = time.monotonic()
    bob.stop()
    assert time.monotonic() - start < 1
    bob.stop()
    with Server(book.load(), "bob", None, handler):  # the port is free again
        carol.call({})


def test_a_request_that_ends_early(book: Book, carol: Channel) -> None:
    body = encoded({"x": np.zeros(3 << 20, np.uint8)})
    with Server(book.load(), "bob", None, handler):
        with pytest.raises(MessageError, match=r"a message ends after .* of .* bytes"):
            send_raw(carol, body[: 2 << 20])
        with pytest.raises(MessageError, match="no message: 4 bytes are too few"):
            send_raw(carol, body[:4])
        assert send_raw(carol, b"") == b""
        assert send_raw(carol, body)[:4] == b"jsm1"
        assert carol.call({})["caller"] == "carol"


@pytest.mark.parametrize("rest", [0, 1000], ids=["silent", "drop by drop"])
def test_a_request_that_takes_too_long(tmp_path: Path, rest: int) -> None:
    book = Book(tmp_path, deadline=0.5)
    book.worker("bob")
    book.client("carol")
    body = encoded({"x": np.zeros(1 << 20, np.uint8)})
    ended = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield body[:100]
        for start in range(100, rest):
            if not ended.wait(0.01):
                yield body[start : start + 1]
        ended.wait(5)

    with (
        Server(book.load(), "bob", None, handler, calls=1),
        Channel(book.load(), "carol", None, "bob") as carol,
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(fails, lambda: send_raw(carol, pieces()), 2)
        time.sleep(0.2)
        assert "is busy" in fails(lambda: carol.call({}), 1)
        assert "the call was ended" in slow.result()
        ended.set()
        assert carol.call({})["caller"] == "carol"


def test_a_reply_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    book = Book(tmp_path, deadline=0.5)
    book.worker("bob")
    book.client("carol")
    with (
        Server(book.load(), "bob", None, handler, calls=1) as bob,
        Channel(book.load(), "carol", None, "bob") as carol,
    ):
        connection = carol._connections[-1]
        body = encoded({"do": "return much", "size": 64 << 20})
        unread = connection._method(channels.chunks([body]), timeout=10)
        time.sleep(0.3)
        assert "is busy" in fails(lambda: carol.call({}), 1)
        time.sleep(0.6)
        assert carol.call({})["caller"] == "carol"
        unread.cancel()
        assert bob.name == "bob"


def test_a_stream_without_requests_is_ended(
    book: Book, carol: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_IDLE", 0.2)
    with Server(book.load(), "bob", None, handler):
        carol.call({})
        (lane,) = carol._connections[-1]._idle
        end = time.monotonic() + 2  # before the client ends it
        while lane.open:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert carol.call({})["caller"] == "carol"


RECORDED = encoded({"x": np.arange(40.0), "text": "abc", "list": [1, None, {"a": True}]})


def test_damaged_requests_do_no_harm(book: Book, carol: Channel) -> None:
    rng = random.Random(11)
    answered, refused = 0, 0
    with Server(book.load(), "bob", None, handler):
        for _ in range(300):
            data = mutated(RECORDED, rng)
            try:
                for reply in filter(None, [send_raw(carol, data)]):
                    messages.decode(reply)
                    answered += 1
            except MessageError:
                refused += 1
        assert carol.call({})["caller"] == "carol"
    assert answered > 5 and refused > 200


def test_a_worker_that_replies_rubbish(
    book: Book, carol: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)
    recorded = encoded({"reply": {"x": np.arange(4), "a": [1, 2]}})
    with Server(book.load(), "bob", None, handler) as bob:
        monkeypatch.setattr(bob, "_reply", lambda *_: [mutated(recorded, rng)])
        errors = []
        for _ in range(60):
            try:
                carol.call({}, deadline=0.1)
            except JsmpcError as error:
                errors.append(error)
    assert all(str(error).startswith("bob") for error in errors)
    # The latter where it tells of more than it sends.
    assert {type(error) for error in errors} == {MessageError, LinkError}
