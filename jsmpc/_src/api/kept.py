"""What the parties of a stateful protocol keep beyond a call: each its own part, from a set-up."""

from __future__ import annotations

import functools
from typing import Any

import jax

from jsmpc._src.api import ports
from jsmpc._src.api.session import Purpose, Session
from jsmpc._src.errors import JsmpcError
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port, held_after, project
from jsmpc._src.runtime import prf


@functools.lru_cache(maxsize=64)
def _establishing(protocol: Protocol) -> tuple[Any, Any, tuple[Port, ...]]:
    """The program that establishes the state, the state's types, and who holds which of it."""
    keys = [jax.ShapeDtypeStruct((8,), "uint32")] * len(protocol.endpoints)
    establish = functools.partial(protocol.establish, Network(protocol.size, phase="setup"))
    with compat.protocol_mode():
        jaxpr, types = jax.make_jaxpr(establish, return_shape=True)(keys)
    everybody = protocol.endpoints, protocol.dealer is not None
    held = held_after(jaxpr, ports.of_keys(protocol), *everybody)
    return jaxpr, types, tuple(Port(endpoints, early=True) for endpoints in held)


def types(protocol: Protocol) -> Any:
    """The form and the types of a protocol's state; without leaves for one that has none."""
    return _establishing(protocol)[1]


def holders(protocol: Protocol) -> tuple[Port, ...]:
    """Who holds each leaf of a protocol's state: whoever does when it is established."""
    return _establishing(protocol)[2]


def established(session: Session) -> list[Any]:
    """This endpoint's part of a new state, which all endpoints of a session establish together."""
    smpc = session.protocol
    jaxpr, _, held = _establishing(smpc)
    if not held:
        return []
    everybody = smpc.endpoints, smpc.dealer is not None
    program = project(jaxpr, ports.of_keys(smpc), held, *everybody)
    purpose = Purpose(f"set-up of {type(smpc).__name__}")
    with compat.protocol_mode():
        return list(session.run(program, [prf.random_key()], purpose))


def refuse_files(session: Session, what: str, error: type[JsmpcError]) -> None:
    """Raise where what is stored would outlive the state that it belongs to."""
    if holders(session.protocol):
        raise error(
            f"{what} of {type(session.protocol).__name__} belong to what the parties keep in this "
            "session, and mean nothing in another: reveal or use them here"
        )
