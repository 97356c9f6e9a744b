"""Rounds with one server, step by step, with messages that tests can change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jsmpc import federated
from jsmpc._src.federated.masked.letters import Step
from jsmpc._src.transport import messages

SIZE = 40  # coordinates of an update
RULE = federated.Quantization(clip=1.0, bits=16, most_weight=50)
LIKE = jax.ShapeDtypeStruct((SIZE,), np.float64)
PRIVATE = [bytes([i + 1]) * 32 for i in range(40)]
PUBLIC = [
    Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw() for key in PRIVATE
]
RNG = np.random.default_rng(3)
UPDATES = RNG.uniform(-1, 1, (40, SIZE))
WEIGHTS = RNG.integers(1, 51, 40).tolist()


def full(clients: int, *, signed: bool = False, **options: Any) -> federated.OneServer:
    """A set-up of everyone with everyone."""
    usual = {"quantization": RULE, "like": LIKE, "identities": PUBLIC[:clients] if signed else ()}
    return federated.OneServer.full(clients=clients, **{**usual, **options})


def expected(survivors: tuple[int, ...], rule: federated.Quantization = RULE) -> np.ndarray:
    """The mean that exact sums of integers give, in float64."""
    weights = np.array([WEIGHTS[u] for u in survivors])
    rounded = np.rint(UPDATES[list(survivors)] / rule.unit).astype(np.int64)
    return (weights @ rounded) * (rule.unit / int(weights.sum()))


Change = Callable[[Step, int, bytes], bytes | None]


@dataclasses.dataclass
class Round:
    """A round that is under way.

    Attributes:
      setup: as usual; number: the round's.
      change: what becomes of a client's letter: another one, or None if it does not arrive.
      server: the server; clients: all of them.
      asked: the server's letters to clients, for the open step.
      letters: all letters that were sent to the server, by step and client.
    """

    setup: federated.OneServer
    number: int = 1
    change: Change = lambda step, u, letter: letter
    seed: int = 0

    def __post_init__(self) -> None:
        self.server = federated.RoundServer(self.setup, self.number)
        self.clients = [self.client(u) for u in range(self.setup.clients)]
        self.asked: dict[int, bytes] = dict.fromkeys(range(self.setup.clients), b"")
        self.letters: dict[tuple[Step, int], bytes] = {}

    def client(self, u: int) -> federated.RoundClient:
        """A new one, with randomness of its own."""
        identity = PRIVATE[u] if self.setup.is_active else None
        entropy = np.random.default_rng([self.seed, self.number, u]).bytes
        return federated.RoundClient(self.setup, u, self.number, identity=identity, entropy=entropy)

    def answer(self, step: Step, u: int, client: Any = None, asked: bytes | None = None) -> bytes:
        """A client's answer to what it was asked, or to something else."""
        client = self.clients[u] if client is None else client
        message = self.asked[u] if asked is None else asked
        if step is Step.ADVERTISE:
            return client.advertise()
        if step is Step.MASK:
            return client.mask(message, UPDATES[u], WEIGHTS[u])
        return getattr(client, step.label)(message)

    def step(self, step: Step) -> None:
        """All answer, and the step is closed."""
        for u in self.asked:
            self.letters[step, u] = self.answer(step, u)
            changed = self.change(step, u, self.letters[step, u])
            if changed is not None:
                self.server.collect(changed)
        self.asked = self.server.close()

    def until(self, last: Step | None) -> Round:
        """Plays on to a step, or to the end."""
        while self.server.step != (None if last is None else last.label):
            assert self.server.step is not None
            self.step(Step[self.server.step.upper()])
        return self

    def copy(self, u: int) -> federated.RoundClient:
        """A client in the state that it is in, which can answer apart from it."""
        identity = PRIVATE[u] if self.setup.is_active else None
        saved = self.clients[u].save()
        return federated.RoundClient.restore(self.setup, u, self.number, saved, identity=identity)


def run(setup: federated.OneServer, change: Change, **options: Any) -> federated.RoundResult:
    """A whole round with changed letters."""
    return Round(setup, change=change, **options).until(None).server.result()


def fields(letter: bytes) -> dict[str, Any]:
    """What an unsigned letter says."""
    return messages.decode(letter)


def altered(letter: bytes, body: Mapping[str, Any] = {}, **outer: Any) -> bytes:
    """An unsigned letter with other values."""
    said = fields(letter)
    return b"".join(messages.encode({**said, **outer, "body": {**said["body"], **body}}))


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    """Bytes of which one bit is another."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)
