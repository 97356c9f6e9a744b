"""Rounds of Flower's apps on a grid in this process: what is averaged, and what is refused."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr")

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdam, FedAvg, Strategy
from flwr.supercore.task_identity import TaskIdentity

import jsmpc
from jsmpc import federated, flower


@pytest.fixture(autouse=True)
def a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Flower's own grids set for the messages of a run."""
    for name in ("_run_id", "_task_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


START = [np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1.0])]
RULE = federated.Quantization(clip=1.0, most_weight=100)


def moved(node: int) -> np.ndarray:
    return np.float32([0.1, -0.2, 0.3, 0.05, 0.0, -0.01]) * node / 4


def app(mod: flower.SecureMod | None, change: Callable[[int], Any] = moved) -> ClientApp:
    """An app whose training adds to its arrays what depends on the node."""
    found = ClientApp(mods=[] if mod is None else [mod])

    @found.train()
    def train(message: Message, context: Context) -> Message:
        first, second = message.content["arrays"].to_numpy_ndarrays()
        new = [first + change(context.node_id).reshape(2, 3), second]
        metrics = MetricRecord({"num-examples": context.node_id, "loss": 3.0})
        content = RecordDict({"arrays": ArrayRecord(new), "metrics": metrics})
        return Message(content, reply_to=message)

    return found


class HereGrid(Grid):
    """Nodes 1, 2, … of one app each, in this process; it keeps all messages, and loses some."""

    def __init__(self, apps: list[ClientApp], lost: Any = lambda node, step: False):
        self.apps, self.lost = apps, lost
        self.contexts = [Context(1, i + 1, {}, RecordDict(), {}) for i in range(len(apps))]
        self.replies: list[Message] = []
        self.errors: list[Exception] = []

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any: ...

    def create_message(self, *args: Any, **kwargs: Any) -> Any: ...

    def push_messages(self, messages: Any) -> Any: ...

    def pull_messages(self, message_ids: Any) -> Any: ...

    def get_node_ids(self) -> Iterable[int]:
        return range(1, len(self.apps) + 1)

    def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Message]:
        found = []
        for message in messages:
            node = message.metadata.dst_node_id
            record = message.content.config_records.get("jsmpc", {})
            if self.lost(node, record.get("step")):
                continue
            try:
                reply = self.apps[node - 1](message, self.contexts[node - 1])
            except Exception as error:
                self.errors.append(error)
                continue
            found.append(reply)
        self.replies += found
        return found


def secure(strategy: Strategy | None = None, **changes: Any) -> flower.SecureAggregation:
    inner = strategy or FedAvg(fraction_evaluate=0.0)
    given: dict[str, Any] = {"quantization": RULE, "dropping": 0.3, **changes}
    return flower.SecureAggregation(inner, **given)


def learn(strategy: flower.SecureAggregation, grid: Grid, rounds: int = 1) -> list[np.ndarray]:
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(START), num_rounds=rounds)
    return result.arrays.to_numpy_ndarrays()


def mean_of(nodes: list[int]) -> np.ndarray:
    weights = np.array(nodes) / sum(nodes)
    return START[0] + sum(w * moved(n) for w, n in zip(weights, nodes, strict=True)).reshape(2, 3)


def test_the_average_is_that_of_those_who_stay() -> None:
    """One drops out where its masks are in others' updates already, and one before."""
    lost = {(2, "mask"), (5, "share")}
    grid = HereGrid([app(flower.SecureMod())] * 7, lambda node, step: (node, step) in lost)
    strategy = secure()
    found = learn(strategy, grid)
    np.testing.assert_allclose(found[0], mean_of([1, 3, 4, 6, 7]), atol=RULE.error + 1e-6)
    assert found[1] == START[1]
    (record,) = strategy.records
    assert record.dropped == {1: "mask", 4: "share"}
    for reply in grid.replies:  # nothing of an update but what is masked, and no metrics
        assert not reply.content.array_records and not reply.content.metric_records


def test_servers_optimizers_work_on_the_mean() -> None:
    """As on the plain updates of nodes without the mod."""

    def adam() -> FedAdam:
        return FedAdam(fraction_evaluate=0.0, eta=0.1, tau=0.1)

    plain = adam().start(
        grid=HereGrid([app(None)] * 4), initial_arrays=ArrayRecord(START), num_rounds=2
    )
    found = learn(secure(adam()), HereGrid([app(flower.SecureMod())] * 4), rounds=2)
    for one, other in zip(found, plain.arrays.to_numpy_ndarrays(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_update_that_cannot_be_encoded_is_left_out() -> None:
    broken = app(flower.SecureMod(), lambda node: np.full(6, np.nan, np.float32))
    large = app(flower.SecureMod(), lambda node: np.full(6, 2.0, np.float32))
    good = app(flower.SecureMod())
    strategy = secure(dropping=0.4)
    found = learn(strategy, HereGrid([good, broken, large, good, good, good]))
    np.testing.assert_allclose(found[0], mean_of([1, 4, 5, 6]), atol=RULE.error + 1e-6)
    assert strategy.records[0].declined == {1: "not finite", 2: "beyond the clip"}


def test_too_few_survivors_are_an_error() -> None:
    grid = HereGrid([app(flower.SecureMod())] * 4, lambda node, step: node < 3 and step == "mask")
    with pytest.raises(federated.RoundError, match="2 clients are there, at least 3 are needed"):
        learn(secure(), grid)


def test_nodes_take_no_part_in_less_than_they_ask_for() -> None:
    for mod, why in (
        (flower.SecureMod(at_least=4), "of whom 0 may be corrupt; this node asks for 4 besides 0"),
        (flower.SecureMod(corrupt=2), "asks for 2 besides 2"),
    ):
        grid = HereGrid([app(mod)] * 4)
        with pytest.raises(federated.RoundError, match="0 clients are there"):
            learn(secure(), grid)
        assert all(why in str(error) for error in grid.errors)
    grid = HereGrid([app(flower.SecureMod())] * 4)
    FedAvg(fraction_evaluate=0.0).start(grid=grid, initial_arrays=ArrayRecord(START), num_rounds=1)
    assert len(grid.errors) == 4 and "masked alone" in str(grid.errors[0])


def test_no_step_is_answered_twice() -> None:
    grid = HereGrid([app(flower.SecureMod())] * 3)
    learn(secure(dropping=0.0), grid)
    content = RecordDict({"jsmpc": ConfigRecord({"step": "unmask", "letter": b""})})
    again = Message(content, dst_node_id=1, message_type="train")
    assert grid.send_and_receive([again]) == []
    assert "in no round" in str(grid.errors[-1])


IDENTITIES = [federated.new_identity() for _ in range(4)]
TRUSTED = tuple(public for _, public in IDENTITIES)


def signing(identity: bytes) -> ClientApp:
    return app(flower.SecureMod(identity=identity, trusted=TRUSTED))


def test_with_identities() -> None:
    stranger, _ = federated.new_identity()
    apps = [signing(private) for private, _ in IDENTITIES]
    grid = HereGrid(apps)
    strategy = secure(trusted=TRUSTED, dropping=0.25)
    found = learn(strategy, grid, rounds=2)
    np.testing.assert_allclose(
        found[0], 2 * mean_of([1, 2, 3, 4]) - START[0], atol=2 * RULE.error + 1e-6
    )
    with pytest.raises(jsmpc.FederatedError, match="one of those that are trusted"):
        flower.SecureMod(identity=stranger, trusted=TRUSTED)
    copied = HereGrid([apps[0], apps[0], *apps[1:]])  # two nodes with one key: neither counts
    copied_found = learn(secure(trusted=TRUSTED, dropping=0.0), copied)
    np.testing.assert_allclose(copied_found[0], mean_of([3, 4, 5]), atol=RULE.error + 1e-6)


def test_old_rounds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = HereGrid([signing(private) for private, _ in IDENTITIES])
    strategy = secure(trusted=TRUSTED, dropping=0.25)
    learn(strategy, grid)
    number = strategy.records[0].round_number
    for clock in (number, number - 10**9, number + 10**13):
        monkeypatch.setattr(time, "time_ns", lambda clock=clock: clock)
        with pytest.raises(federated.RoundError, match="0 clients"):
            learn(strategy, grid)
        assert "not one of a round that is new" in str(grid.errors[-1])


def test_noise_is_that_of_the_privacy() -> None:
    pytest.importorskip("dp_accounting")
    privacy = federated.Privacy(noise=2.0, clip=0.5, delta=1e-5, epsilon=2.5, sample_secret=False)
    size = 3000
    start = [np.zeros(size, np.float32)]
    found = ClientApp(mods=[flower.SecureMod()])

    @found.train()
    def train(message: Message, context: Context) -> Message:
        (old,) = message.content["arrays"].to_numpy_ndarrays()
        metrics = MetricRecord({"num-examples": 7})
        new = ArrayRecord([old + np.float32(1.0)])  # far longer than the clip
        return Message(RecordDict({"arrays": new, "metrics": metrics}), reply_to=message)

    strategy = secure(quantization=None, privacy=privacy, dropping=0.0)
    grid = HereGrid([found] * 4)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(start), num_rounds=1)
    (mean,) = result.arrays.to_numpy_ndarrays()
    clipped = 0.5 / np.sqrt(size)
    assert abs(mean.mean() - clipped) < 5 * 0.25 / np.sqrt(size)
    assert abs(mean.std() / (2.0 * 0.5 / 4) - 1) < 5 / np.sqrt(2 * size)
    with pytest.raises(jsmpc.BudgetError):
        strategy.start(grid=grid, initial_arrays=ArrayRecord(start), num_rounds=5)


def test_arguments() -> None:
    for changes, why in (
        ({"quantization": None}, "take a quantization, or a privacy"),
        ({"dropping": 1.0}, "shares of the nodes"),
    ):
        with pytest.raises(jsmpc.FederatedError, match=why):
            secure(**changes)
    with pytest.raises(jsmpc.FederatedError, match="2 or more clients"):
        flower.SecureMod(at_least=1)
    assert IDENTITIES[0][0].hex() not in repr(
        flower.SecureMod(identity=IDENTITIES[0][0], trusted=TRUSTED)
    )
    assert {f.name for f in dataclasses.fields(flower.SecureMod)} >= {"at_least", "trusted"}
