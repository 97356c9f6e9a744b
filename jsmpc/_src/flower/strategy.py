"""The server's side: any strategy of Flower's, on masked updates."""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked.record import RoundRecord, RoundResult
from jsmpc._src.federated.masked.server import RoundServer
from jsmpc._src.federated.masked.setup import OneServer
from jsmpc._src.federated.privacy.clipping import AdaptiveClip
from jsmpc._src.federated.privacy.private import Privacy, Spent
from jsmpc._src.federated.privacy.shares import noise_room
from jsmpc._src.federated.quantization import Quantization
from jsmpc._src.flower.announced import Announced, Noise
from jsmpc._src.flower.mod import IDENTIFY, RECORD, arrays_of

_BITS = 22  # of a rounded coordinate, with privacy


@dataclasses.dataclass
class SecureAggregation(Strategy):
    """A strategy of Flower's whose server sees no update, but weighted means of masked ones.

    It asks the nodes that the strategy inside would have trained through the steps of `OneServer`
    with everyone's masks, and gives the strategy one reply of one client: the mean, with the sum
    of the weights. So `FedAvg` and those with a server's optimizer (`FedAdam`, `FedYogi`, …) work
    as they are; those that look at single updates (`Krum`, `FedMedian`, …) cannot. Evaluation
    passes as it is. The nodes' `ClientApp`s have a `SecureMod`.

    Attributes:
      strategy: the one inside.
      quantization: how updates, differences of a node's arrays, become integers.
      dropping: which share of a round's nodes may drop out of it.
      corrupt: which share of them may collude with the server.
      trusted: the public keys of all nodes that may take part; see `SecureMod`.
      privacy: differential privacy of clients, in place of a quantization. Each node clips and
        adds its part of the noise; all weights are 1. As the server knows who takes part, it is
        one with `sample_secret=False`.
      patience: seconds to wait for nodes at each step but training, for which it is that of
        `start`.
      weight: the name of the metric that is the mean's weight, as of the strategy inside.
      records: of the rounds so far, in order.
      spent: what the rounds so far cost of the privacy.

    Raises:
      FederatedError: for neither or both of quantization and privacy, and shares that are none.
      In `start`: `RoundError`, a FederatedError, for a round that fails, and BudgetError.

    Guarantee, cost and source: those of `OneServer`, for the nodes.

    Example:
      >>> from flwr.serverapp.strategy import FedAvg
      >>> from jsmpc import federated, flower
      >>> strategy = flower.SecureAggregation(
      ...     FedAvg(), federated.Quantization(clip=1.0, most_weight=1000), dropping=0.2)
    """

    strategy: Strategy
    quantization: Quantization | None = None
    dropping: float = 0.0
    corrupt: float = 0.0
    trusted: Sequence[bytes] = ()
    privacy: Privacy | None = None
    patience: float = 60.0
    weight: str = "num-examples"
    records: list[RoundRecord] = dataclasses.field(default_factory=list, init=False)
    spent: Spent | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        if (self.quantization is None) == (self.privacy is None):
            raise FederatedError("flower: take a quantization, or a privacy that has its own")
        if not (0 <= self.dropping < 1 and 0 <= self.corrupt < 1):
            raise FederatedError("flower: dropping and corrupt are shares of the nodes, below 1")
        if self.privacy is not None and (
            self.privacy.sample_secret or isinstance(self.privacy.clip, AdaptiveClip)
        ):
            raise FederatedError(
                "flower: the server knows who takes part, and the clip stays. Take a Privacy with "
                "sample_secret=False and a number as its clip"
            )

    def start(self, grid: Grid, *args: Any, **kwargs: Any) -> Result:
        """Runs the strategy inside; see Flower's `Strategy.start`."""
        return self.strategy.start(_MaskedGrid(grid, self), *args, **kwargs)

    def configure_train(self, *args: Any) -> Iterable[Message]:
        return self.strategy.configure_train(*args)

    def aggregate_train(self, *args: Any) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return self.strategy.aggregate_train(*args)

    def configure_evaluate(self, *args: Any) -> Iterable[Message]:
        return self.strategy.configure_evaluate(*args)

    def aggregate_evaluate(self, *args: Any) -> MetricRecord | None:
        return self.strategy.aggregate_evaluate(*args)

    def summary(self) -> None:
        self.strategy.summary()

    def setup_for(self, like: Any, identities: Sequence[bytes], nodes: int) -> OneServer:
        """The set-up of a round of so many nodes; FederatedError."""
        return OneServer.full(
            clients=nodes,
            quantization=self.quantization or self._quantization(nodes),
            like=like,
            dropping=int(nodes * self.dropping),
            corrupt=int(nodes * self.corrupt),
            identities=identities,
        )

    def noise_of(self, setup: OneServer) -> Noise:
        """What its clients add."""
        if self.privacy is None:
            return Noise()
        assert setup.corrupt is not None
        return self._noise(setup.quantization, setup.least - setup.corrupt)

    def charge(self, nodes: int) -> None:
        """Enters one more round of so many nodes; BudgetError."""
        if self.privacy is not None:
            before = self.privacy.init() if self.spent is None else self.spent
            self.spent = self.privacy.charged(before, clients=nodes, per_round=nodes)

    def _quantization(self, nodes: int) -> Quantization:
        """Of updates within the clip of the privacy, with room for noise."""
        honest = nodes - int(nodes * self.dropping) - int(nodes * self.corrupt)
        if honest < 1:
            raise FederatedError("flower: no honest node is left to add noise")
        rule = Quantization(clip=self._clip, bits=_BITS)
        return dataclasses.replace(rule, room=noise_room(*self._noise(rule, honest)[:2]))

    def _noise(self, rule: Quantization, honest: int) -> Noise:
        assert self.privacy is not None
        return Noise(self.privacy.noise * self._clip / rule.unit, honest, self._clip)

    @property
    def _clip(self) -> float:
        assert self.privacy is not None and not isinstance(self.privacy.clip, AdaptiveClip)
        return float(self.privacy.clip)


class _MaskedGrid(Grid):
    """A grid that gives the mean of masked updates for messages of training."""

    def __init__(self, grid: Grid, secure: SecureAggregation) -> None:
        self._grid, self._secure = grid, secure

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies; to messages of training, one with the mean."""
        asked = {m.metadata.dst_node_id: m for m in messages}
        kinds = {m.metadata.message_type for m in asked.values()}
        if not any(kind.partition(".")[0] == "train" for kind in kinds):
            return self._grid.send_and_receive(list(asked.values()), timeout=timeout)
        return [self._averaged(asked, timeout)]

    def _averaged(self, asked: dict[int, Message], timeout: float | None) -> Message:
        """A reply with the mean, as if of one node of all the weight."""
        secure, nodes = self._secure, sorted(asked)
        if not nodes:
            raise FederatedError("flower: the strategy chose no node to train")
        content, identities = asked[nodes[0]].content, {}
        if secure.trusted:
            answers = self._answers(IDENTIFY, {node: {} for node in nodes}, secure.patience)
            identities = _known(answers, secure.trusted)
            nodes = sorted(identities)
        arrays = arrays_of(content)
        setup = secure.setup_for(arrays, [identities[n] for n in nodes if identities], len(nodes))
        secure.charge(len(nodes))
        result = self._run(setup, [asked[node] for node in nodes], timeout)
        means = (a + m for a, m in zip(arrays, result.mean, strict=True))
        (name, record), weight = next(iter(content.array_records.items())), secure.weight
        new = ArrayRecord({k: Array(x) for k, x in zip(record, means, strict=True)})
        replied = RecordDict({name: new, "metrics": MetricRecord({weight: result.weight})})
        return Message(replied, reply_to=asked[nodes[0]])

    def _run(self, setup: OneServer, asked: list[Message], timeout: float | None) -> RoundResult:
        """One round among the nodes that are asked."""
        number = time.time_ns()
        server, noise = RoundServer(setup, number), self._secure.noise_of(setup)
        self._secure.records.append(server.record)
        of_node = [message.metadata.dst_node_id for message in asked]
        first = (Announced(setup, i, number, noise).values() for i in range(setup.clients))
        values = dict(zip(of_node, first, strict=True))
        for step in setup.steps:
            trains = step.label == "mask"
            contents = {m.metadata.dst_node_id: m.content for m in asked} if trains else {}
            patience = timeout if trains else self._secure.patience
            for letter in self._answers(step.label, values, patience, contents).values():
                server.collect(letter)
            values = {of_node[i]: {"letter": letter} for i, letter in server.close().items()}
        return server.result()

    def _answers(
        self,
        step: str,
        values: Mapping[int, Mapping[str, Any]],
        patience: float | None,
        contents: Mapping[int, RecordDict] | None = None,
    ) -> dict[int, bytes]:
        """What nodes answer to a step in time."""
        messages = []
        for node, own in values.items():
            content = RecordDict(dict((contents or {}).get(node, {})))
            content[RECORD] = ConfigRecord({"step": step, "letter": b"", **own})
            messages.append(Message(content, dst_node_id=node, message_type=MessageType.TRAIN))
        replies = self._grid.send_and_receive(messages, timeout=patience)
        here = [reply for reply in replies if not reply.has_error() and RECORD in reply.content]
        letters: dict[int, Any] = {
            reply.metadata.src_node_id: reply.content[RECORD].get("letter") for reply in here
        }
        return {node: letter for node, letter in letters.items() if type(letter) is bytes}


def _known(answers: Mapping[int, bytes], trusted: Sequence[bytes]) -> dict[int, bytes]:
    """By node, its public key, of those that are trusted and have one of their own."""
    count = collections.Counter(answers.values())
    return {n: key for n, key in answers.items() if key in trusted and count[key] == 1}
