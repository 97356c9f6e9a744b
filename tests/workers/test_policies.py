"""Policies: what the owner of data permits, counts, and finds in the log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from pairs import View
from processes import Processes, entries

import jsmpc
from jsmpc._src.deployment import log
from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.errors import PointerError
from jsmpc._src.workers.policy import Policy, Rule
from jsmpc.examples import command


def plan(f: Any, name: str, *shapes: str) -> jsmpc.Plan:
    made: jsmpc.Plan = jsmpc.plan(f, *(shapes or ("float32[n,2]",)), name=name)
    return made


total = plan(lambda x: x.sum(0), "total")
limited = plan(lambda x: x.mean(), "limited")
daves = plan(lambda x: x.max(), "daves")
bobs = plan(lambda x: x.min(), "bobs")
both = plan(lambda x, y: jnp.concatenate([x, y]), "both", "float32[n,2]", "float32[m,2]")
moving = plan(lambda x: x.sum(1), "moving")
never = plan(lambda x: x, "never")

POLICY = f"""
[[run]]
plan = "{total.hash}"
rows = 100

[[run]]
plan = "{limited.hash}"
at_most = 10
objects = ["#patients"]

[[run]]
plan = "{daves.hash}"
by = ["dave"]

[[run]]
plan = "{bobs.hash}"
by = ["bob"]

[[run]]
plan = "{both.hash}"

[[run]]
plan = "{moving.hash}"

[[get]]
plan = "{total.hash}"

[[get]]
plan = "{limited.hash}"

[[get]]
plan = "{daves.hash}"

[[get]]
plan = "{bobs.hash}"

[[get]]
plan = "{moving.hash}"
to = ["bob"]
"""
ROWS = {"many": 100, "few": 99}


class Owned:
    """olga, who has data and a policy, as clients see her; and bob, who has neither."""

    def __init__(self, folder: Path, processes: Processes | None) -> None:
        self._folder, self._processes = folder, processes
        self.me = "me" if processes is None else "carol"
        self.log = (folder if processes is None else processes.folder) / "olga.log"
        self.policy = folder / "olga.toml"
        self.policy.write_text(POLICY)
        for name, rows in ROWS.items():
            np.save(folder / f"{name}.npy", np.arange(2.0 * rows, dtype=np.float32).reshape(-1, 2))
        self._here: Any = None
        self.start()

    def start(self) -> None:
        """Starts olga, or starts her again with the same log."""
        if self._processes is None:
            if self._here is not None:
                self._here.close()
            self._here = jsmpc.Worker("olga", policy=self.policy, log=self.log)
            self.bob: Any = jsmpc.Worker("bob")
            self._here.meet(self.bob)
            self.bob.meet(self._here)
            for name in ROWS:
                self._here.offer(jnp.asarray(np.load(self._folder / f"{name}.npy")), ["#patients"])
        else:
            if "olga" in self._processes.running:
                assert self._processes.end("olga")[0] == 0
            words: list[object] = ["--policy", self.policy, "--tags", "#patients"]
            for name in ROWS:
                words += ["--data", self._folder / f"{name}.npy"]
            self._processes.start("olga", *words)
            self._processes.wait("olga")
        found = self.client(self.me)
        self.olga, self.bob = found["olga"], found["bob"]
        self.many, self.few = self.data(self.olga)

    def client(self, name: str) -> dict[str, Any]:
        if self._processes is not None:
            return dict(self._processes.client(name))
        if name == "me":
            return {"olga": self._here, "bob": self.bob}
        return {"olga": View(self._here, name), "bob": View(self.bob, name)}

    @staticmethod
    def data(olga: Any) -> list[Any]:
        """Pointers to the owner's data: many rows, and few."""
        found = {p.shape[0]: p for p in olga.search("#patients")}
        return [found[rows] for rows in ROWS.values()]

    def last(self) -> tuple[str, dict[str, Any]]:
        """The last entry of the log, of one refusal or another event."""
        return list(entries(self.log))[-1]

    def close(self) -> None:
        if self._processes is None:
            self._here.close()
        else:
            self._processes.clear()
            assert self._processes.end("olga")[0] == 0


@pytest.fixture(scope="module", params=["here", "processes"])
def owned(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Owned]:
    remote = request.param == "processes"
    processes = request.getfixturevalue("processes") if remote else None
    found = Owned(tmp_path_factory.mktemp("owned"), processes)
    yield found
    found.close()


def refused(owned: Owned, act: Any, why: str) -> None:
    """Refused for a reason, which the log has too."""
    with pytest.raises(PolicyError, match=why):
        act()
    event, fields = owned.last()
    assert event == "refused" and "PolicyError" in fields["why"] and fields["by"]


def test_raw_data_do_not_leave(owned: Owned) -> None:
    for act in (owned.many.get, owned.many.copy):
        refused(owned, act, r"at olga: .* #patients, raw, to leave.*Add one without a plan")
    refused(owned, lambda: owned.many.move(owned.bob), "move at olga.*raw, to leave to bob")
    assert owned.many.owner == "olga" and len(owned.olga.objects) == 2


def test_a_sum_over_enough_rows_may_be_had(owned: Owned) -> None:
    expected = np.arange(200.0).reshape(-1, 2).sum(0)
    assert total(owned.many).get().tolist() == expected.tolist()
    events = [event for event, _ in entries(owned.log)][-2:]
    assert events == ["run", "get"]
    ran = list(entries(owned.log))[-2][1]
    assert ran["plan"] == total.hash and ran["objects"] == [owned.many.id] and ran["rule"]
    refused(owned, lambda: total(owned.few), "asks for at least 100 rows")


def test_own_rows_beside_the_owners_do_not_count(owned: Owned) -> None:
    own = owned.olga.send(jnp.zeros((50, 2)))
    beside = both(owned.few, own)
    assert beside.shape == (149, 2)
    for act in (beside.get, beside.copy, lambda: beside.move(owned.bob)):
        refused(owned, act, "does not permit")
    refused(owned, lambda: total(beside), "asks for at least 100 rows")
    refused(owned, lambda: both(own, beside).get(), "does not permit")


def test_a_plan_that_no_rule_names_is_not_even_read(owned: Owned) -> None:
    refused(owned, lambda: never(owned.many), rf"does not permit the plan {never.hash}")
    refused(owned, lambda: owned.many[:1], "does not permit the plan")
    refused(owned, lambda: owned.olga.send(never), "does not permit the plan")
    roles = jsmpc.Roles({"a": total, "b": never})
    refused(owned, lambda: owned.olga.send(roles), "does not permit the plan")
    broken = never.to_bytes()[:-1]
    refused(owned, lambda: owned.olga.asked("plan", data=broken), "does not permit the plan")


def test_rules_are_for_those_whom_they_name(owned: Owned) -> None:
    refused(owned, lambda: daves(owned.many), r"for (me|carol): .*is for dave")
    dave = owned.client("dave")["olga"]
    result = daves(owned.data(dave)[0])
    assert float(result.get()) == 199
    result = moving(owned.many)
    refused(owned, result.get, r"to leave to (me|carol).*is for bob")
    there = result.move(owned.bob)
    event, fields = owned.last()
    assert (event, fields["to"], fields["by"]) == ("move", "bob", owned.me)
    assert there.location is owned.bob and there.get().shape == (100,)


def test_nobody_gets_by_way_of_another_worker_what_it_may_not_have(owned: Owned) -> None:
    far = owned.many.send(owned.bob)
    refused(owned, lambda: bobs(far), "for bob and (me|carol).*is for bob")
    result = total(far)  # for all
    ran = [fields for event, fields in entries(owned.log) if event == "run"][-1]
    assert ran["by"] == "bob" and ran["asked_by"] == [owned.me]
    assert result.get().get().shape == (2,)
    request = {"tags": [], "description": "", "sources": []}
    with pytest.raises(PointerError, match="keeps no pointers to what is there itself"):
        owned.olga.asked("put", kind="pointer", worker="olga", id=owned.few.id, **request)


def test_what_a_caller_brought_is_the_callers(owned: Owned) -> None:
    own = owned.olga.send(jnp.ones((3, 2)))
    assert total(own).get().tolist() == [3, 3]  # of no 100 rows
    refused(owned, lambda: never(own), "does not permit the plan")
    theirs = owned.client("dave")
    (found,) = [p for p in theirs["olga"].search() if p.id == own.id]
    refused(owned, found.get, "raw, to leave to dave")
    refused(owned, lambda: found.move(theirs["bob"]), "move at olga: .*to leave to bob")
    assert own.get().shape == (3, 2)


def test_claimed_sources_free_nothing(owned: Owned) -> None:
    request = {"tags": ["#patients"], "description": "", "kind": "value", "form": None}
    info = owned.olga.asked("put", leaves=[jnp.ones((3, 2))], sources=["olga"], **request)["object"]
    (found,) = [p for p in owned.olga.search("#patients") if p.id == info["id"]]
    refused(owned, lambda: total(found), "at least 100 rows")
    refused(owned, found.get, "raw")
    assert owned.olga.clear() >= 1


def test_the_eleventh_call_is_refused_also_after_a_new_start(owned: Owned) -> None:
    for _ in range(6):
        limited(owned.many)
    owned.start()
    used = [f for event, f in entries(owned.log) if event == "run" and f.get("name") == "limited"]
    for _ in range(10 - len(used)):
        limited(owned.many)
    refused(owned, lambda: limited(owned.many), r"at most 10 by \[\[run\]\].*the log has 10")
    own = owned.olga.send(jnp.ones((3, 2)))
    assert float(limited(own).get()) == 1  # a caller's own data are not counted
    owned.start()
    refused(owned, lambda: limited(owned.many), "the log has 10")


def test_rules_that_say_nothing_restrict_nothing() -> None:
    bob = jsmpc.Worker("bob", policy=Policy(run=[]))
    x = bob.offer(jnp.ones((2, 2)), ["#x"])
    with pytest.raises(PolicyError, match="none of those of its 0"):
        total(x)
    assert x.copy().shape == (2, 2)  # of what may leave it says nothing
    bob = jsmpc.Worker("bob", policy=Policy(get=[Rule("any")]))
    x = bob.offer(jnp.ones((2, 2)), ["#x"])
    with pytest.raises(PolicyError, match="raw"):
        x.copy()
    assert (x * 1).get().shape == (2, 2)


def test_a_policy_is_counted_for_each_worker() -> None:
    policy = Policy(run=[Rule(total.hash, at_most=1)])
    for name in ("bob", "alice"):
        x = jsmpc.Worker(name, policy=policy).offer(jnp.ones((2, 2)))
        total(x)
        with pytest.raises(PolicyError, match="at most 1"):
            total(x)


@pytest.mark.parametrize(
    "text, why",
    [
        ('[[run]]\nplan = "abc"', "no SHA-256"),
        ("[[run]]\nrows = -1", "must be 0 or more"),
        ("[[run]]\ncolumns = 2", "columns"),
        ("[[get]]\nby = ['bob']", "by"),
        ("run = 3", "run"),
        ("[[run]]\nplan = 'any'", "no SHA-256"),
        ("[", "toml|TOML|Expected"),
    ],
)
def test_what_is_wrong_in_a_file_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(PolicyError, match=why):
        Policy.load(tmp_path / "p.toml")
    with pytest.raises(PolicyError, match="there is no such file"):
        Policy.load(tmp_path / "none.toml")


# The log.


@pytest.fixture
def written(tmp_path: Path) -> Path:
    file = tmp_path / "bob.log"
    bob = jsmpc.Worker("bob", log=file)
    for _ in range(3):
        bob.send(jnp.ones(2)).get()
    bob.close()
    return file


def show(*words: object) -> int:
    return command.main(["worker", "log", *map(str, words)])


def test_a_log_is_shown_with_its_chain(written: Path, capsys: Any) -> None:
    assert show(written) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 7 and "put" in out[0] and out[-1].startswith("6 entries, as they were")
    assert show(written, "--head", out[-1].split()[-1]) == 0


@pytest.mark.parametrize("how", ["altered", "removed", "moved", "inserted", "torn"])
def test_a_log_that_was_tampered_with_fails(written: Path, how: str, capsys: Any) -> None:
    lines = written.read_text().splitlines(keepends=True)
    if how == "altered":
        entry = json.loads(lines[2])
        entry["fields"]["by"] = "eve"
        lines[2] = json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"
    elif how == "removed":
        del lines[2]
    elif how == "moved":
        lines[1:3] = lines[2:0:-1]
    elif how == "inserted":
        lines.insert(2, lines[2])
    else:
        lines[-1] = lines[-1][:-20]
    written.write_text("".join(lines))
    assert show(written) == 1
    assert "line" in capsys.readouterr().err
    with pytest.raises(log.LogError):
        jsmpc.Worker("bob", log=written)


def test_a_log_whose_end_was_cut_off_fails_for_whom_remembers_it(
    written: Path, capsys: Any
) -> None:
    head = log.verify(written).chain
    written.write_text("".join(written.read_text().splitlines(keepends=True)[:-1]))
    assert show(written) == 0
    assert show(written, "--head", head) == 1
    assert "cut off" in capsys.readouterr().err
