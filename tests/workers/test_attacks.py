"""Who asks for what nobody may have, or in a way that nobody should."""

from __future__ import annotations

import copy
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from pairs import Pair
from processes import Processes

import jsmpc
from jsmpc._src.deployment import identity
from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import JsmpcError, LinkError, PlanError, PointerError
from jsmpc._src.plans.plan import Plan
from jsmpc._src.transport import channels, messages
from jsmpc._src.workers import library
from jsmpc._src.workers.descriptions import described
from jsmpc._src.workers.fields import RequestError
from jsmpc._src.workers.members import terms

PUT = {"do": "put", "kind": "value", "tags": [], "description": "", "sources": [], "form": None}
HUGE = "x" * 100_000


def refused(worker: Any, request: dict[str, Any], kind: type[Exception] = RequestError) -> None:
    with pytest.raises(kind) as caught:
        worker.ask(request)
    assert len(str(caught.value)) < 2000


# Requests.


def test_requests_of_other_forms(pair: Pair) -> None:
    x = pair.bob.send({"a": jnp.ones(2), "b": jnp.ones(3)})
    total = jsmpc.plan(jnp.sum, "float32[n]")
    pair.bob.asked("plan", data=total.to_bytes())
    run = {"do": "run", "plan": total.hash}
    for number in (-1, 2, 2**62, -(2**62)):
        refused(pair.bob, {**run, "inputs": [{"id": x.id, "leaf": number}]})
    for operand in (
        {"id": x.id},
        {"id": x.id, "leaf": True},
        {"leaf": 0},
        None,
        "x",
        1.5,
        [],
        b"x",
    ):
        refused(pair.bob, {**run, "inputs": [operand]})
    refused(pair.bob, {**run, "inputs": [{"id": HUGE, "leaf": 0}]}, PointerError)
    refused(pair.bob, {**run, "inputs": []}, JsmpcError)
    refused(pair.bob, {**run, "inputs": [{"id": x.id, "leaf": 0}] * 3}, JsmpcError)
    for name in (HUGE, "", total.hash.upper(), total.hash + "0", None):
        refused(pair.bob, {"do": "run", "plan": name, "inputs": []})
    for doing in (None, "", HUGE, "__init__", "offer", ["run"], {"do": "run"}):
        refused(pair.bob, {"do": doing})
    assert "run" not in pair.events(pair.bob) and pair.events(pair.bob).count("refused") > 20


def test_values_whose_containers_do_not_hold_them(pair: Pair) -> None:
    leaf = jnp.ones(2)
    named = {"named": ["os.system", [["command", None]]]}
    for leaves, form in (
        ([leaf], {"list": [None, None]}),
        ([leaf, leaf], None),
        ([], None),
        ([leaf], {"list": None}),
        ([leaf], {"set": [None]}),
        ([leaf], "list"),
        ([leaf], {"named": ["x", [None]]}),
        ([leaf], {"named": [3, [["a", None]]]}),
        ([leaf], {"named": ["x", [[["a"], None]]]}),
        ([b"bytes"], None),
        ([{"id": "x"}], None),
        ("x", None),
    ):
        refused(pair.bob, {**PUT, "leaves": leaves, "form": form})
    info = pair.bob.ask({**PUT, "leaves": [leaf], "form": named})["object"]
    with pytest.raises(ValueError, match="not known here"):  # a name makes nobody call anything
        pair.bob.search()[0].get()
    assert pair.bob.clear() == 1 and info["form"] == named


def test_descriptions_are_short(pair: Pair) -> None:
    good = {**PUT, "leaves": [jnp.ones(1)]}
    for change in (
        {"description": HUGE},
        {"tags": [HUGE]},
        {"tags": ["a"] * 100},
        {"tags": [1]},
        {"tags": "abc"},
        {"sources": [HUGE]},
        {"sources": {}},
        {"holder": ""},
        {"holder": HUGE},
        {"holder": 3},
        {"kind": "function"},
        {"kind": HUGE},
    ):
        refused(pair.bob, {**good, **change}, JsmpcError)
    refused(pair.bob, {"do": "find", "words": [HUGE]})
    refused(pair.bob, {"do": "drop", "ids": [3]})
    refused(pair.bob, {"do": "find", "words": [], "gone": 3})
    refused(pair.bob, {"do": "move", "id": "x", "to": HUGE}, JsmpcError)
    assert not pair.bob.objects
    assert all(len(str(fields)) < 2000 for _, fields in pair.log(pair.bob))


def test_one_kind_is_not_taken_for_another(pair: Pair) -> None:
    plan = jsmpc.plan(jnp.sum, "float32[2]")
    p, x = pair.bob.send(plan), pair.bob.send(jnp.ones(2))
    request = {"do": "run", "plan": plan.hash, "inputs": [{"id": p.id, "leaf": 0}]}
    refused(pair.bob, request, PointerError)
    refused(pair.bob, {**PUT, "kind": "plan", "data": b"\0" * 100}, PlanError)
    refused(pair.bob, {**PUT, "kind": "plan", "leaves": [jnp.ones(2)]})
    refused(pair.bob, {**PUT, "kind": "roles", "data": plan.to_bytes()}, PlanError)
    refused(pair.bob, {**PUT, "kind": "pointer", "worker": "alice", "id": x.id}, PointerError)
    refused(pair.bob, {**PUT, "kind": "pointer", "worker": "nobody", "id": x.id}, JsmpcError)
    assert len(pair.bob.objects) == 2


def test_nobody_gets_two_parts_of_a_share_or_all_of_it(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(2))
    request = {"do": "split", "id": x.id, "leaf": 0}
    two, one = (
        jsmpc.Additive(dealer="james"),
        {"name": "insecure-plain", "parties": ["p"], "dealer": ""},
    )
    for told, to in (
        (described(two), ["alice", "alice"]),
        (described(two), ["alice"]),
        (described(two), ["alice", "bob", "olga"]),
        ({**described(two), **one}, ["alice"]),
        ({**described(two), "name": HUGE}, ["alice", "bob"]),
        ({**described(two), "bits": 63}, ["alice", "bob"]),
        ({**described(two), "encoding": [2]}, ["alice", "bob"]),
        ({**described(two), "encoding": [2, 10**9]}, ["alice", "bob"]),
    ):
        refused(pair.bob, {**request, "protocol": told, "to": to}, JsmpcError)
    assert not pair.alice.objects and "share" not in pair.events(pair.bob)
    words = {"protocol": described(two), "to": ["bob", "alice"]}
    far = pair.alice.send(jnp.ones(2)).send(pair.bob)
    refused(pair.bob, {**request, **words, "id": far.id}, PointerError)
    for value in (jnp.ones(2, jnp.complex64), jnp.full(2, jnp.nan)):
        there = pair.bob.send(value)
        refused(pair.bob, {**request, **words, "id": there.id}, JsmpcError)


def test_what_a_pointer_knows_is_what_its_worker_says(pair: Pair) -> None:
    x = pair.bob.send(jnp.arange(3.0))
    forged = {**x.info, "types": [["float32", [10**9]]], "by": "somebody", "tags": ["#forged"]}
    request = {**PUT, "kind": "pointer", "worker": "bob", "id": x.id, "info": forged}
    info = pair.alice.ask(request)["object"]
    assert (info["types"], info["by"], info["tags"]) == ([["float32", [3]]], pair.me, [])


def test_pointers_make_no_circles_and_long_chains_end(pair: Pair) -> None:
    x = pair.bob.send(jnp.ones(2))
    chain = [x]
    for i in range(6):
        chain.append(chain[-1].send(pair.bob if i % 2 else pair.alice))
    y = chain[-1] + 1
    for _ in range(6):
        y = y.get()
    assert y.get().tolist() == [2, 2]
    refused(pair.bob, {**PUT, "kind": "pointer", "worker": "bob", "id": x.id}, PointerError)
    while chain:  # whoever lets go of the last one lets go of all
        chain.pop(0)
    del x
    assert len(pair.alice.objects) == 3
    assert not pair.bob.objects and not pair.alice.objects


def test_ids_of_others_give_no_more_than_search_does(pair: Pair) -> None:
    dave = pair.client("dave")["bob"]
    x = pair.bob.send(jnp.ones(2))
    dave.ask({"do": "drop", "ids": [x.id] * 5})
    assert dave.clear() == 0 and set(pair.bob.objects) == {x.id}
    dave.ask({"do": "hold", "ids": [x.id], "holder": "dave"})
    dave.ask({"do": "drop", "ids": [x.id] * 5})
    assert set(pair.bob.objects) == {x.id}


def test_compiled_programs_are_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_PROGRAMS", 4)
    forgotten = []
    monkeypatch.setattr(Plan, "forget", lambda self: forgotten.append(self.name))
    bob = jsmpc.Worker("bob")
    total = jsmpc.plan(jnp.sum, "float32[n]", name="total")
    for n in (1, 2, 3, 4, 1, 2, 3, 4):
        total(bob.send(jnp.ones(n)))
    assert not forgotten
    for n in (5, 6):
        total(bob.send(jnp.ones(n)))
    assert forgotten == ["total"] * 2


def test_members_of_groups_are_asked_in_other_forms(processes: Processes) -> None:
    bob = processes.client("carol")["bob"]
    told = described(jsmpc.Additive(dealer="james"))
    join = {"do": "join", "group": "g", "terms": terms(), "protocol": told}
    join |= {"workers": ["bob", "alice", "olga"], "ports": [1, 2, 3]}
    run = {"do": "prepare", "group": "g", "plan": "0" * 64, "inputs": [], "keyed": False}
    run |= {"compared": [], "groups": []}
    for request in (
        join,
        {**join, "terms": None},
        {**join, "workers": ["bob", "bob", "bob"]},
        {**join, "workers": ["alice"]},
        run,
        {**run, "group": None},
        {**run, "group": HUGE},
        {"do": "compute", "ticket": "x"},
        {"do": "compute", "ticket": HUGE},
        {"do": "leave", "group": "g"},
        {"do": "listen", "group": 3},
    ):
        assert not outcome(bob, request).startswith("internal")
    for change in (
        {"ports": [1, 2, 2**40]},
        {"ports": [-1, -1, -1]},
        {"ports": [None] * 3},
        {"workers": ["bob", "alice", "nobody"]},
        {"workers": ["bob", "alice", HUGE]},
    ):
        bob.ask({"do": "listen", "group": "g"})
        start = time.monotonic()
        assert not outcome(bob, {**join, **change}).startswith("internal"), change
        assert time.monotonic() - start < 5, change
    for _ in range(40):
        bob.ask({"do": "listen", "group": str(random.random())})
    assert len(list(Path(f"/proc/{processes.running['bob'].pid}/fd").iterdir())) < 100


# Ten thousand of them.


def recorded(processes: Processes) -> list[dict[str, Any]]:
    """Requests as a client makes them."""
    found: list[dict[str, Any]] = []
    workers = jsmpc.workers(processes.config, "carol")
    for worker in workers.values():
        ask = worker.ask
        worker.ask = lambda r, ask=ask: (found.append(r), ask(r))[1]  # type: ignore[method-assign]
    bob, alice = workers["bob"], workers["alice"]
    x = bob.send({"w": jnp.ones((2, 3)), "b": [jnp.zeros(3, int)]}, ["#x"], "of the record")
    total = jsmpc.plan(jnp.sum, "float32[n,3]", name="total")
    bob.send(total)
    bob.send(jsmpc.Roles({"a": total}))
    total(x["w"])
    y = alice.send(jnp.ones(3))
    far = y.send(bob)
    (far + 1).get()
    bob.search("#x")
    x.copy()
    bob.send(jnp.ones(2)).move(alice)
    told = described(jsmpc.Additive(dealer="james"))
    bob.asked("split", id=x.id, leaf=1, protocol=told, to=["bob", "alice"])
    bob.asked("listen", group="g")
    bob.asked("leave", group="g")
    for worker in workers.values():
        worker.close()
    return [r for r in found if r["do"] != "clear"]


HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1, 2**63, -(2**63), 2**64 - 1, 0.5, float("nan"), "", "bob", HUGE),
    *(b"", b"\0" * 300, [], {}, [[]], {"": None}, [{"id": "x", "leaf": 0}], {"list": [None]}),
    *(np.zeros(0), np.ones((2, 3), np.float32), np.array(True), np.zeros((3, 0, 2), np.int8)),
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All containers in a request, and keys into them."""
    keys = list(value) if type(value) is dict else range(len(value))
    for key in keys:
        yield value, key
        if type(value[key]) in (dict, list):
            yield from places(value[key])


def mutated(requests: list[dict[str, Any]], rng: random.Random) -> dict[str, Any]:
    """A request with one to three things in it that are otherwise."""
    found = copy.deepcopy(rng.choice(requests))
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice(list(places(found)))
        match rng.randrange(6):
            case 0:
                container.pop(key)
            case 1 if type(container) is dict:
                container[rng.choice(["id", "leaf", "gone", "holder", "asked_by", "form", "x"])] = (
                    copy.deepcopy(rng.choice(HOSTILE))
                )
            case 2:
                other = rng.choice(requests)
                container[key] = copy.deepcopy(other[rng.choice(list(other))])
            case 3 if type(container[key]) is bytes and container[key]:
                data = bytearray(container[key])
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                container[key] = bytes(data)
            case _:
                container[key] = copy.deepcopy(rng.choice(HOSTILE))
        if not found:
            break
    return found


def outcome(worker: Any, request: dict[str, Any]) -> str:
    """What becomes of a request: `answered`, or the kind of the error."""
    try:
        worker.ask(request)
    except JsmpcError as error:
        inner = "internal error" in str(error)
        return f"internal: {error}, {request}" if inner else type(error).__name__
    return "answered"


def test_thousands_of_wrong_requests_leave_a_worker_as_it_was(processes: Processes) -> None:
    requests = recorded(processes)
    assert {r["do"] for r in requests} >= {"put", "get", "read", "find", "move", "run"}
    bob = processes.client("dave")["bob"]
    bob.ask({"do": "find", "words": []})
    start, seen = processes.resident("bob"), len(processes.log("bob"))

    def ask(seed: int) -> Counter[str]:
        rng = random.Random(seed)
        return Counter(outcome(bob, mutated(requests, rng)) for _ in range(1000))

    with ThreadPoolExecutor(4) as pool:
        found = sum(pool.map(ask, range(4)), Counter[str]())
    assert set(found) <= {
        *("answered", "RequestError", "PointerError", "PlanError", "ProtocolError"),
        *("ConfigError", "EncodingError"),
        "MessageError",  # before it is sent
    }
    assert found["RequestError"] > 1200
    assert len(processes.log("bob")) >= seen + found.total() - found["MessageError"]
    bob.clear()
    assert processes.resident("bob") < start + (40 << 20)
    x = bob.send(jnp.arange(3.0))
    assert (x + x).get().tolist() == [0, 2, 4]
    for name in ("bob", "alice"):  # who have things of each other now, with which others began
        assert processes.end(name)[0] == 0
        processes.start(name)
    processes.wait("bob", "alice")


# Who asks.


def impostor(processes: Processes, folder: Path, name: str, shown: str) -> Any:
    """bob, as somebody asks him who calls himself `name` and has the key of `shown`."""
    for file in processes.folder.glob("*.pem"):
        shutil.copy(file, folder)
    if shown == "eve":
        identity.new("eve", folder)
    if name != shown:
        for ending in ("cert.pem", "key.pem"):
            shutil.copy(folder / f"{shown}.{ending}", folder / f"{name}.{ending}")
    text = processes.config.read_text().replace("deadline = 30", "deadline = 5")
    lines = ""
    if name == "eve":
        lines = '\n[clients.eve]\ncertificate = "eve.cert.pem"'
    (folder / "workers.toml").write_text(text + lines)
    return jsmpc.workers(folder / "workers.toml", name)["bob"]


def test_who_is_in_no_file_is_refused(processes: Processes, tmp_path: Path) -> None:
    bob = impostor(processes, tmp_path, "eve", "eve")
    with pytest.raises(LinkError, match="bob"):
        bob.objects  # noqa: B018
    bob.close()


def test_who_shows_no_key_is_refused(processes: Processes) -> None:
    (port,) = [line.split()[-1] for line in _section(processes, "bob") if "port" in line]
    grpc = channels.library()
    for credentials in (None, grpc.ssl_channel_credentials(_certificate(processes, "bob"))):
        address = f"127.0.0.1:{port}"
        options = [("grpc.ssl_target_name_override", "bob")]
        channel = (
            grpc.insecure_channel(address)
            if credentials is None
            else grpc.secure_channel(address, credentials, options)
        )
        call = channel.stream_stream("/jsmpc.Transport/Call")
        with pytest.raises(grpc.RpcError):
            list(call(iter([b"".join(messages.encode({"do": "clear"}))]), timeout=3))
        channel.close()


def _section(processes: Processes, name: str) -> list[str]:
    lines = processes.config.read_text().splitlines()
    return lines[lines.index(f"[workers.{name}]") :][:4]


def _certificate(processes: Processes, name: str) -> bytes:
    return (processes.folder / f"{name}.cert.pem").read_bytes()


def test_a_name_is_that_of_the_key(processes: Processes, tmp_path: Path) -> None:
    """Whoever has dave's key is dave, and has no certificate that says carol."""
    with pytest.raises(ConfigError):
        impostor(processes, tmp_path, "carol", "dave")


def test_a_revoked_key_is_refused_at_once(processes: Processes) -> None:
    text = processes.config.read_text()
    dave = processes.client("dave")["bob"]
    assert dave.objects == {}
    lines = text.splitlines()
    try:
        place = lines.index("[clients.dave]")
        processes.config.write_text("\n".join(lines[:place] + lines[place + 2 :]))
        time.sleep(1.2)  # a worker looks once a second
        for _ in range(2):
            with pytest.raises(LinkError, match="bob"):
                dave.objects  # noqa: B018
    finally:
        processes.config.write_text(text)
    time.sleep(1.2)
    assert processes.client("dave")["bob"].objects == {}
