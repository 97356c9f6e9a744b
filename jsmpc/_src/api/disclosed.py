"""Secrets of a deployment, disclosed to all of its parties or to one."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.api import choreographed, ports
from jsmpc._src.api.director import Director, Placed, share_of
from jsmpc._src.api.held import Elsewhere, Held
from jsmpc._src.api.session import Purpose, Reveal
from jsmpc._src.api.words import Words
from jsmpc._src.functions import disclosure
from jsmpc._src.interpreter.findings import SOUND
from jsmpc._src.interpreter.private import Private
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.jaxprs import compat, lines
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port, Projection
from jsmpc._src.runtime.context import Context

Array = jax.Array


def opened(
    protocol: Protocol,
    dtype: Any,
    digits: int | None,
    rank: int | None,
    state: Any,
    components: tuple[Any, ...],
) -> Array:
    """The value of a share, for all parties or for one: a program of all of them."""
    network = Network(protocol.size)
    ctx = Context(network, None, state=state)
    secret = Secret.of(protocol.unpack(network, components), dtype).shares
    encoding = protocol.encoding.with_digits(digits)
    if rank is None:
        return disclosure.reveal(protocol, ctx, secret, dtype, encoding)
    return disclosure.reveal_to(protocol, ctx, secret, dtype, rank, encoding)


opened_here = jax.jit(opened, static_argnums=(0, 1, 2, 3))


def _put_together(session: Director, x: Any) -> Array:
    """The value of a share whose parts are elsewhere, from all of them."""
    assert isinstance(x, Placed)
    smpc = x.protocol
    with compat.protocol_mode():
        words = tuple(map(jnp.asarray, share_of(x, session.fetch)))
        return opened_here(smpc, x.dtype, x.digits, None, smpc.state, words)


@functools.lru_cache(maxsize=256)
def _opening(
    smpc: Protocol, rank: int | None, types: tuple[tuple[Any, ...], ...]
) -> tuple[Projection, Any]:
    """The program that discloses shares of these shapes and dtypes."""
    rows = [ports.apart(Words.of(smpc, *kind)) for kind in types]
    learns = Port(frozenset(range(smpc.size) if rank is None else {rank}))
    return choreographed.projected(
        smpc,
        lambda state, secrets: [
            opened(smpc, x.dtype, x.digits, rank, state, x.components) for x in secrets
        ],
        (rows,),
        ports.of_inputs(smpc, rows),
        lambda out: [learns] * len(out),
    )


def revealed(values: Sequence[Held], to: str | int | None) -> list[Any]:
    """`Held` values disclosed to all parties, or to one; markers where they are not known."""
    session = values[0].session
    smpc = session.protocol
    rank = None if to is None else smpc.rank(to)
    if isinstance(session, Director) and rank is None:
        return [_put_together(session, x) for x in values]
    projection, results = _opening(smpc, rank, tuple((x.shape, x.dtype, x.digits) for x in values))
    whom = "everyone" if rank is None else smpc.parties[rank]
    line = lines.short(lines.caller())
    shown = tuple(Reveal.of(smpc, rank, x.size, line) for x in values)
    if isinstance(session, Director) and rank is not None:
        kinds = [x.words() for x in values]
        purpose = Purpose(f"reveal to {whom}", shown)
        found: Any = [Private(x, rank) for x in results], SOUND
        shared = list[Any](session.direct((projection, found), purpose, (), kinds, values))
        return shared
    with compat.protocol_mode():
        given = [*session.state, *(row for x in values for rows in x.rows for row in rows)]
        out = session.run(projection, given, Purpose(f"reveal to {whom}", shown))
    if session.is_party and rank in (None, session.endpoint):
        return out
    known = "the parties" if rank is None else whom
    return [Elsewhere(x.shape, x.dtype, known) for x in results]
