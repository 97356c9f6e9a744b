"""What a client sends to each party, and what parties make of it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jsmpc
from jsmpc._src.errors import ServiceError
from jsmpc._src.service import query

SMPC = jsmpc.Replicated3()
KIND = jax.ShapeDtypeStruct((3,), np.dtype(np.float32))
INPUTS = np.array([[1.0, -2.0, 3.5], [0.0, 4.0, -5.0]], np.float32)
NUMBER = b"n" * 16


@pytest.fixture
def messages() -> list[dict[str, Any]]:
    return query.messages(SMPC, INPUTS, 4, NUMBER)


def received(message: dict[str, Any], rank: int = 0, largest: int = 4) -> query.Query:
    return query.received(SMPC, rank, KIND, largest, "carol", message)


@pytest.mark.parametrize("smpc", [SMPC, jsmpc.Additive(), jsmpc.Replicated3(bits=32)], ids=repr)
def test_each_party_gets_the_rows_that_it_holds(smpc: jsmpc.Protocol) -> None:
    sent = query.messages(smpc, INPUTS, 4, NUMBER)
    got = [query.received(smpc, i, KIND, 4, "carol", m) for i, m in enumerate(sent)]
    assert len({q.digest for q in got}) == 1 and {q.count for q in got} == {2}
    rows = {}
    for rank, q in enumerate(got):
        for row, held in zip(sorted(smpc.holds(rank)), q.rows, strict=True):
            np.testing.assert_array_equal(rows.setdefault(row, held), held)
    with jax.enable_x64(True):
        words = jnp.asarray(sum(rows[i] for i in range(smpc.size)).astype(smpc.ring.dtype))
        decoded = smpc.decode(words, np.float32)
    np.testing.assert_allclose(decoded, INPUTS, atol=2e-3)


def test_a_party_gets_nothing_but_its_own_rows(messages: list[dict[str, Any]]) -> None:
    everything = [row.tobytes() for m in messages for row in m["rows"]]
    assert len(set(everything)) == 3  # each of two parties
    for message in messages:
        own = [row.tobytes() for row in message["rows"]]
        rest = [x for key, value in message.items() if key != "rows" for x in [repr(value)]]
        assert set(message) == {"do", "number", "count", "commitments", "rows", "salts"}
        assert all(repr(x) not in text for x in set(everything) - set(own) for text in rest)


def test_rows_that_differ_between_parties_make_another_query() -> None:
    first, second = (query.messages(SMPC, INPUTS, 4, NUMBER) for _ in range(2))
    mixed = {**second[1], "rows": [first[1]["rows"][0], second[1]["rows"][1]]}
    with pytest.raises(ServiceError, match="no query"):  # the commitment is to another row
        received(mixed, 1)
    mixed["salts"] = [first[1]["salts"][0], second[1]["salts"][1]]
    changed = list(second[1]["commitments"])
    changed[1] = first[1]["commitments"][1]
    mixed["commitments"] = changed
    assert received(mixed, 1).digest != received(second[2], 2).digest


def test_commitments_hide_rows_that_are_equal() -> None:
    ones, other = (query.messages(SMPC, INPUTS, 4, NUMBER)[0] for _ in range(2))
    assert not set(ones["commitments"]) & set(other["commitments"])
    assert len({*ones["salts"], *other["salts"]}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"number": b"short"},
        {"number": "n" * 16},
        {"count": 0},
        {"count": True},
        {"count": 3},
        {"count": 1 << 70},
        {"rows": []},
        {"rows": [np.zeros((2, 3), np.uint64)]},
        {"rows": [np.zeros((2, 4), np.uint64)] * 2},
        {"rows": [np.zeros((2, 3), np.uint32)] * 2},
        {"rows": [np.zeros((2, 3), np.uint64)] * 2},
        {"rows": [[0, 0, 0]] * 2},
        {"salts": [b"short"] * 2},
        {"commitments": [b"c" * 32] * 2},
        {"commitments": [b"c" * 32] * 3},
        {"commitments": None},
    ],
    ids=str,
)
def test_what_is_no_query_is_refused(
    messages: list[dict[str, Any]], change: dict[str, Any]
) -> None:
    assert received(messages[0]).count == 2
    with pytest.raises(ServiceError, match=r"no query: .* uint64.count, 3") as refused:
        received({**messages[0], **change})
    assert refused.value.reason == "malformed"


def test_a_count_is_a_number_of_inputs() -> None:
    single = query.messages(SMPC, INPUTS[:1], 1, NUMBER)[0]
    assert received(single).count == 1
    for count in (True, 1.0, "1"):
        with pytest.raises(ServiceError):
            received({**single, "count": count})
    with pytest.raises(ServiceError):  # consistent, but for nothing
        received(query.messages(SMPC, INPUTS[:0], 1, NUMBER)[0])


def test_what_is_missing_or_too_much_is_refused(messages: list[dict[str, Any]]) -> None:
    for key in ("number", "count", "commitments", "rows", "salts"):
        with pytest.raises(ServiceError):
            received({k: v for k, v in messages[0].items() if k != key})
    with pytest.raises(ServiceError):
        received(messages[0], largest=1)
    with pytest.raises(ServiceError):  # another party's
        received(messages[1], rank=0)
