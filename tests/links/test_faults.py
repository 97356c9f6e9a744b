"""Peers that go away, stop, or send something else: the error names them and the cause."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from endpoints import Network, RawPeer, linked, together

from jsmpc._src.errors import LinkError
from jsmpc._src.links import native, wire
from jsmpc._src.links.links import Links
from jsmpc._src.links.wire import Kind

WORDS = np.zeros(4, np.uint32)

needs_native = pytest.mark.skipif(
    native.why_unavailable() is not None, reason="the native links are not built"
)


@pytest.fixture(params=[pytest.param(False, marks=needs_native), True], ids=["native", "pure"])
def pure(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def faced(tmp_path: Path, pure: bool) -> Iterator[tuple[Links, RawPeer]]:
    """An endpoint, and a peer that does what a test wants."""
    network = Network(tmp_path, 2, False)
    links, peer = together(
        lambda: network.connect(0, pure=pure, silence=0.6, stall=1.2),
        lambda: RawPeer(network),
    )
    yield links, peer
    links.close()
    peer.close()
    network.close()


def awaits(links: Links, act: Callable[[], None]) -> tuple[str, float]:
    """The error of an exchange during which something happens, and how long it took."""
    timer = threading.Timer(0.1, act)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(LinkError) as caught:
        links.exchange([(1, WORDS)], [(1, WORDS.copy())])
    took = time.monotonic() - begin
    timer.join()
    with pytest.raises(LinkError) as again:
        links.send_bytes(1, b"")
    assert str(again.value) == str(caught.value) == links.failure
    return str(caught.value), took


FRAMES = {
    "garbage": (b"\x17\x03\x03" * 10, "bob sent bytes that are no frame of this protocol"),
    "length": (
        wire.frame(Kind.DATA, b"x" * 8),
        "bob's program differs: expected 16 bytes, got 8",
    ),
    "huge": (
        wire.HEADER.pack(wire.MAGIC | Kind.DATA, 0, 1 << 62),
        f"bob's program differs: expected 16 bytes, got {1 << 62}",
    ),
    "sequence": (
        wire.frame(Kind.DATA, b"x" * 16, sequence=1),
        "bob's program differs: expected frame 0, got frame 1",
    ),
    "talk": (
        wire.frame(Kind.TALK, b"x" * 16),
        "bob's program differs: expected an exchange, got a message outside of programs",
    ),
    "abort": (
        wire.frame(Kind.ABORT, b"no more\n\x1b[31m"),
        "bob ended the run: no more??[31m",
    ),
    "long abort": (
        wire.frame(Kind.ABORT, b"x" * 501),
        "bob sent a frame that is too long for its kind",
    ),
    "heartbeat": (
        wire.frame(Kind.HEARTBEAT, b"x"),
        "bob sent a frame that is too long for its kind",
    ),
    "hello": (wire.frame(Kind.HELLO), "bob sent bytes that are no frame of this protocol"),
    "bye": (wire.frame(Kind.BYE), "bob closed the connection"),
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_that_is_not_expected(faced: tuple[Links, RawPeer], name: str) -> None:
    data, error = FRAMES[name]
    text, took = awaits(faced[0], lambda: faced[1].send(data))
    assert text == error and took < 0.5


def test_an_end_without_a_goodbye(faced: tuple[Links, RawPeer]) -> None:
    links, peer = faced
    text, took = awaits(links, peer.close)
    assert "bob" in text and took < 0.5


def test_a_reset(faced: tuple[Links, RawPeer]) -> None:
    links, peer = faced

    def reset() -> None:
        peer.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: close resets
        peer.close()

    text, took = awaits(links, reset)
    assert "the connection to bob broke: Connection reset" in text and took < 0.5


def test_silence(faced: tuple[Links, RawPeer]) -> None:
    text, took = awaits(faced[0], lambda: None)
    assert text == "no sign of life from bob for 0.6 s" and 0.5 < took < 1.5


def test_a_frame_that_breaks_off(faced: tuple[Links, RawPeer]) -> None:
    links, peer = faced
    text, _ = awaits(links, lambda: peer.send(wire.frame(Kind.DATA, b"x" * 16)[:-1]))
    assert text == "no sign of life from bob for 0.6 s"


def test_life_without_data(faced: tuple[Links, RawPeer]) -> None:
    links, peer = faced
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.1):
            peer.send(wire.frame(Kind.HEARTBEAT))

    thread = threading.Thread(target=live)
    thread.start()
    text, took = awaits(links, lambda: None)
    over.set()
    thread.join()
    assert text == "bob is alive but sends no data for 1.2 s" and 1.0 < took < 2.5


def test_death_while_nobody_waits(faced: tuple[Links, RawPeer]) -> None:
    links, peer = faced
    peer.close()
    end = time.monotonic() + 2
    while links.failure is None and time.monotonic() < end:
        time.sleep(0.01)
    assert links.failure is not None and "bob" in links.failure


@pytest.mark.parametrize("ending", ["abort", "close", "abort-during"])
def test_one_ends_and_two_hear_of_it(tmp_path: Path, pure: bool, ending: str) -> None:
    network = Network(tmp_path, 3, True)
    act, _, during = ending.partition("-")
    with linked(network, [{"pure": pure}] * 3) as links:
        alice, bob, carol = links

        def end() -> None:
            time.sleep(0.1)
            bob.abort("out of\nluck") if act == "abort" else bob.close()

        large = np.zeros(1 << 24, np.uint8)  # more than the sockets hold

        def busy() -> None:
            if during:
                bob.exchange([(2, large)], [(0, WORDS.copy())])

        begin = time.monotonic()
        errors = together(
            lambda: alice.exchange([], [(1, WORDS.copy())]),
            # Carol waits for Alice, and hears of Bob's end all the same.
            lambda: carol.exchange([], [(0, WORDS.copy())]),
            end,
            busy,
        )
        took = time.monotonic() - begin
    network.close()
    text = "bob ended the run: out of?luck" if act == "abort" else "bob closed the connection"
    if not during:
        assert str(errors[0]) == text and took < 1
    assert "bob" in str(errors[0]) and "bob" in str(errors[1]) and took < 3
    assert errors[2] is None


def test_an_endpoint_that_is_none(faced: tuple[Links, RawPeer]) -> None:
    for peer in (0, 2, -1):
        with pytest.raises(LinkError, match=f"endpoint {peer} is no peer"):
            faced[0].exchange([(peer, WORDS)], [])
    assert faced[0].failure is None


def test_who_differs_is_told(tmp_path: Path, pure: bool) -> None:
    network = Network(tmp_path, 2, True)
    with linked(network, [{"pure": pure}] * 2) as (alice, bob):
        errors = together(
            lambda: alice.exchange([], [(1, WORDS.copy())]),
            lambda: bob.exchange([(0, WORDS[:1])], [(0, WORDS.copy())]),
        )
    network.close()
    text = "bob's program differs: expected 16 bytes, got 4"
    assert [str(error) for error in errors] == [text, f"alice ended the run: {text}"]
