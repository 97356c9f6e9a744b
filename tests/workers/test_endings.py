"""Workers that are killed, or told to stop, while they compute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from processes import PACKAGE, Processes

import jsmpc
from jsmpc._src.deployment import log
from jsmpc._src.errors import LinkError, PointerError

turns = jsmpc.plan(
    lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: jnp.cos(x), x),
    "float32[8]",
    "int32[]",
    name="turns",
)
LONG = 2**31 - 1  # for minutes


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("one"), ["bob"], ["carol"]) as found:
        yield found


@pytest.fixture
def bob(one: Processes) -> Any:
    if "bob" not in one.running:
        one.start("bob")
        one.wait("bob")
    return one.client("carol")["bob"]


def running(one: Processes, pool: ThreadPoolExecutor, x: Any, n: int) -> Future[Any]:
    """A call that has begun."""
    before = one.log("bob")
    call = pool.submit(lambda: turns(x, jnp.int32(n)).get())
    deadline = time.monotonic() + 20
    while [e for e, _ in one.log("bob")[len(before) :]].count("run") < 1:
        assert time.monotonic() < deadline and not call.done()
        time.sleep(0.02)
    return call


def test_a_killed_worker_is_named_and_serves_again(one: Processes, bob: Any) -> None:
    x = bob.send(jnp.ones(8))
    turns(x, jnp.int32(1)).get()
    with ThreadPoolExecutor(1) as pool:
        call = running(one, pool, x, LONG)
        start = time.monotonic()
        assert one.end("bob", signal.SIGKILL)[0] == -signal.SIGKILL
        with pytest.raises(LinkError, match="bob"):
            call.result(timeout=10)
        assert time.monotonic() - start < 5
    with pytest.raises(LinkError, match="bob"):
        bob.send(jnp.ones(2))
    one.start("bob")
    one.wait("bob")
    assert bob.send(jnp.ones(2)).get().tolist() == [1, 1]  # the same client
    with pytest.raises(PointerError, match="has no object"):
        x.get()
    assert [event for event, _ in one.log("bob")].count("run") == 2


def test_one_that_is_told_to_stop_finishes_what_runs(one: Processes, bob: Any) -> None:
    x = bob.send(jnp.ones(8))
    turns(x, jnp.int32(1)).get()
    start = time.monotonic()
    turns(x, jnp.int32(10**6)).get()
    n = int(10**6 * 1.5 / (time.monotonic() - start))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(lambda: bob.run(turns, [x, jnp.int32(n)]))
        time.sleep(0.5)
        assert not call.done()
        code, _, err = one.end("bob")
        (result,) = call.result(timeout=1)
    assert (code, err) == (0, "")
    assert result.shape == (8,)
    assert log.verify(one.folder / "bob.log").entries == len(one.log("bob"))
    with pytest.raises(LinkError, match="bob"):
        bob.send(jnp.ones(2))


def test_one_that_would_not_finish_ends_all_the_same(one: Processes) -> None:
    if "bob" in one.running:
        one.end("bob")
    program = (
        "import sys, pathlib\nfrom jsmpc._src.workers import process\nprocess.GRACE = 1.0\n"
        "sys.exit(process.run(process.Employment('bob', pathlib.Path(sys.argv[1]))))"
    )
    one.running["bob"] = subprocess.Popen(
        [sys.executable, "-c", program, str(one.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )
    one.wait("bob")
    bob = one.client("carol")["bob"]
    x = bob.send(jnp.ones(8))
    with ThreadPoolExecutor(1) as pool:
        call = running(one, pool, x, LONG)
        start = time.monotonic()
        code, _, err = one.end("bob")
        assert code == 0 and err == "" and time.monotonic() - start < 8
        with pytest.raises(LinkError, match="bob"):
            call.result(timeout=5)


def test_an_address_is_one_workers(one: Processes, bob: Any, tmp_path: Path) -> None:
    words = ["worker", "--name", "bob", "--config", one.config, "--log", tmp_path / "bob.log"]
    found = subprocess.run(
        [sys.executable, "-m", "jsmpc", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": PACKAGE},
    )
    assert found.returncode == 1
    assert "cannot listen" in found.stderr and found.stderr.count("\n") == 1
    assert bob.objects == {}


def test_calls_take_turns_when_there_are_too_many(one: Processes, bob: Any) -> None:
    """More calls than it works on at once are refused, not kept waiting without bound."""
    barrier = threading.Barrier(40)

    def ask() -> str:
        barrier.wait()
        try:
            bob.send(jnp.ones(1)).get()
        except LinkError as error:
            return str(error)
        return "answered"

    with ThreadPoolExecutor(40) as pool:
        found = [call.result() for call in [pool.submit(ask) for _ in range(40)]]
    assert "answered" in found
    assert all(x == "answered" or "busy" in x for x in found)
    assert bob.send(jnp.ones(1)).get().tolist() == [1]
