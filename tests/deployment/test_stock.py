"""A dealer's stock: bounded, made between runs, each set used once; and parties who are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from dealt import network
from parties import Deployment, Loopback

import jsmpc
from harness import run_together
from jsmpc._src.api import ports
from jsmpc._src.deployment import log
from jsmpc._src.deployment.stock import Stock
from jsmpc._src.jaxprs import compat

SMPC = jsmpc.Additive(dealer="james")
BYTES = 8


class Dealing:
    """What makes sets of 8 bytes, counts them, and can be held up."""

    def __init__(self) -> None:
        self.made, self.free = 0, threading.Event()
        self.free.set()

    def __call__(self) -> list[jax.Array]:
        self.free.wait(10)
        self.made += 1
        return [jax.numpy.full(2, self.made, np.int32)]


@pytest.fixture
def stock() -> Iterator[Callable[..., Stock]]:
    made: list[Stock] = []

    def make(sets: int, room: int = 1 << 20) -> Stock:
        made.append(Stock(sets, room))
        return made[-1]

    yield make
    for one in made:
        one.close()


def settled(condition: Callable[[], bool]) -> bool:
    """Whether something is so soon, and stays so."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    time.sleep(0.02)
    return condition()


def test_sets_are_made_between_runs_and_are_so_many(stock: Callable[..., Stock]) -> None:
    kept, deal = stock(3), Dealing()
    first = kept.take(deal)
    assert settled(lambda: deal.made == 1)  # nothing is made while the run lasts
    kept.refill()
    assert settled(lambda: deal.made == 4)
    deal.free.clear()  # what is there is had at once
    others = [kept.take(deal) for _ in range(3)]
    found = [first, *others]
    assert [int(s.arrays[0][0]) for s in found] == [1, 2, 3, 4]
    assert len({s.number for s in found}) == 4 and {s.size for s in found} == {BYTES}
    deal.free.set()
    assert kept.take(deal).arrays[0][0] == 5  # and what is not there is made for whoever waits


def test_memory_is_bounded_and_goes_to_the_program_that_was_served_last(
    stock: Callable[..., Stock],
) -> None:
    kept, one, two = stock(4, room=5 * BYTES), Dealing(), Dealing()
    kept.take(one)
    kept.refill()
    assert settled(lambda: one.made == 5)
    kept.take(two)
    kept.refill()
    assert settled(lambda: (one.made, two.made) == (5, 5))
    one.free.clear()
    assert kept.take(one).arrays[0][0] == 2  # one of the four is left, the oldest
    one.free.set()
    assert kept.take(one).arrays[0][0] == 6
    large = stock(4, room=BYTES - 1)
    large.take(three := Dealing())
    large.refill()
    assert settled(lambda: three.made == 1)  # none has room: all are made when they are needed
    assert large.take(three).arrays[0][0] == 2


def test_what_cannot_be_dealt_is_the_error_of_who_asks(stock: Callable[..., Stock]) -> None:
    def broken() -> list[jax.Array]:
        raise jsmpc.MaterialError("no")

    kept, deal = stock(2), Dealing()
    for _ in range(2):
        with pytest.raises(jsmpc.MaterialError, match="no"):
            kept.take(broken)
    assert kept.take(deal).arrays
    kept.close()
    with pytest.raises(jsmpc.MaterialError, match="closed"):
        kept.take(deal)


def test_endpoints_that_are_served_compute_what_they_do_with_material() -> None:
    rng = np.random.default_rng(1)
    values = tuple(rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4, 2)))
    shares, f = jsmpc.share(jax.random.key(0), values, SMPC), jsmpc.secure(network)
    material = f.offline(jax.random.key(1), *shares)
    ((both, _),) = f._phases.values()
    with compat.protocol_mode():
        rows = [x for share in shares for x in share.components[0]]
        dealt = jax.tree.leaves(both.joined(material.parts))
        projection, results = both.served
        found = [next(iter(x.values())) for x in run_together(projection, [*dealt, *rows])]
    assert [p.endpoints for p in projection.inputs[: len(dealt)]] == [{SMPC.size}] * len(dealt)
    assert not any(SMPC.size in p.endpoints for p in ports.of_outputs(SMPC, results))
    wanted = [x for out in f.online(material, *shares) for x in out.components[0]]
    for mine, theirs in zip(found, wanted, strict=False):
        np.testing.assert_array_equal(mine, theirs)


def test_a_dealer_serves_parties_from_its_stock(tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "import jax, numpy as np, jsmpc\n"
        "x = jsmpc.input(np.arange(-3, 3, dtype=np.float32), owner='party0')\n"
        "f = jsmpc.secure(lambda x: jsmpc.reveal(jax.nn.relu(x)))\n"
        "for _ in range(3):\n"
        "    print('relu', f(jsmpc.random_key(), x))\n"
        "until = jsmpc.secure(lambda x: jsmpc.reveal(jax.lax.while_loop(\n"
        "    lambda c: jsmpc.reveal(c.sum()) < 0, jax.nn.relu, x)))\n"
        "print('until', until(jsmpc.random_key(), x))\n"
    )
    names = (*SMPC.parties, "james")
    with Deployment(
        Loopback(3), tmp_path, file, names=names, protocol="additive", dealer="james", stock=2
    ) as deployment:
        ended = deployment.ended(90)
    assert [e.code for e in ended] == [0, 0, 0], ended
    relu = "[0. 0. 0. 0. 1. 2.]"
    for party in ended[:2]:
        assert party.out.splitlines() == [f"relu {relu}"] * 3 + [f"until {relu}"]
    with log.opened(tmp_path / "james.log", write=False) as book:
        entries = [e for e in book.read() if e.event in ("dealt", "run")]
    # Of every set its number stands there before the run that uses it; a while loop has none.
    kinds = [e.event for e in entries]
    assert kinds[-7:] == ["dealt", "run"] * 3 + ["run"] and kinds.count("dealt") == 3
    assert len({e.fields["number"] for e in entries if e.event == "dealt"}) == 3
    with log.opened(tmp_path / "party1.log", write=False) as book:
        told = [e.fields["elements"] for e in book.read() if e.fields.get("to") == "james"]
    assert told == [1, 1]  # whether to go on, before the loop and in it
    assert "in stock" in entries[-2].fields["what"] and "stock" not in entries[-1].fields["what"]
