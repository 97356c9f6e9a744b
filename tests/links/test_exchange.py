"""Exchanges in compiled programs: jit, scan, while_loop and cond; between three processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from endpoints import NAMES, Network, linked, together

from jsmpc._src.links import native
from jsmpc._src.links.exchange import exchange, halt, halted
from jsmpc._src.links.links import Links

needs_native = pytest.mark.skipif(
    native.why_unavailable() is not None, reason="the native links are not built"
)
TOKEN = np.zeros(0)  # in the place of the token of each end's links


@pytest.fixture(
    params=[
        pytest.param((False, False), marks=needs_native),
        (True, True),
        pytest.param((False, True), marks=needs_native),
    ],
    ids=["native", "pure", "mixed"],
)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Links]]:
    network = Network(tmp_path, 2, True)
    with linked(network, [{"pure": pure, "silence": 5.0} for pure in request.param]) as links:
        yield links
    network.close()


def both(links: list[Links], program: Any, *inputs: Any) -> list[Any]:
    """What a jitted program of each endpoint computes, each on a device of its own."""

    def run(rank: int) -> Any:
        with jax.enable_x64(True):  # holds for one thread
            own = [links[rank].token if x is TOKEN else x for x in inputs]
            placed = jax.device_put(own, jax.devices()[rank])
            jitted = jax.jit(lambda *xs: program(links[rank], 1 - rank, *xs))
            return jax.device_get(jitted(*placed))

    return together(lambda: run(0), lambda: run(1))


def swap(links: Links, other: int, token: Any, *arrays: Any) -> Any:
    types = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
    peers = [other] * len(arrays)
    return exchange(token, arrays, peers, types, peers, links.pure)


def test_a_program_ends_where_it_is_told_to_and_the_links_go_on(pair: list[Links]) -> None:
    def program(links: Links, other: int, x: Any) -> Any:
        token, (theirs,) = swap(links, other, links.token, x)
        token = halt(token, theirs > 7, links.pure)
        return swap(links, other, token, theirs)[1]

    assert both(pair, program, np.uint32(7)) == [[7], [7]]
    before = [links.exchanges for links in pair]
    for links, error in zip(pair, both(pair, program, np.uint32(8)), strict=True):
        assert isinstance(error, jax.errors.JaxRuntimeError | ValueError) and halted(error)
        assert links.failure is None
    assert [links.exchanges for links in pair] == [n + 1 for n in before]
    assert both(pair, program, np.uint32(3)) == [[3], [3]]


def test_arrays_of_all_types(pair: list[Links]) -> None:
    def program(links: Links, other: int, token: Any, *xs: Any) -> Any:
        mine = [(x + links.rank).astype(x.dtype) for x in xs]
        token, back = swap(links, other, token, *mine)
        return token, back

    xs = [
        *(np.arange(6).reshape(2, 3).astype(t) for t in ("u1", "u2", "u4", "u8", "i8", "f4")),
        np.array([True, False]),
        np.zeros((0, 3), np.uint32),
        np.asarray(jnp.arange(3, dtype=jnp.bfloat16)),
        np.arange(1 << 20, dtype=np.uint32),
    ]
    results = both(pair, program, TOKEN, *xs)
    for rank, (token, back) in enumerate(results):
        assert token == pair[rank].token
        for x, y in zip(xs, back, strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal((x + (1 - rank)).astype(x.dtype), y)


def test_control_flow(pair: list[Links]) -> None:
    def program(links: Links, other: int, token: Any, x: Any) -> Any:
        def step(carry: Any, i: Any) -> Any:
            token, x = carry
            token, (y,) = swap(links, other, token, x + i)
            # A second one at once: the token alone orders them.
            token, (z,) = swap(links, other, token, x * 3)
            return (token, y + z), y[0]

        carry, ys = jax.lax.scan(step, (token, x), jnp.arange(5, dtype=jnp.uint32))

        def body(state: Any) -> Any:
            n, token, x = state
            token, (x,) = swap(links, other, token, x + 1)
            return n + 1, token, x

        _, token, x = jax.lax.while_loop(lambda s: s[0] < 3, body, (0, *carry))

        def yes(token: Any, x: Any) -> Any:
            token, (y,) = swap(links, other, token, x)
            return token, y

        return (*jax.lax.cond(x[0] > 0, yes, lambda t, x: (t, x), token, x), ys)

    results = both(pair, program, TOKEN, np.arange(4, dtype=np.uint32))
    x, ys = np.arange(4, dtype=np.uint32), []
    for i in range(5):
        ys.append(x[0] + i)
        x = 4 * x + i
    for links, (token, y, y0) in zip(pair, results, strict=True):
        assert token == links.token
        np.testing.assert_array_equal(y, x + 3)
        np.testing.assert_array_equal(y0, ys)
    assert pair[0].exchanges == 14 and pair[0].sent == {"bob": 14 * 16}


def test_an_exchange_that_fails_is_an_error_of_the_program(pair: list[Links]) -> None:
    def program(links: Links, other: int, token: Any, x: Any) -> Any:
        x = x[: 1 + links.rank]
        return swap(links, other, token, x)[1]

    errors = both(pair, program, TOKEN, np.zeros(4, np.uint32))
    texts = [str(error) for error in errors]
    assert any("'s program differs: expected" in text for text in texts), texts
    again = both(pair, program, TOKEN, np.zeros(4, np.uint32))
    assert all(isinstance(error, Exception) for error in again)


def test_what_cannot_be_exchanged(pair: list[Links]) -> None:
    token, pure = pair[0].token, pair[0].pure
    with pytest.raises(ValueError, match="one target for each array"):
        exchange(token, [jnp.zeros(2)], [], [], [], pure)
    with pytest.raises(NotImplementedError, match="cannot be mapped"):
        jax.vmap(lambda x: exchange(token, [x], [1], [], [], pure)[0])(jnp.zeros(2))
    with pytest.raises(TypeError, match="cannot be exchanged"):
        jax.eval_shape(lambda k: exchange(token, [k], [1], [], [], pure)[0], jax.random.key(0))
    pair[0].close()
    with pytest.raises(Exception, match="the links were closed"):
        jax.block_until_ready(exchange(token, [jnp.zeros(2)], [1], [], [], pure))


@needs_native
def test_three_processes(tmp_path: Path) -> None:
    network = Network(tmp_path, 3, True)
    script = Path(__file__).with_name("party.py")
    parties = []
    for rank in range(3):
        given = {
            "rank": rank,
            "listener": network.listeners[rank].fileno(),
            "ports": [peer.port for peer in network.peers],
            "folder": str(tmp_path),
        }
        parties.append(
            subprocess.Popen(
                [sys.executable, str(script), json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[given["listener"]],
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
        )

    def line(rank: int) -> str:
        return parties[rank].stdout.readline().strip()

    def say(rank: int) -> None:
        parties[rank].stdin.write("go\n")
        parties[rank].stdin.flush()

    try:
        for rank in range(3):
            # Each adds what the others sent; 20 rounds of a scan.
            total = np.arange(3, dtype=np.uint32)
            for _ in range(20):
                total = total.sum() - total
            assert json.loads(line(rank)) == {
                "value": int(total[rank]),
                "sent": {name: 20 * 4000 for name in NAMES if name != NAMES[rank]},
                "exchanges": 20,
            }
        # Bob is stopped while Alice and Carol wait for him.
        parties[1].send_signal(signal.SIGSTOP)
        for rank in (0, 2):
            assert "no sign of life from bob for 1 s" in line(rank)
        parties[1].send_signal(signal.SIGCONT)
        assert "ended the run: no sign of life from bob for 1 s" in line(1)
        # All connect anew, and Carol is killed.
        for rank in range(3):
            say(rank)
        for rank in range(3):
            assert line(rank) == "connected"
        parties[2].kill()
        for rank in (0, 1):
            text = line(rank)
            assert "carol" in text and ("without a goodbye" in text or "broke" in text)
            assert parties[rank].wait(10) == 0
    finally:
        for party in parties:
            party.kill()
            party.wait()
            party.stdin.close()
            party.stdout.close()
        network.close()
