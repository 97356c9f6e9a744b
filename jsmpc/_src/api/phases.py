"""A secure function in two phases: what is dealt before the inputs, and what is computed with it.

Each phase is a choreography of its own. Of what the first gives, each endpoint keeps its part; the
second takes these parts, and no keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jsmpc._src.api import choreographed, ports
from jsmpc._src.api.arguments import Call
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import PerParty
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.digest import digest
from jsmpc._src.readings.projection.projection import Port, Projection
from jsmpc._src.runtime import dealing
from jsmpc._src.runtime.context import Context

Array = jax.Array
Parts = Mapping[int, Sequence[Any]]  # of each endpoint at hand, what it was dealt, in order
Evaluate = Callable[[Call, Context, list[Any]], Any]


@dataclasses.dataclass(frozen=True)
class Phases:
    """Both phases of a call.

    Attributes:
      plan: what is dealt.
      dealing: the choreography from keys to what each party is dealt.
      online: the one from that and the arguments to the results, of the form `results`.
      types: the form and the types of all that is dealt; `holders` who gets each of its leaves.
      choreography: the fingerprint of `online`, for which alone it is dealt.
    """

    plan: dealing.Plan
    dealing: Projection
    online: Projection
    results: Any
    types: Any
    holders: list[Port]
    choreography: str

    def parts(self, dealt: Any) -> dict[int, list[Any]]:
        """What each endpoint gets of all that was dealt."""
        pairs = list(zip(jax.tree.leaves(dealt), self.holders, strict=True))
        names = range(len(self.dealing.names))
        return {e: [x for x, port in pairs if e in port.endpoints] for e in names}

    def joined(self, parts: Parts) -> Any:
        """The inverse of `parts`, where one machine has them all."""
        rest = {endpoint: iter(arrays) for endpoint, arrays in parts.items()}
        leaves = []
        for port in self.holders:
            first, *_ = [next(rest[e]) for e in sorted(port.endpoints)]
            leaves.append(first)
        return jax.tree.unflatten(jax.tree.structure(self.types), leaves)

    def fit(self, parts: Parts) -> bool:
        """Whether parts have the shapes and dtypes of what was dealt."""
        return all(
            [(tuple(x.shape), x.dtype) for x in arrays]
            == [(x.shape, x.dtype) for x in self.parts(self.types).get(endpoint, ())]
            for endpoint, arrays in parts.items()
        )


def of(call: Call, leaves: list[Any], evaluate: Evaluate) -> Phases:
    """The phases of a call of a function that `evaluate` runs."""
    protocol, rows = call.protocol, [ports.apart(x) for x in leaves]
    key = jax.ShapeDtypeStruct((8,), "uint32")
    keys = [key] * len(protocol.endpoints)
    planner = dealing.Planner()

    def planned(keys: Any, leaves: Any) -> None:
        network = Network(protocol.size)
        seeds = protocol.setup(network, keys)
        evaluate(call, Context(network, seeds, planner, state=protocol.state), leaves)

    with compat.protocol_mode():
        jax.eval_shape(planned, keys, rows)
    plan = planner.plan()
    dealer, types = choreographed.projected(
        protocol,
        lambda keys: dealt(protocol, plan, keys),
        (keys,),
        ports.of_keys(protocol),
        lambda out: _holders(protocol, out),
    )
    holders = _holders(protocol, types)
    online, results = choreographed.projected(
        protocol,
        lambda given, leaves: resumed(call, plan, given, leaves, evaluate),
        (types, rows),
        [*holders, *ports.of_inputs(protocol, rows)],
        lambda out: ports.of_outputs(protocol, out),
    )
    return Phases(plan, dealer, online, results, types, holders, digest(online))


def dealt(protocol: Protocol, plan: dealing.Plan, keys: Sequence[Any]) -> Any:
    """All seeds, rows apart, and all that the dealer sends."""
    network = Network(protocol.size, phase="offline")
    seeds = protocol.setup(network, keys)
    return tuple(map(tuple, network.pack(seeds))), dealing.offline(network, seeds, plan)


def resumed(
    call: Call,
    plan: dealing.Plan,
    given: Any,
    leaves: Any,
    evaluate: Evaluate,
    optimize: Callable[[Any], Any] = lambda f: f,
) -> Any:
    """The results, from what was dealt."""
    network, (seeds, corrections) = Network(call.protocol.size), given
    supplied = dealing.Supplied(plan, corrections)
    unpacked = call.protocol.unpack(network, seeds)
    ctx = Context(network, unpacked, supplied, optimize, call.protocol.state)
    return evaluate(call, ctx, leaves)


def _holders(protocol: Protocol, types: Any) -> list[Port]:
    """Who holds each of the leaves of what is dealt: seeds by row, the rest by party."""
    seeds, corrections = types
    found = [Port(ports.holders(protocol, i), True) for rows in seeds for i in range(len(rows))]
    for value in jax.tree.leaves(corrections, is_leaf=lambda x: isinstance(x, PerParty)):
        own = [i for i, x in enumerate(value.values) if x is not None]
        found += [Port(frozenset({i}), True) for i in own]
    return found
