"""Secrets of a deployment, disclosed to all of its parties or to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jsmpc._src.api import choreographed, ports
from jsmpc._src.api.held import Elsewhere
from jsmpc._src.api.session import Disclosure, Purpose
from jsmpc._src.api.words import Words
from jsmpc._src.functions import disclosure
from jsmpc._src.jaxprs import compat, lines
from jsmpc._src.network.network import Network
from jsmpc._src.readings.projection.projection import Port
from jsmpc._src.runtime.context import Context


def revealed(values: Sequence[Any], to: str | int | None) -> list[Any]:
    """`Held` values disclosed to all parties, or to one; markers where they are not known."""
    session = values[0].session
    smpc, network = session.protocol, Network(session.protocol.size)
    rank = None if to is None else smpc.rank(to)
    words = [x.words() for x in values]

    def program(secrets: list[Words]) -> list[Any]:
        ctx, found = Context(network, None, state=smpc.state), []
        for x in secrets:
            value = smpc.unpack(network, x.components)
            if rank is None:
                found.append(disclosure.reveal(smpc, ctx, value, x.dtype))
            else:
                found.append(disclosure.reveal_to(smpc, ctx, value, x.dtype, rank))
        return found

    rows = [ports.apart(x) for x in words]
    learns = frozenset(range(smpc.size) if rank is None else {rank})
    projection, results = choreographed.projected(
        smpc,
        program,
        (rows,),
        ports.of_inputs(smpc, rows),
        lambda out: [Port(learns)] * len(jax.tree.leaves(out)),
    )
    whom = "everyone" if rank is None else smpc.parties[rank]
    line = lines.short(lines.caller())
    shown = tuple(Disclosure(whom, x.size, line) for x in values)
    with compat.protocol_mode():
        given = choreographed.given(words, iter(values))
        out = session.run(projection, given, Purpose(f"reveal to {whom}", shown))
    if session.endpoint in learns:
        return out
    known = "the parties" if rank is None else whom
    return [Elsewhere(x.shape, x.dtype, known) for x in results]
