"""Calls: what comes back, who is said to call, which errors arrive, and what is bounded."""

from __future__ import annotations

import dataclasses
import inspect
import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from serving import SECRET, OwnError, handler

import jsmpc
from book import Book
from certified import certified
from jsmpc._src.deployment import errors as of_deployment
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import JsmpcError, LinkError
from jsmpc._src.transport import channels, connection, failures, server
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.errors import MessageError
from jsmpc._src.transport.server import Server

grpc = channels.library()


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    made = Book(tmp_path_factory.mktemp("book"), largest=4)
    made.worker("bob")
    made.worker("alice")
    made.client("carol")
    return made


@pytest.fixture(scope="module")
def bob(book: Book) -> Iterator[Server]:
    with Server(book.load(), "bob", None, handler, calls=4) as made:
        yield made


@pytest.fixture(scope="module")
def carol(bob: Server, book: Book) -> Iterator[Channel]:
    with Channel(book.load(), "carol", None, "bob") as made:
        yield made


def test_a_call_and_who_calls(carol: Channel, book: Book) -> None:
    x = jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3)
    found = carol.call({"x": x, "caller": "alice", "list": [1, None, "a"]})
    assert found["caller"] == "carol"
    np.testing.assert_array_equal(found["request"].pop("x"), np.asarray(x))
    assert found["request"] == {"caller": "alice", "list": [1, None, "a"]}
    with Channel(book.load(), "alice", None, "bob") as alice:
        assert alice.call({})["caller"] == "alice"
    with Channel(book.load(), "bob", None, "bob") as itself:
        assert itself.call({})["caller"] == "bob"


def test_small_calls_share_a_stream_and_take_below_a_millisecond(carol: Channel) -> None:
    carol.call({})
    lanes = set(carol._connections[-1]._idle)
    times = []
    for _ in range(200):
        start = time.perf_counter()
        carol.call({"number": 17})
        times.append(time.perf_counter() - start)
    assert set(carol._connections[-1]._idle) == lanes
    assert min(times) < 1e-3


@pytest.mark.parametrize("size", [0, channels.CHUNK - 200, channels.CHUNK, 3_500_000])
def test_messages_of_all_sizes(carol: Channel, size: int) -> None:
    x = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    np.testing.assert_array_equal(carol.call({"x": x})["request"]["x"], x)
    assert carol.call({"do": "return much", "size": size})["value"] == bytes(size)


def test_what_is_too_large(carol: Channel) -> None:
    with pytest.raises(MessageError, match=r"larger than 4 MiB\. Send it in parts, or raise"):
        carol.call({"x": np.zeros(5 << 20, np.uint8)})
    with pytest.raises(MessageError, match="larger than 4 MiB") as raised:
        carol.call({"do": "return much", "size": 5 << 20})
    assert raised.value.__notes__ == ["raised by bob"]
    assert carol.call({"number": 1})["request"] == {"number": 1}


def test_a_worker_bounds_what_it_takes_by_its_own_file(bob: Server, book: Book) -> None:
    generous = dataclasses.replace(book.load(), largest=64)
    with Channel(generous, "carol", None, "bob") as other:
        with pytest.raises(MessageError, match=r"bob: a message of .* is larger than 4 MiB"):
            other.call({"x": np.zeros(20 << 20, np.uint8)})
        assert other.call({})["caller"] == "carol"


def public() -> set[type]:
    places = (jsmpc, of_deployment)
    return {
        kind
        for place in places
        for _, kind in inspect.getmembers(place, inspect.isclass)
        if issubclass(kind, JsmpcError)
    }


def test_every_public_error_is_in_the_table() -> None:
    assert public() <= {*failures.KINDS, JsmpcError}


@pytest.mark.parametrize("kind", [*failures.KINDS, JsmpcError], ids=lambda kind: kind.__name__)
def test_errors_arrive_as_what_they_are(carol: Channel, kind: type[JsmpcError]) -> None:
    with pytest.raises(kind) as raised:
        carol.call({"do": "raise", "kind": kind.__name__, "text": "naïve: do this"})
    assert (type(raised.value), str(raised.value)) == (kind, "naïve: do this")
    assert raised.value.__notes__ == ["raised by bob"]


def test_errors_that_a_caller_does_not_know_arrive_as_the_nearest_it_knows(
    carol: Channel, book: Book
) -> None:
    with pytest.raises(ConfigError) as raised:
        carol.call({"do": "raise", "kind": "UnheardOfError", "text": "a"})
    assert type(raised.value) is ConfigError
    with pytest.raises(JsmpcError) as other:
        carol.call({"do": "raise", "kind": "OwnError", "text": "a"})
    assert type(other.value) is JsmpcError
    with (
        Channel(book.load(), "carol", None, "bob", kinds=[OwnError]) as knowing,
        pytest.raises(OwnError),
    ):
        knowing.call({"do": "raise", "kind": "OwnError", "text": "a"})


def test_long_texts_of_errors_are_cut(carol: Channel) -> None:
    with pytest.raises(ConfigError) as raised:
        carol.call({"do": "raise", "kind": "ConfigError", "text": "a" * 100_000})
    assert len(str(raised.value)) == 10_000


def test_texts_of_errors_that_are_no_texts(carol: Channel) -> None:
    with pytest.raises(ConfigError, match=r"^naïve \?"):
        carol.call({"do": "raise what is no text"})


@pytest.mark.parametrize(
    ("do", "kind"),
    [("divide", "ZeroDivisionError"), ("look up", "KeyError"), ("exit", "SystemExit")],
    ids=str,
)
def test_other_errors_tell_nothing_but_their_name(
    carol: Channel, do: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(JsmpcError) as raised:
        carol.call({"do": do})
    assert str(raised.value) == f"internal error ({kind})"
    (record,) = caplog.records
    assert record.name == "jsmpc" and kind in record.getMessage()
    assert "serving.py" in record.getMessage()
    assert SECRET not in caplog.text


def test_a_reply_must_be_a_message(carol: Channel) -> None:
    with pytest.raises(MessageError, match="a set cannot be sent"):
        carol.call({"do": "return a set"})
    with pytest.raises(JsmpcError, match="bob sends a message that is no reply"):
        carol.call({"do": "return", "value": [1]})
    with pytest.raises(MessageError, match="a set cannot be sent"):
        carol.call({"x": {1}})


def test_many_threads_share_a_channel(carol: Channel) -> None:
    def ask(i: int) -> int:
        x = np.full(1000 * (i % 4), i)
        found = carol.call({"i": i, "x": x})["request"]
        assert (found["x"] == i).all() and len(found["x"]) == len(x)
        return int(found["i"])

    with ThreadPoolExecutor(4) as pool:  # as many as may at the same time
        assert list(pool.map(ask, range(200))) == list(range(200))


def test_more_calls_than_may_be_are_refused_at_once(carol: Channel) -> None:
    def ask(_: int) -> str:
        start = time.monotonic()
        try:
            carol.call({"do": "sleep", "seconds": 1.0})
        except LinkError as error:
            assert time.monotonic() - start < 0.8
            return str(error)
        return "done"

    with ThreadPoolExecutor(7) as pool:
        found = list(pool.map(ask, range(7)))
    assert found.count("done") == 4
    assert sum("bob: is busy" in text for text in found) == 3
    assert carol.call({})["caller"] == "carol"


def test_one_caller_leaves_room_for_others(book: Book) -> None:
    begun, end = threading.Semaphore(0), threading.Event()

    def wait(caller: str, request: dict[str, Any]) -> dict[str, Any]:
        if "wait" in request:
            begun.release()
            end.wait(20)
        return {}

    with (
        Server(book.load(), "alice", None, wait, calls=4, each=2),
        Channel(book.load(), "carol", None, "alice") as carol,
        Channel(book.load(), "bob", None, "alice") as other,
        ThreadPoolExecutor(2) as pool,
    ):
        waiting = [pool.submit(carol.call, {"wait": 1}) for _ in range(2)]
        for _ in waiting:
            assert begun.acquire(timeout=20)
        with pytest.raises(LinkError, match="alice: is busy"):
            carol.call({})
        assert other.call({}) == {}
        end.set()
        assert [call.result(20) for call in waiting] == [{}, {}]
        assert carol.call({}) == {}


def test_whoever_has_its_reply_may_ask_again(book: Book) -> None:
    with (
        Server(book.load(), "alice", None, handler, calls=1),
        Channel(book.load(), "carol", None, "alice") as first,
        Channel(book.load(), "carol", None, "alice") as second,
    ):
        for i in range(300):
            for channel in (first, second):
                assert channel.call({"i": i})["request"] == {"i": i}


def test_streams_beyond_the_bound_are_refused(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_LANES", 1)
    with (
        Server(book.load(), "alice", None, handler, calls=1),
        Channel(book.load(), "carol", None, "alice") as first,
        Channel(book.load(), "carol", None, "alice") as second,
    ):
        first.call({})
        with pytest.raises(LinkError, match="alice: is busy"):
            second.call({})


def test_the_deadline(carol: Channel) -> None:
    start = time.monotonic()
    with pytest.raises(LinkError, match=r"bob: no answer within 0\.2 s"):
        carol.call({"do": "sleep", "seconds": 1.0}, deadline=0.2)
    assert 0.2 <= time.monotonic() - start < 0.9
    assert carol.call({})["caller"] == "carol"


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan")])
def test_a_deadline_is_positive(carol: Channel, seconds: float) -> None:
    with pytest.raises(ValueError, match="deadline must be a positive number of seconds, not"):
        carol.call({}, deadline=seconds)
    assert carol.call({}, deadline=float("inf"))["caller"] == "carol"


def test_the_deadline_of_the_file(bob: Server, book: Book) -> None:
    hasty = dataclasses.replace(book.load(), deadline=0.2)
    with Channel(hasty, "carol", None, "bob") as channel:
        with pytest.raises(LinkError, match=r"no answer within 0\.2 s"):
            channel.call({"do": "sleep", "seconds": 1.0})
        assert channel.call({"do": "sleep", "seconds": 0.5}, deadline=5)["caller"] == "carol"


def test_an_address_that_is_taken(bob: Server, book: Book) -> None:
    with pytest.raises(LinkError, match=r"bob cannot listen at 127\.0\.0\.1:\d+\. End what"):
        Server(book.load(), "bob", None, handler)


def test_names_are_checked_before_anything_else(book: Book) -> None:
    with pytest.raises(ConfigError, match="no worker 'carol'"):
        Server(book.load(), "carol", None, handler)
    with pytest.raises(ConfigError, match="no worker 'carol'"):
        Channel(book.load(), "bob", None, "carol")
    with pytest.raises(ConfigError, match="no worker or client 'dave'"):
        Channel(book.load(), "dave", None, "bob")


def test_a_closed_channel(bob: Server, book: Book) -> None:
    channel = Channel(book.load(), "carol", None, "bob")
    channel.call({})
    raised: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(LinkError) as caught:
            channel.call({"do": "sleep", "seconds": 1.0})
        raised.append(caught.value)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    channel.close()
    thread.join(0.7)
    assert raised and "bob: the call was ended" in str(raised[0])
    channel.close()
    with pytest.raises(LinkError, match="the channel is closed"):
        channel.call({})


@pytest.mark.parametrize("host", ["::1", "localhost"])
def test_other_ways_to_write_this_machine(tmp_path: Path, host: str) -> None:
    book = Book(tmp_path)
    book.worker("bob", host)
    book.client("carol")
    with (
        Server(book.load(), "bob", None, handler),
        Channel(book.load(), "carol", None, "bob") as carol,
    ):
        assert carol.call({})["caller"] == "carol"


@pytest.mark.parametrize("name", ["A-z_0123" * 8, "12345", "-", "localhost"])
def test_all_names_that_a_certificate_may_have(tmp_path: Path, name: str) -> None:
    book = Book(tmp_path)
    book.worker(name)
    with (
        Server(book.load(), name, None, handler),
        Channel(book.load(), name, None, name) as itself,
    ):
        assert itself.call({})["caller"] == name


def test_a_certificate_without_an_alternative_name(tmp_path: Path) -> None:
    bob = identity.new("bob", tmp_path)
    bob.certificate_path.write_text(certified(bob, "bob"))
    book = Book(tmp_path)
    book.worker("bob")
    with (
        Server(book.load(), "bob", None, handler),
        Channel(book.load(), "bob", None, "bob") as itself,
    ):
        assert itself.call({})["caller"] == "bob"


def test_no_proxy_stands_between(bob: Server, book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Channel(book.load(), "carol", None, "bob") as carol:
        assert carol.call({})["caller"] == "carol"


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_no_thread_is_left_behind(tmp_path: Path) -> None:
    book = Book(tmp_path)
    book.worker("bob")
    book.client("carol")
    before = set(threading.enumerate())
    with (
        Server(book.load(), "bob", None, handler),
        Channel(book.load(), "carol", None, "bob") as carol,
        ThreadPoolExecutor(4) as pool,
    ):
        list(pool.map(lambda i: carol.call({"i": i}), range(20)))
        assert "jsmpc-lane" in threads()
    end = time.monotonic() + 5
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < end, left
        time.sleep(0.01)


def test_lanes_that_are_not_used_are_ended(carol: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_IDLE", 0.05)
    carol.call({})
    (lane, *_) = reversed(carol._connections[-1]._idle)
    end = time.monotonic() + 5
    while lane.open or lane in carol._connections[-1]._idle:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert carol.call({})["caller"] == "carol"


def test_grpc_is_loaded_when_it_is_needed() -> None:
    for file in Path(channels.__file__).parent.glob("*.py"):
        top = [
            line for line in file.read_text().splitlines() if line.startswith(("import", "from"))
        ]
        assert not any("grpc" in line for line in top), file


def test_without_grpc_the_remedy_is_told(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(JsmpcError, match=r"gRPC, which is not installed.*'jsmpc\[workers\]'"):
        Channel(book.load(), "carol", None, "bob")
    with pytest.raises(JsmpcError, match=r"pip install 'jsmpc\[workers\]'"):
        Server(book.load(), "alice", None, handler)


def test_other_methods_do_not_exist(carol: Channel) -> None:
    carol.call({})
    method = carol._connections[-1]._channel.unary_unary("/jsmpc.Transport/Other")
    with pytest.raises(grpc.RpcError) as raised:
        method(b"", timeout=5)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
