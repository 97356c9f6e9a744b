"""A round with one server in one process: for tests, measurements and simulated learning."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.masked.client import RoundClient
from jsmpc._src.federated.masked.letters import Step
from jsmpc._src.federated.masked.record import RoundResult
from jsmpc._src.federated.masked.server import RoundServer
from jsmpc._src.federated.masked.setup import OneServer
from jsmpc._src.federated.quantization import UpdateError, whole


class Simulated(NamedTuple):
    """A round that was run in one process.

    Attributes:
      result: its result.
      sent: bytes that the clients sent, int[clients]; received: bytes that they received.
      client_seconds: the time of all of them, float[clients].
      server_seconds: the server's time.
    """

    result: RoundResult
    sent: np.ndarray
    received: np.ndarray
    client_seconds: np.ndarray
    server_seconds: float


def simulate(
    setup: OneServer,
    updates: Any,
    weights: Sequence[int] | None = None,
    *,
    dropped: Mapping[int, str] | None = None,
    round_number: int = 0,
    identities: Sequence[bytes] = (),
    noise: Callable[[int], np.ndarray] | None = None,
) -> Simulated:
    """All clients and the server of a round, with real keys and messages. It hides nothing.

    Args:
      updates: a sequence of pytrees as `setup.like`, which is asked for one at a time, or
        float[clients, parameters].
      weights: integers, by default all 1.
      dropped: by client, the step at which it is gone: "advertise", "share", "mask", "agree" or
        "unmask".
      identities: the private keys, if the set-up has identities.
      noise: from a client's number to int[parameters], which it adds.

    Raises:
      FederatedError: for updates or steps that are none, and as of `RoundServer.close`. A client
        whose update cannot be encoded declines, which is recorded.

    Example:
      See `OneServer`.
    """
    count = setup.clients
    if len(updates) != count or (weights is not None and len(weights) != count):
        raise FederatedError(
            f"simulate: there are {count} clients, each has an update and a weight"
        )
    gone = {u: _step(setup, name) for u, name in (dropped or {}).items()}
    server = RoundServer(setup, round_number)
    clients = [
        RoundClient(setup, u, round_number, identity=identities[u] if len(identities) else None)
        for u in range(count)
    ]
    sent, received = np.zeros((2, count), np.int64)
    seconds, server_seconds = np.zeros(count), 0.0

    def answer(step: Step, u: int, message: bytes, given: Sequence[Any]) -> bytes:
        client = clients[u]
        if step is Step.ADVERTISE:
            return client.advertise()
        try:
            return getattr(client, step.label)(message, *given)
        except UpdateError as error:
            return client.decline(error)

    def given(u: int) -> tuple[Any, int, np.ndarray | None]:
        weight = 1 if weights is None else int(weights[u])
        return updates[u], weight, None if noise is None else noise(u)

    asked: dict[int, bytes] = dict.fromkeys(range(count), b"")
    for step in setup.steps:
        for u, message in asked.items():
            received[u] += len(message)
            if gone.get(u, step + 1) <= step:
                continue
            own = given(u) if step is Step.MASK else ()
            start = time.perf_counter()
            found = answer(step, u, message, own)
            seconds[u] += time.perf_counter() - start
            sent[u] += len(found)
            start = time.perf_counter()
            server.collect(found)
            server_seconds += time.perf_counter() - start
        start = time.perf_counter()
        asked = server.close()
        server_seconds += time.perf_counter() - start
    return Simulated(server.result(), sent, received, seconds, server_seconds)


def by_one_server(
    setup: OneServer,
    *,
    dropped: Callable[[int], Mapping[int, str]] | None = None,
    identities: Sequence[bytes] = (),
    watch: Callable[[Simulated], None] | None = None,
) -> Callable[..., Any]:
    """An aggregation by one server for `Federation`, simulated: as `securely` is by a committee.

    Weights are integers, as numbers of examples, up to the quantization's `most_weight`.

    Args:
      setup: of vectors, `like=jax.ShapeDtypeStruct((parameters,), numpy.float32)`, and of as many
        clients as a round has.
      dropped: from the number of a round, counted from 0, to `simulate`'s.
      watch: called with what became of each round.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np
      >>> from jsmpc import federated
      >>> setup = federated.OneServer.full(
      ...     clients=2, dropping=0, like=jax.ShapeDtypeStruct((2,), np.float32),
      ...     quantization=federated.Quantization(clip=8.0, most_weight=100))
      >>> total = federated.by_one_server(setup)
      >>> total(jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.ones(2)).round(3)
      Array([2., 4.], dtype=float32)
    """
    rounds = iter(range(1 << 62))

    def aggregate(updates: Any, weights: Any) -> jax.Array:
        number = next(rounds)
        found = simulate(
            setup,
            np.asarray(updates),
            whole(weights),
            dropped=None if dropped is None else dropped(number),
            round_number=number,
            identities=identities,
        )
        if watch is not None:
            watch(found)
        return jax.numpy.asarray(found.result.mean)

    return aggregate


def _step(setup: OneServer, name: str) -> Step:
    for step in setup.steps:
        if step.label == name:
            return step
    raise FederatedError(
        f"simulate: a client drops out at {', '.join(s.label for s in setup.steps)}, not {name!r}"
    )
