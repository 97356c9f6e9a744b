"""The sparse graph: its shape, its odds against counted ones, and degrees as published."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import numpy as np
import pytest

import jsmpc
from jsmpc import federated
from jsmpc._src.federated.masked.graph import Odds, neighbours
from masked import LIKE, PUBLIC, RULE, full


def neighbourhoods(clients: int, degree: int, seed: bytes) -> list[frozenset[int]]:
    return [neighbours(u, clients, degree, seed) for u in range(clients)]


@pytest.mark.parametrize("clients, degree", [(9, 2), (20, 6), (101, 40), (7, 6), (8, 7)])
def test_it_is_regular_symmetric_and_connected(clients: int, degree: int) -> None:
    found = neighbourhoods(clients, degree, b"seed")
    for u, around in enumerate(found):
        assert len(around) == degree and u not in around
        assert all(u in found[v] for v in around)
    reached, waiting = {0}, [0]
    while waiting:
        fresh = set(found[waiting.pop()]) - reached
        reached |= fresh
        waiting += fresh
    assert len(reached) == clients


def test_it_is_another_one_for_another_seed_or_round() -> None:
    assert neighbourhoods(50, 8, b"a") == neighbourhoods(50, 8, b"a") != neighbourhoods(50, 8, b"b")
    setup = sparse()
    around = [setup.neighbours_of(3, number) for number in range(4)]
    assert len(set(around)) == 4 and around == [sparse().neighbours_of(3, n) for n in range(4)]
    assert around[1] != sparse(seed=b"other").neighbours_of(3, 1)


def test_every_pair_is_as_likely() -> None:
    counts = np.zeros((10, 10))
    for i in range(2000):
        for u, around in enumerate(neighbourhoods(10, 4, i.to_bytes(4, "little"))):
            counts[u, list(around)] += 1
    off = counts[~np.eye(10, dtype=bool)]
    assert abs(off - 2000 * 4 / 9).max() < 5 * math.sqrt(2000 * 4 / 9 * 5 / 9)


def test_the_odds_are_those_of_counting() -> None:
    clients, corrupt, dropping, degree, threshold = 9, 4, 3, 4, 3
    odds = Odds(clients, corrupt, dropping, active=False)
    around = list(itertools.combinations(range(1, clients), degree))  # of client 0
    many = sum(sum(v <= corrupt for v in own) >= threshold for own in around) / len(around)
    few = sum(sum(v > dropping for v in own) < threshold for own in around) / len(around)
    assert odds.incorrect(degree, threshold) == pytest.approx(clients * few)
    gone = math.comb(7, degree) / math.comb(clients, degree)
    apart = clients * (clients - degree - 1) / 2 * gone
    assert odds.insecure(degree, threshold) == pytest.approx(clients * many + apart)
    both = sum(2 * threshold - degree - 1 <= sum(v <= corrupt for v in own) for own in around)
    active = Odds(clients, corrupt, dropping, active=True).insecure(degree, threshold)
    assert active == pytest.approx(clients * both / len(around) + apart)


def test_losing_half_a_neighbourhood_at_two_places_is_needed_to_part_it() -> None:
    """Every set of fewer than k clients leaves the others connected."""
    found = neighbourhoods(9, 4, b"seed")
    parted = 0
    for count in range(5):
        for gone in itertools.combinations(range(9), count):
            left = set(range(9)) - set(gone)
            reached = {min(left)}
            while fresh := {v for u in reached for v in found[u]} & left - reached:
                reached |= fresh
            parted += reached != left
            assert count == 4 or reached == left
    assert parted == 9 * (9 - 4 - 1) / 2  # as many as the bound counts


@pytest.mark.parametrize(
    "clients, corrupt, dropping, active, degree, threshold",
    [
        (100, 0.05, 0.33, False, 28, 6),
        (1000, 0.05, 0.33, False, 72, 24),
        (10_000, 0.05, 0.33, False, 86, 29),
        (100, 0.33, 0.33, False, 68, 34),
        (1000, 0.33, 0.33, False, 286, 150),
        (1000, 0.33, 0.05, False, 78, 60),
        (10_000, 0.33, 0.05, False, 92, 70),
        (100, 0.05, 0.33, True, 72, 39),
        (1000, 0.05, 0.33, True, 398, 223),
        (100, 0.33, 0.05, True, 42, 37),
        (1000, 0.33, 0.05, True, 132, 109),
    ],
)
def test_degrees_are_about_the_published_ones(
    clients: int, corrupt: float, dropping: float, active: bool, degree: int, threshold: int
) -> None:
    """Those of the implementation by the paper's authors, which draws neighbours among all clients
    where these are drawn among all others, and counts no share of one's own."""
    odds = Odds(clients, int(corrupt * clients), int(dropping * clients), active)
    found = odds.smallest()
    assert abs(found[0] - degree) <= 6 and abs(found[1] - threshold) <= 5
    assert odds.insecure(*found) <= 2.0**-40 and odds.incorrect(*found) <= 2.0**-20
    smaller = [odds.threshold(d) for d in range(2, found[0], 2)]
    assert not any(smaller)
    assert odds.insecure(found[0], found[1] - 1) > 2.0**-40


def sparse(**options: Any) -> federated.OneServer:
    usual = {
        **{"clients": 40, "quantization": RULE, "like": LIKE},
        **{"dropping": 4, "corrupt": 2, "seed": b"seed"},
    }
    return federated.OneServer.sparse(**{**usual, **options})


def test_set_ups_hold_what_they_promise() -> None:
    setup = full(31, corrupt=10)
    assert (setup.threshold, setup.quorum, setup.dropping) == (11, 11, 20)
    assert full(31, dropping=5).threshold == 26
    signed = full(31, corrupt=10, signed=True)
    assert signed.threshold == 2 * 31 // 3 + 1 and signed.dropping == 10
    assert full(31, corrupt=0, signed=True).threshold == 31 // 2 + 1
    assert full(31, dropping=12, signed=True).corrupt == 6
    direct = federated.OneServer(clients=30, threshold=21, quantization=RULE, like=LIKE)
    assert direct.corrupt == 20 and direct.neighbours == 29
    direct = federated.OneServer(
        clients=30, threshold=21, quantization=RULE, like=LIKE, identities=PUBLIC[:30]
    )
    assert direct.corrupt == 11 and direct.is_active
    assert sparse().quorum == 36 and sparse().neighbours < 39


@pytest.mark.parametrize(
    "change, why",
    [
        ({"clients": 1}, "2 to 65536 clients"),
        ({"threshold": 1}, "the threshold is 2 to 30"),
        ({"threshold": 31}, "the threshold is 2 to 30"),
        ({"threshold": 21, "corrupt": 21}, "does not hold against 21 corrupt clients"),
        ({"threshold": 15, "quorum": 16, "corrupt": 0, "identities": PUBLIC[:30]}, "twice the thr"),
        ({"threshold": 16, "quorum": 16, "corrupt": 2, "identities": PUBLIC[:30]}, "twice the quo"),
        ({"threshold": 21, "quorum": 20}, "the quorum is the threshold 21 or more"),
        ({"threshold": 21, "corrupt": 29}, "corrupt clients are 0 to 28"),
        ({"threshold": 21, "neighbours": 5}, "an even number from 2 to 28"),
        ({"threshold": 3, "neighbours": 6, "corrupt": 10, "quorum": 25}, "insecure with a prob"),
        ({"threshold": 6, "neighbours": 6, "corrupt": 0, "quorum": 25}, "incorrect with a prob"),
        ({"identities": PUBLIC[:29]}, "29 identities of 30 clients"),
        ({"identities": [PUBLIC[0]] * 30}, "different public keys of 32 bytes"),
        ({"like": jax.ShapeDtypeStruct((3,), np.int32)}, "holds int32. Give floats"),
        ({"like": []}, "has no elements"),
        (
            {"quantization": federated.Quantization(1.0, bits=30, most_weight=9, ring=32)},
            "smaller most_weight",
        ),
    ],
)
def test_what_is_no_set_up(change: Any, why: str) -> None:
    usual = {"clients": 30, "threshold": 21, "quantization": RULE, "like": LIKE}
    with pytest.raises(jsmpc.FederatedError, match=why):
        federated.OneServer(**{**usual, **change})


def test_thresholds_that_cannot_be() -> None:
    with pytest.raises(jsmpc.FederatedError, match="18 may not drop out while 5 are corrupt"):
        full(20, dropping=18, corrupt=5)
    with pytest.raises(jsmpc.FederatedError, match="no sparse graph serves 10 clients"):
        sparse(clients=10, corrupt=4, dropping=4)


def test_set_ups_that_differ_do_not_understand_each_other() -> None:
    same = full(4)
    assert same == full(4) and same.digest == full(4).digest
    for other in (full(5), full(4, dropping=0), full(4, quantization=federated.Quantization(2.0))):
        assert same.digest != other.digest
    assert same.context(1).about != same.context(2).about
    with pytest.raises(jsmpc.FederatedError, match="a number from 0 on"):
        same.context(-1)
