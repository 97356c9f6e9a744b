"""Real parties with a network between them: what goes over the wires, and what if one is cut."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from emulation import LAN, Emulation, Wire, why_unavailable
from parties import Deployment
from relu_calls import INPUTS, positive

import jsmpc

PROGRAM = Path(__file__).with_name("relu_calls.py")


@pytest.fixture(autouse=True)
def _needs_a_network() -> None:
    if (reason := why_unavailable()) is not None:
        pytest.skip(reason)


def test_bytes_on_the_wire_are_those_of_cost(tmp_path: Path) -> None:
    """The messages are large, so that headers of TCP/IP (52 B of 1,500) and TLS (22 B of 16 KiB),
    the set-up and the sharing of the inputs together stay within 5 % of what a party sends; and
    acknowledgements, of 52 B for a bundle of 16 KiB, within 0.5 % of what it receives."""
    values, calls = 100_000, 2
    smpc = jsmpc.Replicated3()
    x = jsmpc.share(jax.random.key(0), np.zeros(INPUTS, np.float32), smpc)
    secure = jsmpc.secure(functools.partial(positive, values=values))
    cost = secure.cost(x)
    with Emulation(3, LAN) as emulation:
        with Deployment(emulation, tmp_path, PROGRAM, calls, values) as deployment:
            ended = deployment.ended(90)
        counts = emulation.counts()
    expected = 100 * float(np.maximum(np.linspace(-1, 1, INPUTS), 0).sum())
    for party, end in enumerate(ended):
        assert end.code == 0, end.err
        assert float(end.out.split("result")[1]) == pytest.approx(expected, rel=1e-3)
        assert counts[party].lost == 0
        sent = calls * cost.bytes_sent[party]
        assert sent < counts[party].sent < 1.05 * sent + 0.005 * counts[party].received
    assert sum(c.sent for c in counts) == sum(c.received for c in counts)


def test_a_cut_link_ends_the_run_of_all_in_time(tmp_path: Path) -> None:
    silence = 2.0
    with (
        Emulation(3, LAN) as emulation,
        Deployment(emulation, tmp_path, PROGRAM, 0, INPUTS, silence=silence) as deployment,
    ):
        deployment.wait_for("running", 90)
        emulation.cut(1)
        start = time.monotonic()
        ended = deployment.ended(60)
        # Each tells the others, and waits a second at most for them to hear it.
        assert time.monotonic() - start < 2 * silence + 5
    for end in ended:
        assert end.code == 1
        # Whoever is cut hears the others for a while, and their reason if that comes through.
        silent = "party1" if end.name != "party1" else "party"
        assert f"no sign of life from {silent}" in end.err
        assert "Traceback" not in end.err and "result" not in end.out


SERVER = """
import socket, sys
server = socket.create_server(("0.0.0.0", 5001))
print("listens", flush=True)
connection, _ = server.accept()
connection.sendall(connection.recv(1))
connection.sendall(bytes(int(sys.argv[1])))
while connection.recv(1 << 20): pass
"""
CLIENT = """
import socket, sys, time
from concurrent.futures import ThreadPoolExecutor
connections = [socket.create_connection((address, 5001)) for address in sys.argv[2:]]
def bulk(connection):
    connection.sendall(bytes(int(sys.argv[1])))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1 << 20): pass
start = time.perf_counter()
connections[0].sendall(b"x"), connections[0].recv(1)
turn = time.perf_counter()
connections[1].sendall(b"x")
with ThreadPoolExecutor() as pool:
    list(pool.map(bulk, connections))
print(turn - start, time.perf_counter() - turn)
"""


@pytest.mark.parametrize("sent, received", [(2_000_000, 0), (0, 2_000_000)])
def test_no_packet_comes_before_its_time(sent: int, received: int) -> None:
    """One endpoint sends to two others at once, or receives from them: both share its wire."""
    wire = Wire(rate=50e6, round_trip=20e-3)
    with Emulation(3, wire) as emulation, contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_python(emulation, endpoint, SERVER, received))
            for endpoint in (1, 2)
        ]
        for server in servers:
            assert server.stdout.readline() == "listens\n"
        client = stack.enter_context(_python(emulation, 0, CLIENT, sent, *emulation.addresses[1:]))
        said, _ = client.communicate(timeout=30)
        for process in (client, *servers):
            assert process.wait(10) == 0
        counts = emulation.counts()
    turn, bulk = map(float, said.split())
    assert turn > 0.99 * wire.round_trip
    # The first bundle may have come before the clock started.
    least = 8 * (2 * (sent + received) - wire.bundle) / wire.rate
    assert bulk > 0.99 * least
    moved, count = (2 * sent, counts[0].sent) if sent else (2 * received, counts[0].received)
    assert moved < count
    assert count < 1.06 * moved + sum(c.lost for c in counts)


@contextlib.contextmanager
def _python(
    emulation: Emulation, endpoint: int, program: str, *arguments: object
) -> Iterator[subprocess.Popen[str]]:
    command = [*emulation.inside(endpoint), sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_nothing_is_left_behind() -> None:
    with Emulation(2, LAN) as emulation:
        relay, inside = emulation._relay, emulation.inside(0)
        subprocess.run([*inside, "true"], check=True)
    assert relay.poll() == 0
    assert subprocess.run([*inside, "true"], capture_output=True).returncode
