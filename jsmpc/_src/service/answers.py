"""The answers to queries: of each result a summand at each party, for somebody who is no party.

The rows of a result are not what a client may see: how they are drawn depends on the steps that
made them. So the parties hand out summands that are uniform but for their sum, of the bits that
the result's dtype shows and of no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import choreographed, ports
from jsmpc._src.api.held import Held
from jsmpc._src.api.session import Purpose, Reveal, Session
from jsmpc._src.api.words import Words
from jsmpc._src.functions import disclosure
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port, Projection
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN
from jsmpc._src.runtime import prf

CLIENTS = "clients"  # whom policies and logs call so
_KEY = jax.ShapeDtypeStruct((8,), np.uint32)


def summands(
    smpc: Protocol, network: Network, keys: Sequence[Any], secrets: Sequence[Words]
) -> list[list[Any]]:
    """Of each secret a uniform summand at each party; all of them sum to its value.

    Each pair of parties has a key that the first of them draws and sends. What one of a pair adds
    to its own row, the other subtracts from its own.

    Guarantee: whoever sees all summands, and what all parties but two have, learns the sum and no
    more of the other two's rows.
    """
    common = _common(network, keys)
    return [_masked(smpc, network, common, number, x) for number, x in enumerate(secrets)]


def _common(network: Network, keys: Sequence[Any]) -> dict[tuple[int, int], tuple[Any, Any]]:
    """A key for each pair of parties, as each of the two has it."""
    setup, found = network.during("setup"), {}
    for i in range(network.parties):
        for j in range(i + 1, network.parties):
            key = prf.derive(keys[i], "answers to clients", j)
            found[i, j] = key, setup.send(setup.only(i, key), {i: j}).values[j]
    return found


def _masked(
    smpc: Protocol,
    network: Network,
    common: dict[tuple[int, int], tuple[Any, Any]],
    number: int,
    x: Words,
) -> list[Any]:
    secret = Secret.of(smpc.unpack(network, x.components), x.dtype).shares
    shown, group = disclosure.shown(smpc, secret, x.dtype)
    rows = list(shown.values)
    for (i, j), (first, second) in common.items():
        kind = rows[i].shape, rows[i].dtype
        rows[i] = group.add(rows[i], group.draw(first, number, *kind))
        rows[j] = group.subtract(rows[j], group.draw(second, number, *kind))
    return [row & np.uint8(1) for row in rows] if group is BOOLEAN else rows


class Answers:
    """The program that makes answers of a secure function's results, at one endpoint.

    Args:
      results: of the function, at this endpoint.
    """

    def __init__(self, session: Session, results: Sequence[Held]) -> None:
        smpc = session.protocol
        rows = [ports.apart(x.words()) for x in results]
        shown = [Reveal(CLIENTS, "", int(np.prod(x.shape, dtype=int)), "serve") for x in results]
        self._session, self._purpose = session, Purpose("answers to clients", tuple(shown))
        self._projection: Projection
        self._projection, _ = choreographed.projected(
            smpc,
            lambda _, keys, rows: summands(smpc, Network(smpc.size), keys, rows),
            ([_KEY] * len(smpc.endpoints), rows),
            [*ports.of_keys(smpc), *ports.of_inputs(smpc, rows)],
            lambda _: [Port(frozenset({i})) for _ in results for i in range(smpc.size)],
        )

    def __call__(self, results: Sequence[Held]) -> list[np.ndarray]:
        """This party's summand of each result; nothing at a dealer."""
        with compat.protocol_mode():
            rows = [row for x in results for row in x.rows[0]] if self._session.is_party else []
            given = [*self._session.state, prf.random_key(), *rows]
            out = self._session.run(self._projection, given, self._purpose)
            return [np.asarray(x) for x in out]


def combined(
    smpc: Protocol, dtype: Any, digits: int | None, summands: Sequence[np.ndarray]
) -> jax.Array:
    """The plain array that all parties' summands stand for."""
    group = BOOLEAN if np.dtype(dtype) == bool else ARITHMETIC
    with compat.protocol_mode():
        words = group.sum(map(jnp.asarray, summands))
        return smpc.decode(words, np.dtype(dtype), smpc.encoding.with_digits(digits))
