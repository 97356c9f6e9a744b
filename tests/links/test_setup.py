"""The set-up: in any order, among strangers, and with nobody else than the pinned ones."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoints import Network, linked, make_identity, together

import jsmpc
from jsmpc._src.errors import LinkError
from jsmpc._src.links import native
from jsmpc._src.links.links import Links, Peer, connect

needs_native = pytest.mark.skipif(
    native.why_unavailable() is not None, reason="the native links are not built"
)


@pytest.fixture(params=[pytest.param(False, marks=needs_native), True], ids=["native", "pure"])
def pure(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path, 3, True)
    yield made
    made.close()


def closed(results: list[Any]) -> list[str]:
    """The errors' texts, the empty string for links, which are closed."""
    for result in results:
        if isinstance(result, Links):
            result.close()
        else:
            assert isinstance(result, LinkError), result
    return ["" if isinstance(result, Links) else str(result) for result in results]


def test_strangers_do_not_disturb(network: Network, pure: bool) -> None:
    address = network.listeners[0].getsockname()
    silent = socket.create_connection(address)
    for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 5, b"\x16\x03\x01\x00\x05hello", b"\0" * 100, b""):
        with socket.create_connection(address) as stranger:
            stranger.sendall(garbage)
    begin = time.monotonic()
    with linked(network, [{"pure": pure}] * 3):
        assert time.monotonic() - begin < 4
    silent.close()


def test_a_party_may_be_started_anew(network: Network, pure: bool) -> None:
    # Bob gives up before Alice listens to him, and comes back.
    patience = {"pure": pure, "patience": 0.3}
    first = together(lambda: network.connect(1, **patience))
    assert "no connection with alice" in closed(first)[0]
    with linked(network, [{"pure": pure}] * 3):
        pass


def test_the_missing_are_named(network: Network, pure: bool) -> None:
    results = together(
        lambda: network.connect(0, pure=pure, patience=0.6),
        lambda: network.connect(1, pure=pure, patience=5),
    )
    texts = closed(results)
    assert "no connection with carol (127.0.0.1:" in texts[0] and "bob" not in texts[0]
    # Bob hears of it from Alice once he looks; or he misses Carol himself.
    assert "carol" in texts[1]


def test_a_false_certificate_of_the_one_called(
    network: Network, pure: bool, tmp_path: Path
) -> None:
    false = make_identity(tmp_path, "mallory")
    begin = time.monotonic()
    texts = closed(
        together(
            lambda: network.connect(0, pure=pure, identity=false, patience=0.8),
            lambda: network.connect(1, pure=pure),
        )
    )
    assert "alice (127.0.0.1" in texts[1] and "another certificate than its own" in texts[1]
    assert "no connection with bob" in texts[0]
    assert time.monotonic() - begin < 4


def test_a_false_certificate_of_the_caller(network: Network, pure: bool, tmp_path: Path) -> None:
    false = make_identity(tmp_path, "mallory")
    texts = closed(
        together(
            lambda: network.connect(0, pure=pure, patience=0.8),
            lambda: network.connect(1, pure=pure, identity=false),
        )
    )
    assert "showed a certificate that belongs to nobody" in texts[0]
    assert "alice" in texts[1] and "does not accept this endpoint's certificate" in texts[1]


def test_nobody_is_taken_for_another(network: Network, pure: bool) -> None:
    # Carol's certificate, and Bob's name.
    carol = network.identities[2]
    texts = closed(
        together(
            lambda: network.connect(0, pure=pure, patience=1.0),
            lambda: network.connect(1, pure=pure, identity=carol, patience=0.8),
        )
    )
    assert "it claims to be bob, whose certificate is another one" in texts[0]
    assert "alice" in texts[1]


def test_plain_connections_stay_on_one_machine() -> None:
    assert issubclass(LinkError, jsmpc.JsmpcError)
    peers = [Peer("alice", "127.0.0.1", 1, None), Peer("bob", "192.0.2.1", 1, None)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(LinkError, match=r"bob is on another machine \(192.0.2.1\)"):
            connect(0, peers, listener=listener, identity=None)
        with pytest.raises(LinkError, match="alice has no certificate"):
            connect(0, peers, listener=listener, identity=("a.crt", "a.key"))
        peers = [dataclasses.replace(peer, certificate=b"none") for peer in peers]
        with pytest.raises(LinkError, match="certificate of alice is not PEM"):
            connect(0, peers, listener=listener, identity=("a.crt", "a.key"))


def test_no_thread_survives_a_failed_set_up(network: Network, pure: bool) -> None:
    before = threading.active_count()
    assert (
        "no connection with bob"
        in closed(together(lambda: network.connect(0, pure=pure, patience=0.1)))[0]
    )
    assert threading.active_count() == before


def test_a_key_that_cannot_be_used(network: Network, pure: bool, tmp_path: Path) -> None:
    bad = tmp_path / "bad.key"
    bad.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    identity = (network.identities[1][0], str(bad))  # type: ignore[index]
    network.listeners[0].listen()
    begin = time.monotonic()
    [text] = closed(together(lambda: network.connect(1, pure=pure, identity=identity)))
    assert "cannot be used" in text and "AAAA" not in text
    assert time.monotonic() - begin < 3
