"""A node's side: a mod of Flower's `ClientApp` that masks its update."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Context, Message, RecordDict

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked.client import RoundClient
from jsmpc._src.federated.masked.keys import identity_of
from jsmpc._src.federated.privacy.clipping import clipped
from jsmpc._src.federated.privacy.shares import client_noise
from jsmpc._src.federated.quantization import UpdateError
from jsmpc._src.flower.announced import Announced
from jsmpc._src.runtime import prf

RECORD, IDENTIFY = "jsmpc", "identify"
_LAST = "jsmpc-last"  # of a node's state: the number of its last round
_CLOCKS = 600.0  # seconds

_Next = Callable[[Message, Context], Message]


@dataclasses.dataclass(frozen=True)
class SecureMod:
    """A mod of Flower's `ClientApp`: of what its training replies, masked updates alone leave it.

    The app's training function is an ordinary one: it gets arrays, and replies with as many new
    ones and a metric that counts its examples. What leaves the node is the difference of the
    arrays by that weight, masked (see `RoundClient`); metrics stay. A client whose update cannot
    be encoded, as one with NaN, declines. The server's side is `SecureAggregation`.

    Attributes:
      at_least: of how many clients a sum is at the least, besides corrupt ones.
      corrupt: how many other clients may collude with the server.
      weight: the name of the metric that is the update's weight.
      identity: the node's private key of signatures, by `federated.new_identity`, against a server
        that may deviate from the protocol; it needs `trusted`.
      trusted: the public keys of all nodes that may take part.

    Raises:
      FederatedError: for an identity without trusted ones, or that is not among them.

    Guarantee: that of `OneServer`, where the set-up that the server announces holds what is asked
    for here; the mod takes no part in others, nor in training without masks. With identities, a
    round's number is the server's clock, no more than ten minutes off the node's own, and later
    than in any round that the node knows of from this run. Between steps the round's secrets lie
    in the state that Flower keeps for the node.

    Example:
      >>> from flwr.clientapp import ClientApp
      >>> from jsmpc import flower
      >>> app = ClientApp(mods=[flower.SecureMod(at_least=10)])
    """

    at_least: int = 2
    corrupt: int = 0
    weight: str = "num-examples"
    identity: bytes | None = dataclasses.field(default=None, repr=False)
    trusted: Sequence[bytes] = ()

    def __post_init__(self) -> None:
        if self.at_least < 2:
            raise FederatedError(f"flower: a sum is of 2 or more clients, not {self.at_least}")
        if (self.identity is not None) != bool(self.trusted) or (
            self.identity is not None and identity_of(self.identity) not in self.trusted
        ):
            raise FederatedError(
                "flower: an identity is one of those that are trusted. Give both, or none"
            )

    def __call__(self, message: Message, context: Context, call_next: _Next) -> Message:
        """Answers a step of the protocol; what is no training passes as it is."""
        if message.metadata.message_type.partition(".")[0] != "train":
            return call_next(message, context)
        asked = message.content.config_records.get(RECORD)
        if asked is None:
            raise FederatedError(
                "flower: updates leave this node masked alone, and the server asks for a plain "
                "one. Its strategy is to be a flower.SecureAggregation"
            )
        del message.content.config_records[RECORD]
        step, letter = str(asked["step"]), _bytes(asked["letter"])
        if step == IDENTIFY:
            if self.identity is None:
                raise FederatedError("flower: the server asks for identities; this node has none")
            return _reply(message, identity_of(self.identity))
        if step == "advertise":
            announced = Announced.read(asked)
            self._require(announced, context)
            client = RoundClient(
                announced.setup, announced.number, announced.round_number, identity=self.identity
            )
        else:
            announced, client = self._taken_up(context)
        if step == "mask":
            answer = self._masked(announced, client, letter, message, context, call_next)
        elif step in ("advertise", "share", "agree", "unmask"):
            answer = client.advertise() if step == "advertise" else getattr(client, step)(letter)
        else:
            raise FederatedError("flower: the server asks for a step that there is not")
        if client.next_step is not None:
            values = {**announced.values(), "saved": client.save()}
            context.state.config_records[RECORD] = ConfigRecord(values)
        return _reply(message, answer)

    def _taken_up(self, context: Context) -> tuple[Announced, RoundClient]:
        """The round that the node is in. It is forgotten, so that no step is answered twice."""
        kept = context.state.config_records.get(RECORD)
        if kept is None:
            raise FederatedError("flower: this node is in no round that could go on")
        del context.state.config_records[RECORD]
        announced = Announced.read(kept)
        client = RoundClient.restore(
            announced.setup,
            announced.number,
            announced.round_number,
            _bytes(kept["saved"]),
            identity=self.identity,
        )
        return announced, client

    def _masked(
        self,
        announced: Announced,
        client: RoundClient,
        letter: bytes,
        message: Message,
        context: Context,
        call_next: _Next,
    ) -> bytes:
        """Trains, and masks the difference."""
        like, noise, own = announced.setup.like, announced.noise, None
        before = message.content
        try:
            start = like.flatten(arrays_of(before))
            trained = call_next(message, context)
            if trained.has_error():
                raise UpdateError("flower: the app's training failed", "other")
            update = like.flatten(arrays_of(trained.content)) - start
            weight = self._weight(trained.content)
            if noise.deviation:
                if np.isfinite(update).all():
                    update = clipped(update, noise.clip, announced.setup.quantization.unit)
                own = client_noise(prf.random_key(), update.shape, noise.deviation, noise.honest)
                weight = 1
            return client.mask(letter, like.unflatten(update), weight, own)
        except UpdateError as error:
            return client.decline(error)

    def _weight(self, content: RecordDict) -> int:
        found = [r[self.weight] for r in content.metric_records.values() if self.weight in r]
        if len(found) != 1 or not isinstance(found[0], int):
            raise UpdateError(
                f"flower: training replies with one metric {self.weight!r}, an integer",
                "weight out of range",
            )
        return found[0]

    def _require(self, announced: Announced, context: Context) -> None:
        """FederatedError for a round that holds less than this node asks for."""
        setup = announced.setup
        assert setup.corrupt is not None
        if setup.corrupt < self.corrupt or setup.least - setup.corrupt < self.at_least:
            raise FederatedError(
                f"flower: the server announces sums of {setup.least} clients or more, of whom "
                f"{setup.corrupt} may be corrupt; this node asks for {self.at_least} besides "
                f"{self.corrupt}. Change SecureAggregation's `dropping` or `corrupt`, or ask less"
            )
        if setup.is_active != bool(self.trusted) or not set(setup.identities) <= set(self.trusted):
            raise FederatedError("flower: the round is not of clients that this node trusts")
        if setup.is_active:
            last = context.state.config_records.get(_LAST, {"number": "0"})
            known, number = int(str(last["number"])), announced.round_number
            if number <= known or abs(number / 1e9 - time.time()) > _CLOCKS:
                raise FederatedError("flower: the round's number is not one of a round that is new")
            context.state.config_records[_LAST] = ConfigRecord({"number": str(number)})


def arrays_of(content: RecordDict) -> list[np.ndarray]:
    """The arrays of a message, of which there is one record."""
    found = list(content.array_records.values())
    if len(found) != 1:
        raise FederatedError(f"flower: a message has one record of arrays, not {len(found)}")
    return found[0].to_numpy_ndarrays()


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise FederatedError("flower: what the server sent is malformed")
    return value


def _reply(message: Message, letter: bytes) -> Message:
    return Message(RecordDict({RECORD: ConfigRecord({"letter": letter})}), reply_to=message)
