"""The queries that wait at a party: who may ask, whose turn it is, and what is given up."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import pytest

from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import LimitError, ServiceError
from jsmpc._src.service.limits import Limits
from jsmpc._src.service.waiting import Query, Waiting


class Party:
    """A party's queries at a time that is set by hand."""

    def __init__(self, **limits: Any) -> None:
        self.now, self.refused = 0.0, collections.Counter()
        self.waiting = Waiting(Limits(**limits), self._noticed, lambda: self.now)

    def _noticed(self, caller: str, reason: str) -> None:
        self.refused[caller, reason] += 1

    def ask(self, caller: str, number: int, count: int = 1) -> Query:
        query = Query(caller, bytes([number]) * 16, count, b"same", (np.zeros(count),))
        self.waiting.admit(query)
        return query

    def all_have(self, *queries: Query) -> None:
        for query in queries:
            self.waiting.heard(query, [])

    def batch(self, largest: int = 8) -> list[tuple[str, int]]:
        return [(q.caller, q.number[0]) for q in self.waiting.batch(largest)]


def test_a_query_runs_once_all_parties_have_it() -> None:
    party = Party()
    query = party.ask("carol", 1)
    assert party.waiting.due() == [query] and party.batch() == []
    party.waiting.heard(query, ["bob"])
    assert party.waiting.due() == [] and party.batch() == []  # asked again in a moment
    party.now += 0.1
    assert party.waiting.due() == [query]
    party.all_have(query)
    assert party.waiting.due() == [] and party.batch() == [("carol", 1)]
    assert party.batch() == [] and len(party.waiting) == 1  # it runs
    party.waiting.finish(query, [np.ones(1)])
    assert len(party.waiting) == 0 and query.answer.result(0)[0] == 1


def test_clients_take_turns_however_much_one_asks() -> None:
    party = Party(per_minute=1000, waiting=100)
    many = [party.ask("dave", i) for i in range(20)]
    party.all_have(*many, party.ask("carol", 1), party.ask("erin", 2))
    callers = [c for c, _ in party.batch(4)]
    assert callers == ["dave", "carol", "erin", "dave"]


def test_a_large_query_is_not_passed_over_for_ever() -> None:
    party = Party(per_minute=1000)
    small = [party.ask("dave", i) for i in range(3)]
    party.all_have(*small, party.ask("carol", 9, count=8))
    assert party.batch(8) == [("dave", 0), ("dave", 1), ("dave", 2)]
    party.all_have(*[party.ask("dave", i) for i in range(3, 6)])
    assert party.batch(8) == [("carol", 9)]


def test_what_a_party_lacks_is_given_up_and_others_are_told() -> None:
    party = Party(patience=5.0)
    query = party.ask("carol", 1)
    party.waiting.heard(query, ["bob"])
    assert party.waiting.given_up() == []
    party.now = 5.1
    ((key, why),) = party.waiting.given_up()
    assert key == ("carol", b"\1" * 16) and "bob did not get the same query" in why
    with pytest.raises(ServiceError, match="bob did not get"):
        query.answer.result(0)
    assert party.waiting.given_up() == [] and len(party.waiting) == 0
    assert party.refused == {("carol", "missing"): 1}


def test_what_waits_for_too_long_is_given_up_but_not_while_it_runs() -> None:
    party = Party(deadline=60.0)
    first, second = party.ask("carol", 1), party.ask("carol", 2)
    party.all_have(first)
    assert party.batch() == [("carol", 1)]
    party.all_have(second)
    party.now = 61.0
    assert [key[1][0] for key, _ in party.waiting.given_up()] == [2]
    assert not first.answer.done() and party.refused == {("carol", "deadline"): 1}


def test_a_following_party_keeps_what_the_leading_one_knows_of() -> None:
    party = Party(patience=5.0)
    known, unknown = party.ask("carol", 1), party.ask("carol", 2)
    assert party.waiting.confirm(known.key, b"same")
    assert not party.waiting.confirm(unknown.key, b"another")  # not what the leading party has
    assert not party.waiting.confirm(("dave", known.number), b"same")  # nor whose
    party.now = 100.0
    party.waiting.expire()
    assert unknown.answer.done() and not known.answer.done()
    assert party.waiting.take([known.key]) == [known]
    party.waiting.drop(known.key, "too late")
    assert not known.answer.done()


def test_withdrawn_queries_are_forgotten_unless_the_parties_agreed_on_them() -> None:
    party = Party()
    agreed, other = party.ask("carol", 1), party.ask("carol", 2)
    party.all_have(agreed)
    for query in (agreed, other):
        party.waiting.withdraw(("dave", query.number))  # another's are none of dave's business
    assert len(party.waiting) == 2
    for query in (agreed, other):
        party.waiting.withdraw(query.key)
    assert len(party.waiting) == 1 and party.batch() == [("carol", 1)]


def test_a_number_is_used_once_at_a_time_and_belongs_to_its_client() -> None:
    party = Party()
    first = party.ask("carol", 1)
    party.ask("dave", 1)
    with pytest.raises(ServiceError, match="waiting already"):
        party.ask("carol", 1)
    party.all_have(first)
    party.batch()
    with pytest.raises(ServiceError, match="waiting already"):  # also while it runs
        party.ask("carol", 1)
    party.waiting.finish(first, [])
    party.ask("carol", 1)


def test_limits_are_each_clients_own() -> None:
    party = Party(per_minute=6, waiting=4)
    for i in range(4):
        party.ask("carol", i)
    with pytest.raises(LimitError, match="4 queries waiting"):
        party.ask("carol", 9)
    party.ask("dave", 1, count=6)
    with pytest.raises(LimitError, match="6 inputs"):
        party.ask("dave", 2)
    party.now = 10.0  # in which one more has come
    party.ask("dave", 2)
    with pytest.raises(LimitError):
        party.ask("dave", 3)
    assert party.refused == {("carol", "waiting"): 1, ("dave", "rate"): 2}


def test_a_stopping_service_ends_what_waits_and_takes_no_more() -> None:
    party = Party()
    query = party.ask("carol", 1)
    party.waiting.stop("it stops")
    with pytest.raises(ServiceError, match="it stops"):
        party.ask("carol", 2)
    party.all_have(query)
    assert party.batch() == [("carol", 1)]
    party.waiting.fail("it has ended")
    with pytest.raises(ServiceError, match="it has ended"):
        query.answer.result(0)


@pytest.mark.parametrize("name", ["per_minute", "waiting", "patience", "deadline"])
def test_limits_are_positive_numbers(name: str) -> None:
    for value in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=name.replace("_", "-")):
            Limits(**{name: value})
