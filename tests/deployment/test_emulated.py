"""Real parties with a network between them: what goes over the wires, and what if one is cut."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from emulation import LAN, Emulation, Wire, why_unavailable
from parties import Deployment
from relu_calls import INPUTS, positive

import jsmpc

PROGRAM = Path(__file__).with_name("relu_calls.py")
pytestmark = pytest.mark.skipif(why_unavailable() is not None, reason=str(why_unavailable()))


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
import socket
server = socket.create_server(("0.0.0.0", 5001))
print("listens", flush=True)
connection, _ = server.accept()
connection.sendall(connection.recv(1))
while connection.recv(1 << 20): pass
connection.sendall(b"x")
"""
CLIENT = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 5001))
start = time.perf_counter()
connection.sendall(b"x"), connection.recv(1)
turn = time.perf_counter()
connection.sendall(bytes(int(sys.argv[2])))
connection.shutdown(socket.SHUT_WR), connection.recv(1)
print(turn - start, time.perf_counter() - turn)
"""


def test_no_packet_comes_before_its_time() -> None:
    wire, size = Wire(rate=50e6, round_trip=20e-3), 1_000_000
    with Emulation(2, wire) as emulation:
        python = [sys.executable, "-c"]
        with subprocess.Popen(
            [*emulation.inside(0), *python, SERVER], stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout.readline() == "listens\n"
            done = subprocess.run(
                [*emulation.inside(1), *python, CLIENT, emulation.addresses[0], str(size)],
                capture_output=True,
                text=True,
                timeout=30,
            )
            assert done.returncode == 0, done.stderr
            server.wait(10)
        counts = emulation.counts()
    turn, bulk = map(float, done.stdout.split())
    assert turn > 0.99 * wire.round_trip
    assert bulk > 0.99 * (wire.round_trip + 8 * size / wire.rate)
    assert size < counts[1].sent < 1.05 * size + counts[1].lost


def test_nothing_is_left_behind() -> None:
    with Emulation(2, LAN) as emulation:
        relay, inside = emulation._relay, emulation.inside(0)
        subprocess.run([*inside, "true"], check=True)
    assert relay.poll() == 0
    assert subprocess.run([*inside, "true"], capture_output=True).returncode
