"""What is sent arrives: between native and pure endpoints, over TLS and without."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from endpoints import Network, linked, together

from jsmpc._src.links import native

NATIVE = native.why_unavailable() is None
needs_native = pytest.mark.skipif(not NATIVE, reason="the native links are not built")
KINDS = [
    pytest.param(False, False, id="native", marks=needs_native),
    pytest.param(True, True, id="pure"),
    pytest.param(False, True, id="mixed", marks=needs_native),
    pytest.param(True, False, id="mixed-reversed", marks=needs_native),
]


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path, 2, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("pure_a, pure_b", KINDS)
def test_arrays_of_all_types_arrive(network: Network, pure_a: bool, pure_b: bool) -> None:
    rng = np.random.default_rng(0)
    # From a few bytes to more than the buffers of the sockets hold.
    shapes = [(), (0,), (3,), (2, 0, 5), (1000, 17), (1_500_000,)]
    types = ["uint8", "uint16", "uint32", "uint64", "int32", "float32", "float64", "bool"]
    sent = [rng.integers(0, 255, s).astype(t) for s, t in zip(shapes * 2, types * 2, strict=False)]
    into = [[np.zeros_like(x) for x in sent] for _ in range(2)]
    with linked(network, [{"pure": pure_a}, {"pure": pure_b}]) as links:
        for _ in range(2):
            errors = together(
                *(
                    lambda r=r: links[r].exchange(
                        [(1 - r, x) for x in sent], [(1 - r, x) for x in into[r]]
                    )
                    for r in range(2)
                )
            )
            assert errors == [None, None]
            for received in into:
                for x, y in zip(sent, received, strict=True):
                    np.testing.assert_array_equal(x, y)
                    y[...] = 0
        total = 2 * sum(x.nbytes for x in sent)
        assert links[0].sent == links[0].received == {"bob": total}
        assert links[1].sent == links[1].received == {"alice": total}
        assert [link.exchanges for link in links] == [2, 2]
    assert links[0].sent == {"bob": total}


@pytest.mark.parametrize("pure_a, pure_b", KINDS)
def test_talk_outside_of_programs(network: Network, pure_a: bool, pure_b: bool) -> None:
    with linked(network, [{"pure": pure_a}, {"pure": pure_b}]) as (alice, bob):
        for data in (b"", b"hello", os.urandom(300_000)):
            assert together(
                lambda d=data: alice.send_bytes(1, d), lambda: bob.receive_bytes(0)
            ) == [None, data]
        alice.send_bytes(1, b"five!")
        with pytest.raises(ConnectionError, match="at most 4 bytes, got 5"):
            bob.receive_bytes(0, limit=4)


@pytest.mark.parametrize("pure", [pytest.param(False, marks=needs_native), True])
def test_early_data_waits_for_its_exchange(tmp_path: Path, pure: bool) -> None:
    network = Network(tmp_path, 2, False)
    x, y = np.arange(5, dtype=np.uint32), np.zeros(5, np.uint32)
    with linked(network, [{"pure": pure}] * 2) as (alice, bob):
        for i in range(3):
            alice.exchange([(1, x + i)], [])
        for i in range(3):
            bob.exchange([], [(0, y)])
            np.testing.assert_array_equal(y, x + i)
    network.close()


@pytest.mark.parametrize("pure", [pytest.param(False, marks=needs_native), True])
def test_an_idle_connection_lives_on_heartbeats(tmp_path: Path, pure: bool) -> None:
    network = Network(tmp_path, 2, True)
    y = np.zeros(5, np.uint32)
    # The patience of one decides how often the other shows life.
    with linked(network, [{"pure": pure, "silence": 0.3}, {"pure": pure}]) as (alice, bob):

        def late() -> None:
            threading.Event().wait(0.9)
            bob.exchange([(0, y)], [])

        assert together(lambda: alice.exchange([], [(1, y)]), late) == [None, None]
    network.close()


@pytest.mark.parametrize("pure", [pytest.param(False, marks=needs_native), True])
def test_nothing_is_left_after_closing(tmp_path: Path, pure: bool) -> None:
    def resources() -> tuple[int, int]:
        """Descriptors, and threads of links; XLA may start others at any time."""
        names = []
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                names.append((task / "comm").read_text())
        hearts = [thread for thread in threading.enumerate() if thread.name == "jsmpc-links"]
        return len(os.listdir("/proc/self/fd")), len(hearts) or names.count("jsmpc-links\n")

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("no /proc")
    network = Network(tmp_path, 3, True)
    with linked(network, [{"pure": pure}] * 3):
        pass
    before = resources()
    for _ in range(2):
        with linked(network, [{"pure": pure}] * 3) as links:
            assert resources()[0] > before[0]
            links[1].abort("enough")
            links[0].close()
            links[0].close()
    end = time.monotonic() + 2  # a thread that was joined is listed for a moment longer
    while resources() != before and time.monotonic() < end:
        time.sleep(0.01)
    assert resources() == before and before[1] == 0
    with pytest.raises(ConnectionError, match="closed"):
        links[0].send_bytes(1, b"")
    network.close()
