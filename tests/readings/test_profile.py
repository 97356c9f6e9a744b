"""`profile` counts what `cost` counts, and predicts the seconds that follow from it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from jsmpc._src import kernels
from jsmpc._src.api.profile import of_shape
from jsmpc._src.jaxprs import compat
from jsmpc._src.links.exchange import exchange
from jsmpc._src.readings.cost import START
from jsmpc._src.readings.pricing import cache, calibration, memory, timeline, wire
from jsmpc._src.readings.pricing.advice import Hint, advise
from jsmpc._src.readings.pricing.network import Network
from jsmpc._src.readings.pricing.simulation import simulate
from jsmpc._src.readings.pricing.speeds import Links, Speeds
from jsmpc._src.readings.pricing.timeline import Choice, Exchange, Loop, Sent
from jsmpc._src.readings.pricing.work import UNITS, Work

REPLICATED, ADDITIVE = jsmpc.Replicated3(), jsmpc.Additive()
FREE = Links(exchange=0.0, message=0.0, wake=0.0, byte=0.0, run=0.0)
INSTANT = Speeds(dict.fromkeys(UNITS, 0.0), 1, FREE)
STEADY = Speeds(dict.fromkeys(UNITS, 1e-10), 2)


def secret(*shape: int, dtype: Any = np.float32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.fixture(autouse=True)
def steady(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The speeds of no machine, but where the cache is what is tested."""
    if "cached" not in request.fixturenames:
        monkeypatch.setattr(cache, "speeds", lambda: STEADY)


# --- counts --------------------------------------------------------------------------------------


def loop(x: Any, w: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, c: jnp.maximum(c * w, x), x)


def unknown(x: Any, w: Any) -> Any:
    return lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, s[1] * w), (0, x))[1]


FUNCTIONS = {
    "sum": lambda x, w: x.sum() + w,
    "relu": lambda x, w: jax.nn.relu(x * w),
    "loop": loop,
    "unknown": unknown,
    "branch": lambda x, w: lax.cond(jsmpc.reveal(w[0] > 0), jnp.abs, lambda v: v * v, x),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=lambda p: type(p).__name__)
def test_a_profile_counts_what_cost_counts(smpc: jsmpc.Protocol, function: str) -> None:
    f = FUNCTIONS[function]
    if function == "branch" and smpc.dealer is not None:
        pytest.skip("what the dealer does must not depend on what is revealed")
    shares = jsmpc.share(jax.random.key(1), (np.ones(4, np.float32),) * 2, smpc)
    cost = jsmpc.secure(f).cost(*shares)
    found = jsmpc.profile(f, secret(4), secret(4), protocols=smpc)
    assert found.cost == cost
    assert (found.rounds, found.bytes_sent, found.dealer_bytes, found.setup_bytes) == (
        (cost.rounds, cost.bytes_sent, cost.dealer_bytes, cost.setup_bytes)
    )
    assert found.lower_bound == (function == "unknown")
    parts = found.parts.values()
    assert sum(p.bytes for p in parts) == sum(cost.bytes_sent)
    assert sum(p.messages for p in parts) == found.messages
    assert sum(p.rounds for p in parts) >= cost.rounds
    assert {line: p.bytes for line, p in found.by_line.items() if p.bytes} == cost.by_line
    for name, seconds in found.seconds.items():
        assert sum(p.seconds[name] for p in parts) == pytest.approx(seconds)
        assert found.local_seconds[name] <= seconds


def test_the_exchanges_of_a_timeline_carry_what_is_counted() -> None:
    """Loops multiplied out, each message leaves one endpoint and arrives at another."""
    f = jsmpc.secure(loop)
    shares = jsmpc.share(jax.random.key(1), (np.ones(4, np.float32),) * 2, REPLICATED)
    projection, cost = f.project(*shares), f.cost(*shares)
    sent, received, messages = Counter[int](), Counter[int](), Counter[bool]()

    def visit(steps: Any, times: int, endpoint: int) -> None:
        for step in steps:
            if isinstance(step, Loop):
                visit(step.steps, times * step.times, endpoint)
            elif isinstance(step, Exchange):
                sent[endpoint] += times * sum(s.size for s in step.sent)
                received[endpoint] += times * sum(s.size for s in step.received)
                for s in step.sent:
                    messages[s.label == START] += times

    for e in range(3):
        visit(timeline.timeline(projection, e, timeline.own_program(projection, e)), 1, e)
    every = [a + b for a, b in zip(cost.bytes_sent, cost.setup_bytes, strict=True)]
    assert [sent[e] for e in range(3)] == every
    assert sum(received.values()) == sum(every)
    found = jsmpc.profile(f, *shares, networks=())
    assert found.messages == messages[False]
    assert sum(part.messages for part in found.parts.values()) == messages[False]


def test_all_endpoints_take_the_branch_of_the_most_rounds() -> None:
    """Also where some of them have more to exchange in another one."""

    def f(x: Any, i: Any) -> Any:
        branches = [jnp.sum, lambda v: jnp.max(v) * v.sum(), lambda v: jsmpc.reveal(v).sum()]
        return lax.switch(jsmpc.reveal(i), branches, x)

    found = jsmpc.profile(f, secret(4), secret(dtype=np.int32), networks=jsmpc.WAN)
    longest = jsmpc.profile(lambda x: jnp.max(x) * x.sum(), secret(4)).rounds
    assert found.rounds == longest + 1
    assert found.seconds["WAN"] == pytest.approx(0.02 * (found.rounds + 1), rel=0.1)


def test_shapes_shares_and_public_arguments() -> None:
    def f(x: Any, w: Any, *, scale: float) -> Any:
        return (x @ w) * scale

    share = jsmpc.share(jax.random.key(1), np.ones((2, 3), np.float32), ADDITIVE)
    w = np.ones(3, np.float32)
    found = jsmpc.profile(f, share, w, scale=0.3)
    assert found.protocol == ADDITIVE
    same = jsmpc.profile(f, secret(2, 3), w, scale=0.3, protocols=ADDITIVE)
    assert found.cost.bytes_sent == same.cost.bytes_sent > (0, 0)
    both = jsmpc.profile(f, secret(2, 3), secret(3), scale=0.3, protocols=ADDITIVE)
    assert sum(both.bytes_sent) > sum(same.bytes_sent)
    assert jsmpc.profile(f, share, w, scale=0.3, protocols=REPLICATED).protocol == REPLICATED
    assert jsmpc.profile(jsmpc.secure(f), share, w, scale=0.3).cost.rounds == found.rounds
    static = jsmpc.profile(lambda x, n: x**n, secret(3), 3, static_argnums=1)
    assert static.rounds == jsmpc.profile(lambda x: x**3, secret(3)).rounds


def test_operations_are_counted_by_kind() -> None:
    product = jsmpc.profile(jnp.matmul, secret(4, 5), secret(5, 6))
    for counts in product.operations:  # x_i (y_i + y_{i+1}) + x_{i+1} y_i
        assert counts["multiply-adds"] == 2 * 4 * 5 * 6
    relu = jsmpc.profile(jax.nn.relu, secret(1000))
    for counts in relu.operations:
        assert counts["multiply-adds"] == 0
        assert counts["words drawn"] >= 1000 and counts["elementwise words"] > 10_000


# --- attribution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [jnp.linalg.norm, jnp.median])
def test_a_library_function_is_attributed_to_the_callers_line(f: Any) -> None:
    found = jsmpc.profile(f, secret(4))
    lines = {line for line, operation in found.parts if (line, operation) != START}
    assert lines and all("test_profile.py:" in line for line in lines)


def test_a_jitted_library_function_is_attributed_to_the_line_inside_of_the_users_function() -> None:
    def f(x: Any) -> Any:
        y = x + 1
        return jax.nn.relu(y)

    line = f.__code__.co_firstlineno + 2
    jax.nn.relu(jnp.ones(5))  # traced before, without any line of this function's
    found = jsmpc.profile(f, secret(5))
    assert f"test_profile.py:{line} " in next(iter(found.by_line))


def test_parts_have_the_operation_of_the_users_function() -> None:
    def f(x: Any, w: Any) -> Any:
        return jnp.abs(jnp.maximum(x @ w, 0))

    found = jsmpc.profile(f, secret(4, 3), secret(3, 2))
    sending = {name for name, part in found.by_operation.items() if part.bytes}
    assert sending == {"dot_general", "max", "abs"}
    inside = jsmpc.profile(
        lambda x: lax.scan(lambda c, _: (jnp.abs(c), None), x, None, length=4)[0], secret(3)
    )
    assert inside.by_operation["abs"].bytes == sum(inside.bytes_sent)


# --- several protocols and networks --------------------------------------------------------------


def test_protocols_side_by_side() -> None:
    protocols = [REPLICATED, jsmpc.Replicated3(bits=32), ADDITIVE]
    found = jsmpc.profile(jax.nn.relu, secret(10), protocols=protocols)
    assert [p.protocol for p in found.profiles] == protocols
    for profile in found.profiles:
        alone = jsmpc.profile(jax.nn.relu, secret(10), protocols=profile.protocol)
        assert alone.bytes_sent == profile.bytes_sent
    table = str(found).splitlines()
    assert len(table) == 2 + len(protocols)
    assert "LAN" in table[1] and "WAN" in table[1]
    assert "Additive(2 parties and a dealer, 64 bits)" in table[-1]
    assert json.loads(json.dumps(found.as_dict()))["profiles"][2]["dealer_bytes"] > 0


def test_tables_dicts_and_plots() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    near = Network(bandwidth=1e10, round_trip=1e-4)
    found = jsmpc.profile(lambda x: jnp.argmax(jnp.sqrt(x)), secret(9), networks=near)
    text = str(found)
    for word in ("<lambda>", "party0", "10 Gbit/s, 0.1 ms", "argmax"):
        assert word in text
    assert "test_profile.py" in text and str(Path(__file__).parent) not in text
    stored = json.loads(json.dumps(found.as_dict()))
    assert stored["rounds"] == found.rounds and stored["seconds"] == found.seconds
    assert {p["operation"] for p in stored["parts"]} == set(found.by_operation)
    assert stored["advice"][0]["text"] in text
    assert len(found.plot().patches) == len(found.by_line)
    both = jsmpc.profile(jnp.square, secret(9), protocols=[REPLICATED, ADDITIVE])
    assert len(both.plot().patches) == 4
    assert str(jsmpc.profile(jnp.square, secret(9), networks=())).count("\n") == 3


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        ((np.ones(3),), {}, "no argument of square is a share"),
        ((secret(3),), {"protocols": []}, "one protocol, or a sequence"),
        ((secret(3),), {"protocols": "replicated"}, "one protocol, or a sequence"),
        ((secret(3),), {"networks": [jsmpc.LAN, jsmpc.LAN]}, "different names"),
        ((secret(3),), {"networks": "LAN"}, "networks is one network"),
    ],
)
def test_wrong_arguments(arguments: Any, options: Any, error: str) -> None:
    with pytest.raises(jsmpc.ProtocolError, match=error):
        jsmpc.profile(jnp.square, *arguments, **options)


@pytest.mark.parametrize("wrong", [{"bandwidth": 0.0}, {"round_trip": -1.0}, {"cores": 0}])
def test_networks_that_are_none(wrong: Any) -> None:
    with pytest.raises(jsmpc.ProtocolError):
        Network(**{"bandwidth": 1e9, "round_trip": 0.1, **wrong})


def test_what_cannot_be_computed_is_refused_as_by_a_call() -> None:
    with pytest.raises(jsmpc.UnsupportedError, match=r"test_profile\.py"):
        jsmpc.profile(lambda x: jnp.linalg.eigvalsh(x), secret(3, 3))
    with pytest.raises(jsmpc.SecretError):
        jsmpc.profile(lambda x: x if x > 0 else -x, secret())


# --- the predicted seconds -----------------------------------------------------------------------


def timelines(f: Any, *args: Any, smpc: jsmpc.Protocol = REPLICATED) -> list[Any]:
    shares = jsmpc.share(jax.random.key(1), args, smpc)
    projection = jsmpc.secure(f).project(*shares)
    return [
        timeline.timeline(projection, e, timeline.own_program(projection, e))
        for e in range(len(projection.names))
    ]


def square_and_compare(x: Any) -> Any:
    return (x * x > 0.5) * x


def test_without_any_work_and_bytes_a_run_takes_its_rounds() -> None:
    x = np.ones(20, np.float32)
    steps = timelines(square_and_compare, x)
    network = Network(bandwidth=1e30, round_trip=0.2)
    rounds = jsmpc.profile(square_and_compare, secret(20)).rounds
    found = simulate(steps, network, INSTANT)
    setup = 1  # its seeds are sent first
    assert found.seconds == pytest.approx(0.1 * (rounds + setup), rel=1e-6)
    assert found.local == pytest.approx(0, abs=1e-9)


def test_without_distance_a_run_takes_at_least_what_the_busiest_party_sends() -> None:
    steps = timelines(jnp.matmul, np.ones((60, 4), np.float32), np.ones((4, 60), np.float32))
    found = simulate(steps, Network(bandwidth=1e3, round_trip=0.0), INSTANT)
    sent = jsmpc.profile(jnp.matmul, secret(60, 4), secret(4, 60)).bytes_sent
    assert max(sent) * 8 / 1e3 <= found.seconds <= 2 * sum(sent) * 8 / 1e3


def test_two_endpoints_by_hand() -> None:
    """Work, a message, work at the other, and one back."""
    there, back = Sent(0, 1, 10_000, ("a", "x")), Sent(1, 0, 5_000, ("b", "y"))

    def work(amount: int) -> Work:
        return Work({("c", "z"): Counter(elementwise=amount)})

    first = (work(3), Exchange((there,), ()), Exchange((), (back,)))
    second = (Exchange((), (there,)), work(2), Exchange((back,), ()))
    speeds = Speeds({**dict.fromkeys(UNITS, 0.0), "elementwise": 1.0}, 1, FREE)
    found = simulate([first, second], Network(bandwidth=8000.0, round_trip=4.0), speeds)
    bytes_sent = wire.wire_bytes(10_000), wire.wire_bytes(5_000)
    assert found.seconds == pytest.approx(3 + 2 + 4 + sum(bytes_sent) / 1000)
    assert found.charges["c", "z"] == pytest.approx(3)  # its own; that of the other it waits for
    assert found.local == pytest.approx(3)
    assert sum(found.charges.values()) == pytest.approx(found.seconds)


def test_messages_leave_and_arrive_one_after_another() -> None:
    network = Network(bandwidth=8000.0, round_trip=0.0)
    to_all = [Sent(0, target, 1000, ("a", "x")) for target in (1, 2)]
    steps = [
        (Exchange(tuple(to_all), ()),),
        (Exchange((), (to_all[0],)),),
        (Exchange((), (to_all[1],)),),
    ]
    each = wire.wire_bytes(1000) / 1000
    assert simulate(steps, network, INSTANT).seconds == pytest.approx(2 * each)
    to_one = [Sent(source, 2, 1000, ("a", "x")) for source in (0, 1)]
    steps = [(Exchange((s,), ()),) for s in to_one] + [(Exchange((), tuple(to_one)),)]
    assert simulate(steps, network, INSTANT).seconds == pytest.approx(2 * each)


def test_endpoints_that_share_cores_wait_for_them() -> None:
    serial = (Work({("a", "x"): Counter(elementwise=6)}),)
    wide = (Work({}, {("a", "x"): Counter(elementwise=6)}),)
    speeds = Speeds({**dict.fromkeys(UNITS, 0.0), "elementwise": 1.0}, 4, FREE)

    def seconds(steps: Any, cores: int | None, endpoints: int = 3) -> float:
        network = Network(bandwidth=1e9, round_trip=0.0, cores=cores)
        return simulate([steps] * endpoints, network, speeds).seconds

    assert seconds(serial, None) == pytest.approx(6)
    assert seconds(serial, 3) == pytest.approx(6)
    assert seconds(serial, 2) == pytest.approx(9)
    assert seconds(wide, None) == pytest.approx(1.5)
    assert seconds(wide, 2) == pytest.approx(9)
    assert seconds(wide, 8, endpoints=1) == pytest.approx(1.5)
    assert seconds(wide, 2, endpoints=1) == pytest.approx(3)


def test_a_long_loop_takes_as_long_as_its_iterations() -> None:
    sent = Sent(0, 1, 100, ("a", "x")), Sent(1, 0, 100, ("a", "x"))
    body = [(Exchange((a,), (b,)),) for a, b in (sent, sent[::-1])]
    network = Network(bandwidth=1e6, round_trip=0.5)

    def seconds(times: int) -> float:
        return simulate([(Loop(steps, times),) for steps in body], network, STEADY).seconds

    start = seconds(0)
    assert seconds(1000) - start == pytest.approx(100 * (seconds(10) - start), rel=1e-3)
    choice = [(Choice(((), steps), taken=1),) for steps in body]
    assert simulate(choice, network, STEADY).seconds == pytest.approx(seconds(1))


def test_a_message_beyond_tcps_window_takes_round_trips() -> None:
    link = wire.Wire(Network(bandwidth=1e12, round_trip=1.0), 2)
    assert link.arrival(0, 1, 1000, 0.0) == pytest.approx(0.5, abs=1e-3)
    first = link.arrival(0, 1, 10**6, 1.0) - 1.0
    link.arrival(0, 1, 10**6, 1.0 + first)
    again = link.arrival(0, 1, 10**6, 3.0 + first) - 3.0 - first
    late = link.arrival(0, 1, 10**6, 1000.0) - 1000.0
    assert again == pytest.approx(0.5, abs=1e-2)  # it has learned
    assert first == pytest.approx(late, abs=1e-2)  # and forgotten
    assert 5.4 < first < 7.6
    link = wire.Wire(Network(bandwidth=1e12, round_trip=1.0, idle_restart=False), 2)
    times = [link.arrival(0, 1, 10**6, t) - t for t in (0.0, 1000.0, 2000.0)]
    assert times[0] == pytest.approx(first, abs=1e-2) and times[2] == pytest.approx(0.5, abs=1e-2)


@pytest.mark.parametrize("smpc", [REPLICATED, ADDITIVE], ids=lambda p: type(p).__name__)
def test_seconds_fall_with_bandwidth_and_rise_with_distance(smpc: jsmpc.Protocol) -> None:
    steps = timelines(square_and_compare, np.ones(500, np.float32), smpc=smpc)

    def seconds(bandwidth: float, round_trip: float, cores: int | None = None) -> float:
        return simulate(steps, Network(bandwidth, round_trip, cores=cores), STEADY).seconds

    by_bandwidth = [seconds(b, 0.01) for b in (1e5, 1e6, 1e7, 1e9)]
    assert by_bandwidth == sorted(by_bandwidth, reverse=True)
    by_distance = [seconds(1e8, r) for r in (0.0, 1e-3, 1e-2, 1e-1)]
    assert by_distance == sorted(by_distance)
    assert seconds(1e9, 0.0, cores=1) > seconds(1e9, 0.0)


# --- memory --------------------------------------------------------------------------------------


def test_peak_memory_is_near_what_the_compiler_tells() -> None:
    def f(x: Any, w: Any) -> Any:
        return jax.nn.relu(x @ w) * 0.5

    args = np.ones((64, 32), np.float32), np.ones((32, 64), np.float32)
    projection = jsmpc.secure(f).project(*jsmpc.share(jax.random.key(1), args, REPLICATED))
    predicted = memory.peak(timeline.own_program(projection, 0))
    given = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype)
        for v, port in zip(projection.block.inputs, projection.inputs, strict=True)
        if 0 in port.endpoints
    ]

    def own(*arguments: Any) -> Any:
        return exchange(*arguments)

    with compat.protocol_mode():
        program = projection.program([0], own, lambda token, _: token, kernels.evaluate)
        compiled = jax.jit(program).lower(jnp.zeros((), jnp.uint32), [given]).compile()
    found = compiled.memory_analysis()
    exact = sum(getattr(found, f"{part}_size_in_bytes") for part in ("argument", "output", "temp"))
    assert 0.7 * exact < predicted < 1.3 * exact


# --- the speeds of this machine ------------------------------------------------------------------


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An empty cache, and how often speeds are measured from now on."""
    measured: list[int] = []

    def measure() -> Speeds:
        measured.append(1)
        return Speeds(dict.fromkeys(UNITS, 1e-9 * len(measured)), 2)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "measure", measure)
    monkeypatch.setattr(cache, "_known", {})
    return measured


def new_process(monkeypatch: pytest.MonkeyPatch) -> Speeds:
    monkeypatch.setattr(cache, "_known", {})
    return cache.speeds()


def test_speeds_are_measured_once(
    cached: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = cache.speeds()
    assert cache.speeds() is first
    assert new_process(monkeypatch) == first
    assert len(cached) == 1
    (file,) = (tmp_path / "jsmpc").iterdir()  # and no temporary one
    assert file.name.startswith("speeds-")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"{}",
        "foreign",
        "negative",
        "nameless",
    ],
)
def test_files_that_are_damaged_or_foreign_are_measured_anew(
    cached: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: Any
) -> None:
    first = cache.speeds()
    (file,) = (tmp_path / "jsmpc").iterdir()
    stored = json.loads(file.read_text())
    if content == "foreign":
        stored["machine"]["cores"] = 1000
    elif content == "negative":
        stored["seconds"]["calls"] = -1.0
    elif content == "nameless":
        del stored["seconds"]["calls"]
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(stored).encode())
    again = new_process(monkeypatch)
    assert len(cached) == 2 and again != first
    assert new_process(monkeypatch) == again
    assert len(cached) == 2


@pytest.mark.parametrize("what", ["jax", "jsmpc", "machine"])
def test_speeds_of_another_version_or_machine_are_others(
    cached: list[int], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    cache.speeds()
    own = cache._machine()
    monkeypatch.setattr(cache, "_machine", lambda: {**own, what: "other"})
    new_process(monkeypatch)
    assert len(cached) == 2


def test_without_a_cache_that_can_be_written_speeds_are_measured(
    cached: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "jsmpc").write_text("a file is in the place of the folder")
    cache.speeds()
    new_process(monkeypatch)
    assert len(cached) == 2


def test_the_speeds_of_this_machine_explain_its_programs(cached: list[int]) -> None:
    """Nothing is timed by the test: only that each unit is measured by some program."""
    with compat.protocol_mode():
        counted = Counter[str](runs=1)
        for function, arguments in calibration._programs():
            program = jax.make_jaxpr(kernels.optimize(function))(*arguments)
            counted.update(timeline.total(timeline.local(program)))
    native = {"instructions"} if kernels.native.available() else set()
    assert set(UNITS) - {"instructions"} | native <= set(+counted)


# --- advice --------------------------------------------------------------------------------------

N, MANY = secret(30), secret(40)
ROWS = secret(5, 20)
WHOLE = secret(6, dtype=np.int32)
# What is dear, what is to be written instead, and their arguments.
ADVICE: dict[str, Any] = {
    "divisor": (lambda x: x / x.sum(), lambda x: x * (1 / x.sum()), N),
    "divisor of rows": (lambda x, y: x / y[:, None], lambda x, y: x * (1 / y)[:, None], ROWS, 5),
    "two quotients": (lambda x, y, z: (x / z, y / z), lambda x, y, z: _both(x, y, 1 / z), N, N, N),
    "quotient of quotient": (lambda x, y, z: x / y / z, lambda x, y, z: x / (y * z), N, N, N),
    "root": (lambda x, y: x / jnp.sqrt(y), lambda x, y: x * lax.rsqrt(y), N, N),
    "square": (lambda x: jnp.sqrt(x * x), jnp.abs, N),
    "argmax": (lambda x: jnp.argmax(jax.nn.softmax(x)), jnp.argmax, N),
    "logarithm": (lambda x: jnp.log(jax.nn.softmax(x)), jax.nn.log_softmax, N),
    "threshold": (lambda x: jax.nn.sigmoid(x) > 0.5, lambda x: x > 0, N),
    "maximum": (lambda x: jnp.sort(x)[-1], jnp.max, MANY),
    "minimum of rows": (lambda x: jnp.sort(x)[:, 0], lambda x: x.min(1), secret(2, 40)),
    "index": (lambda x: jnp.argsort(x)[-1], jnp.argmax, MANY),
    "integers": (lambda x, y: x // y, lambda x, y: jnp.floor(x / y), WHOLE, WHOLE),
    "power of two": (lambda x: x // 8, lambda x: x >> 3, WHOLE),
    "brackets": (lambda a, b, v: a @ b @ v, lambda a, b, v: a @ (b @ v), *[secret(9, 9)] * 2, 9),
}


def hints(f: Any, *args: Any) -> tuple[Hint, ...]:
    program, hidden = jsmpc.secure(f).jaxpr(*(of_shape(REPLICATED, x) for x in args))
    return advise(program, hidden, "test_profile.py")


def _both(x: Any, y: Any, r: Any) -> Any:
    return x * r, y * r


@pytest.mark.parametrize("case", ADVICE)
def test_advice_is_given_where_it_is_due_and_what_it_says_is_cheaper(case: str) -> None:
    dear, cheap, *given = ADVICE[case]
    args = [secret(x) if isinstance(x, int) else x for x in given]
    given, good = hints(dear, *args), hints(cheap, *args)
    assert given and not good
    assert all("test_profile.py" in hint.line for hint in given)
    smpc = REPLICATED if len(case) % 2 else ADDITIVE
    shares = [of_shape(smpc, x) for x in args]
    worse, better = (jsmpc.secure(f).cost(*shares) for f in (dear, cheap))
    price, less = (sum(cost.bytes_sent) + cost.dealer_bytes for cost in (worse, better))
    assert less < 0.8 * price and better.rounds <= worse.rounds


@pytest.mark.parametrize(
    "f",
    [
        lambda x, y: x / y,
        lambda x, y: x / 3.0,
        lambda x, y: 1 / y.sum() * x,
        lambda x, y: jnp.clip(x, 0, 1) + jnp.minimum(jnp.maximum(y, 0), 1),
        lambda x, y: jnp.sort(x)[2:5] * y[0],
        lambda x, y: jsmpc.reveal(x) / jsmpc.reveal(y).sum(),
        lambda x, y: jnp.argmax(x) + jnp.sqrt(y * x),
        lambda x, y: x @ (y * 2),
    ],
)
def test_no_advice_where_nothing_is_dearer_than_it_must_be(f: Any) -> None:
    assert hints(f, N, N) == ()


def test_advice_looks_into_loops() -> None:
    def f(x: Any) -> Any:
        return lax.fori_loop(0, 3, lambda i, c: c / c.sum(), x)

    (hint,) = hints(f, N)
    assert hint.operation == "div" and "reciprocal" in hint.text
