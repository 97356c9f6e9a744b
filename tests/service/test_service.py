"""A service of three parties, each in a process of its own, and its clients, faulty ones too."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import services
from services import Service, inputs, require_right

import jsmpc
from jsmpc._src.deployment import log
from jsmpc._src.service import answers, query
from jsmpc._src.transport.client import Channel

MANY = [f"client{i}" for i in range(10)]
FAULTY = "mallory"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    (folder / "policy.toml").write_text('[[reveals]]\nto = "clients"\n')
    options = ["--largest", "4", "--patience", "2.5", "--waiting", "8", "--by-client"]
    own = {"carol": ["--policy", str(folder / "policy.toml")]}
    with Service(folder, ["dave", "erin", FAULTY, *MANY], options, own) as service:
        yield service


@pytest.fixture(scope="module")
def dave(service: Service) -> Iterator[Any]:
    with service.client("dave") as client:
        yield client


def asked(service: Service, name: str, sent: dict[str, dict[str, Any]]) -> dict[str, Future[Any]]:
    """The replies of the parties to messages of a client's own making."""
    pool = ThreadPoolExecutor(len(sent))

    def call(party: str) -> dict[str, Any]:
        with service.channel(name, party) as channel:
            return channel.call(sent[party], 20.0)

    replies = {party: pool.submit(call, party) for party in sent}
    pool.shutdown(wait=False)
    return replies


def refused(channel: Channel) -> bool:
    """Whether a client is refused as one that is unknown."""
    try:
        channel.call({"do": "describe"})
    except jsmpc.LinkError as error:
        return "certificate" in str(error)
    return False


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def errors(replies: dict[str, Future[Any]]) -> dict[str, str]:
    return {p: str(reply.exception(20)) for p, reply in replies.items()}


def test_answers_are_those_of_the_model(dave: Any) -> None:
    assert dave.input.shape == (4,) and dave.input.dtype == np.float32 and dave.largest == 4
    one, some, many = inputs(1)[0], inputs(3, 1), inputs(21, 2)
    single = dave.predict(one)
    assert single["scores"].shape == (3,) and single["best"].shape == ()
    require_right({key: value[None] for key, value in single.items()}, one[None])
    require_right(dave.predict(some), some)
    require_right(dave.predict(many), many)  # in several queries
    require_right(dave.predict(some.astype(np.float64)), some)


def test_ten_clients_at_once_get_each_its_own_answers(service: Service) -> None:
    before = service.counts("alice")

    def ask(number: int) -> None:
        with service.client(MANY[number]) as client:
            for turn in range(4):
                x = inputs(1 + turn % 3, seed=100 * number + turn)
                require_right(client.predict(x), x)

    with ThreadPoolExecutor(len(MANY)) as pool:
        list(pool.map(ask, range(len(MANY))))
    after = service.counts("alice")
    queries = {c: after[f'jsmpc_queries_total{{client="{c}"}}'] for c in MANY}
    assert queries == dict.fromkeys(MANY, 4.0)
    names = "jsmpc_batch_inputs_count", "jsmpc_batch_inputs_sum"
    batches, together = (after[n] - before.get(n, 0.0) for n in names)
    assert together == 10 * (1 + 2 + 3 + 1) and batches < 40  # some ran together


def test_nothing_is_sent_that_is_no_input(service: Service, dave: Any) -> None:
    before = service.counts("alice")
    x = inputs(2)
    for wrong, error in [
        (x[:, :3], r"shape \(4,\) or a batch of them, \(n, 4\), not \(2, 3\)"),
        (x[None], r"not \(1, 2, 4\)"),
        (x[:0], "without inputs"),
        (x.astype(complex), "float32, not of complex"),
        (x.astype(np.int32), "float32, not of int32"),
        (np.full(4, np.nan, np.float32), "NaN"),
        (np.full((2, 4), 1e30, np.float32), "magnitude"),
    ]:
        with pytest.raises(jsmpc.EncodingError, match=error):
            dave.predict(wrong)
    names = [k for k in before if "queries" in k or "refusals_total" in k]
    after = service.counts("alice")
    assert [after[n] for n in names] == [before[n] for n in names]


def test_a_guessed_number_brings_nobody_elses_answer(service: Service, dave: Any) -> None:
    number, x, y = secrets.token_bytes(16), inputs(1, 5), inputs(1, 6)
    mine, guessed = service.messages(x, number), service.messages(y, number)
    waiting = asked(service, "erin", {"alice": mine["alice"]})
    service.until("alice", "jsmpc_waiting", 1.0)
    # Another client uses the number everywhere, and gets the answer to its own query.
    replies = asked(service, FAULTY, guessed)
    summands = [replies[p].result(20)["summands"] for p in service.names]
    scores = services.expected(y)["scores"]
    tree = sorted(services.expected(y))
    at = tree.index("scores")
    found = answers.combined(service.protocol, np.float32, None, [s[at] for s in summands])
    np.testing.assert_allclose(found, scores, atol=1e-3)
    # Its rows are not taken for those that are missing of the other's query either.
    some = asked(service, FAULTY, {p: mine[p] for p in ("bob", "carol")})
    for told in (errors(waiting), errors(some)):
        assert all("did not get the same query within 2.5 s" in text for text in told.values())


def test_faulty_clients_disturb_nobody(service: Service, dave: Any) -> None:
    x, numbers = inputs(2, 7), [secrets.token_bytes(16) for _ in range(6)]
    before = service.counts("bob")
    sent = [service.messages(x, number) for number in numbers]
    alone = asked(service, FAULTY, {"bob": sent[0]["bob"]})
    half = asked(service, FAULTY, {p: sent[1][p] for p in ("alice", "bob")})
    twice = asked(service, FAULTY, {p: sent[2][p] for p in ("bob", "carol")})
    service.until("bob", "jsmpc_waiting", 3.0)
    again = asked(service, FAULTY, {"bob": sent[2]["bob"]})
    assert "waiting already" in errors(again)["bob"]
    # Rows of two sharings, which are no rows of one query.
    mixed = {**sent[3], "carol": query.messages(service.protocol, x, 2, numbers[3])[2]}
    torn = asked(service, FAULTY, mixed)
    shape = {**sent[4]["bob"], "rows": [r[:, :3] for r in sent[4]["bob"]["rows"]]}
    for wrong in (shape, {**sent[4]["bob"], "rows": None}, {"do": "predict"}):
        assert "no query" in errors(asked(service, FAULTY, {"bob": wrong}))["bob"]
    assert "no request" in errors(asked(service, FAULTY, {"bob": {"do": "stop"}}))["bob"]
    for party in ("alice", "bob"):  # sends half of its rows, and is gone
        with service.channel(FAULTY, party) as channel, pytest.raises(jsmpc.LinkError):
            channel.call(sent[5][party], 0.1)
    require_right(dave.predict(x), x)
    assert service.counts("bob")["jsmpc_waiting"] > 3  # that was while all of these wait
    told = {**errors(alone), **{f"half {p}": text for p, text in errors(half).items()}}
    told |= {f"twice {p}": text for p, text in errors(twice).items()}
    told |= {f"torn {p}": text for p, text in errors(torn).items()}
    assert all("did not get the same query" in text for text in told.values()), told
    assert "carol did not" in told["half alice"] and "carol did not" in told["torn alice"]
    for name in service.names:
        service.until(name, "jsmpc_waiting", 0.0)
    after = service.counts("bob")

    def refused(reason: str) -> float:
        key = f'jsmpc_refusals_total{{client="{FAULTY}",reason="{reason}"}}'
        return after[key] - before.get(key, 0.0)

    assert (refused("duplicate"), refused("malformed")) == (1.0, 4.0)
    assert refused("missing") >= 4
    require_right(dave.predict(x), x)


def test_a_client_beyond_its_limit_slows_nobody(service: Service, dave: Any) -> None:
    """Mallory's queries wait for rows that never come: a ninth is refused, others are answered."""
    x = inputs(1, 8)
    sent = [service.messages(x, secrets.token_bytes(16)) for _ in range(9)]
    waiting = [asked(service, FAULTY, {"alice": m["alice"]}) for m in sent[:8]]
    service.until("alice", "jsmpc_waiting", 8.0)
    before = service.counts("alice")
    refused = asked(service, FAULTY, {"alice": sent[8]["alice"]})["alice"].exception(20)
    assert type(refused) is jsmpc.LimitError and "8 queries waiting" in str(refused)
    for _ in range(5):
        require_right(dave.predict(x), x)
    after = service.counts("alice")
    key = 'jsmpc_queries_total{client="dave"}'
    assert after[key] - before[key] == 5 and after["jsmpc_waiting"] == 8
    assert all(errors(w)["alice"] for w in waiting)


def test_who_is_no_client_is_refused(service: Service, tmp_path: Path) -> None:
    with pytest.raises(jsmpc.JsmpcError, match="nobody"):
        service.client("nobody")
    told = errors(asked(service, "bob", {"alice": {"do": "describe"}}))
    assert told["alice"] == "bob is no client of this service"


def test_a_client_that_is_taken_out_of_the_file_is_refused(service: Service, dave: Any) -> None:
    text = service.config.read_text()
    lines = '[clients.erin]\ncertificate = "erin.cert.pem"\n'
    assert lines in text
    with service.channel("erin", "alice") as erin:
        assert erin.call({"do": "describe"})["largest"] == 4
        service.config.write_text(text.replace(lines, ""))
        until(lambda: refused(erin))
        require_right(dave.predict(inputs(1)), inputs(1))
        service.config.write_text(text)
        until(lambda: not refused(erin))


def test_health_and_counts(service: Service, dave: Any) -> None:
    for name in service.names:
        assert service.page(name, "/healthz") == (200, "ready\n")
        counts = service.counts(name)
        assert counts["jsmpc_sent_bytes"] > 1000 and counts["jsmpc_waiting"] == 0
        buckets = [counts[f'jsmpc_latency_seconds_bucket{{le="{s}"}}'] for s in ("0.005", "+Inf")]
        assert buckets[0] <= buckets[1] == counts["jsmpc_latency_seconds_count"]
    assert service.page("alice", "/other")[0] == 404


def test_a_dead_party_is_named_and_ends_the_service(service: Service, dave: Any) -> None:
    require_right(dave.predict(inputs(1)), inputs(1))
    service.signal("bob", signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(jsmpc.JsmpcError, match="bob") as error:
        dave.predict(inputs(1))
    assert time.monotonic() - start < 5 and isinstance(
        error.value, jsmpc.LinkError | jsmpc.ServiceError
    )
    for name in ("alice", "carol"):
        code, said = service.ended(name, 15)
        assert code == 1 and said.startswith(f"{name}: ") and "bob" in said
        assert "Traceback" not in said
    # What was asked, by whom, and what was refused stands in logs whose chain is whole.
    with log.opened(service.folder / "carol.log", write=False) as book:
        entries = list(book.read())
    batches = [e.fields for e in entries if e.event == "batch"]
    assert sum(n for f in batches for c, n in f["queries"] if c == "client0") == 7
    assert all(f["inputs"] == sum(n for _, n in f["queries"]) for f in batches)
    kept = [r for e in entries for r in e.fields.get("refusals", ())]
    assert [FAULTY, "malformed", 4] not in kept  # those were bob's
    assert any(r[:2] == [FAULTY, "missing"] for r in kept)
    assert {e.fields["to"] for e in entries if e.event == "reveal"} == {"clients"}
