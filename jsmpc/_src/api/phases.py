"""A secure function in two phases: what is dealt before the inputs, and what is computed with it.

Each phase is a choreography of its own. Of what the first gives, each endpoint keeps its part; the
second takes these parts, and no keys. Where a dealer keeps a stock, there is another: the dealer
has all that is dealt, and hands it out while the parties compute.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jsmpc._src.api import choreographed, kept, ports
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


class Phases:
    """Both phases of a call of a function that `evaluate` runs.

    What only some need, the two choreographies among it, is found when it is asked for.

    Attributes:
      plan: what is dealt.
    """

    def __init__(self, call: Call, leaves: list[Any], evaluate: Evaluate) -> None:
        self._call, self._evaluate = call, evaluate
        self._rows = [ports.apart(x) for x in leaves]
        self._names = call.names(leaves)
        self._keys = [jax.ShapeDtypeStruct((8,), "uint32")] * len(call.protocol.endpoints)
        self._state = kept.types(call.protocol)
        planner = dealing.Planner()
        with compat.protocol_mode():
            program = functools.partial(together, call, evaluate=evaluate, dealer=planner)
            jax.eval_shape(program, self._state, self._keys, self._rows)
        self.plan = planner.plan()

    def deal(self, state: Any, keys: Sequence[Any]) -> Any:
        """All seeds, rows apart, and all that the dealer sends."""
        return dealt(self._call.protocol, self.plan, state, keys)

    @functools.cached_property
    def _types(self) -> Any:
        """The form and the types of all that is dealt."""
        with compat.protocol_mode():
            return jax.eval_shape(self.deal, self._state, self._keys)

    @functools.cached_property
    def _holders(self) -> list[Port]:
        """Who gets each leaf of what is dealt."""
        return _holders(self._call.protocol, self._types)

    @functools.cached_property
    def dealing(self) -> Projection:
        """The choreography from keys to what each party is dealt."""
        smpc = self._call.protocol
        keys, holders = ports.of_keys(smpc), functools.partial(_holders, smpc)
        return choreographed.projected(smpc, self.deal, (self._keys,), keys, holders)[0]

    @functools.cached_property
    def online(self) -> tuple[Projection, Any]:
        """The one from that and the arguments to the results, and their form."""
        smpc, evaluate = self._call.protocol, self._evaluate
        return choreographed.projected(
            smpc,
            lambda state, given, leaves: resumed(
                self._call, self.plan, state, given, leaves, evaluate
            ),
            (self._types, self._rows),
            [*self._holders, *ports.of_inputs(smpc, self._rows, self._names)],
            functools.partial(ports.of_outputs, smpc),
        )

    @functools.cached_property
    def served(self) -> tuple[Projection, Any]:
        """As `online`, where the dealer gives all that was dealt and sends each party its part."""
        smpc, evaluate = self._call.protocol, self._evaluate
        only = frozenset({len(smpc.endpoints) - 1})

        def program(state: Any, given: Any, leaves: Any) -> Any:
            handed_out = _handed_out(smpc, Network(smpc.size), given)
            return resumed(self._call, self.plan, state, handed_out, leaves, evaluate)

        return choreographed.projected(
            smpc,
            program,
            (self._types, self._rows),
            [
                *[Port(only, early=True)] * len(self._holders),
                *ports.of_inputs(smpc, self._rows, self._names),
            ],
            functools.partial(ports.of_outputs, smpc),
        )

    @functools.cached_property
    def choreography(self) -> str:
        """The fingerprint of the online phase, for which alone it is dealt."""
        return digest(self.online[0])

    def parts(self, dealt: Any) -> dict[int, list[Any]]:
        """What each endpoint gets of all that was dealt."""
        pairs = list(zip(jax.tree.leaves(dealt), self._holders, strict=True))
        names = range(len(self._call.protocol.endpoints))
        return {e: [x for x, port in pairs if e in port.endpoints] for e in names}

    def joined(self, parts: Parts) -> Any:
        """The inverse of `parts`, where one machine has them all."""
        rest = {endpoint: iter(arrays) for endpoint, arrays in parts.items()}
        leaves = []
        for port in self._holders:
            first, *_ = [next(rest[e]) for e in sorted(port.endpoints)]
            leaves.append(first)
        return jax.tree.unflatten(jax.tree.structure(self._types), leaves)

    @functools.cached_property
    def _expected(self) -> dict[int, list[Any]]:
        return {e: _kinds(arrays) for e, arrays in self.parts(self._types).items()}

    def fit(self, parts: Parts) -> bool:
        """Whether parts have the shapes and dtypes of what was dealt."""
        return all(_kinds(x) == self._expected.get(e, []) for e, x in parts.items())


def _kinds(arrays: Sequence[Any]) -> list[Any]:
    return [(tuple(x.shape), x.dtype) for x in arrays]


def together(
    call: Call,
    state: Any,
    keys: Sequence[Any],
    leaves: list[Any],
    evaluate: Evaluate,
    optimize: Callable[[Any], Any] = lambda f: f,
    dealer: dealing.Dealer | None = None,
) -> Any:
    """The results, from a key for each endpoint: both phases in one."""
    network = Network(call.protocol.size)
    seeds = call.protocol.setup(network, keys)
    return evaluate(call, Context(network, seeds, dealer, optimize, state), leaves)


def dealt(protocol: Protocol, plan: dealing.Plan, state: Any, keys: Sequence[Any]) -> Any:
    """All seeds, rows apart, and all that the dealer sends."""
    network = Network(protocol.size, phase="offline")
    seeds = protocol.setup(network, keys)
    return tuple(map(tuple, network.pack(seeds))), dealing.offline(network, seeds, plan, state)


def _handed_out(protocol: Protocol, network: Network, given: Any) -> Any:
    """All that is dealt, once the dealer has sent each leaf of it to those who hold it.

    Seeds come first; of the rest each message may wait until it is needed.
    """
    leaves, treedef = jax.tree.flatten(given)
    seeds = len(jax.tree.leaves(given[0]))
    for number, port in enumerate(_holders(protocol, given)):
        of_phase = network.during("setup" if number < seeds else "offline")
        for endpoint in sorted(port.endpoints):
            sent = of_phase.deliver(network.only(endpoint, leaves[number]))
            leaves[number] = sent.values[endpoint]
    return jax.tree.unflatten(treedef, leaves)


def resumed(
    call: Call,
    plan: dealing.Plan,
    state: Any,
    given: Any,
    leaves: Any,
    evaluate: Evaluate,
    optimize: Callable[[Any], Any] = lambda f: f,
) -> Any:
    """The results, from what was dealt."""
    network, (seeds, corrections) = Network(call.protocol.size), given
    supplied = dealing.Supplied(plan, corrections)
    unpacked = call.protocol.unpack_seeds(network, seeds)
    ctx = Context(network, unpacked, supplied, optimize, state)
    return evaluate(call, ctx, leaves)


def _holders(protocol: Protocol, types: Any) -> list[Port]:
    """Who holds each of the leaves of what is dealt: seeds by row, the rest by party."""
    seeds, corrections = types
    numbers = [i for rows in seeds for i in range(len(rows))]
    found = [Port(ports.seeded(protocol, i), early=True) for i in numbers]
    for value in jax.tree.leaves(corrections, is_leaf=lambda x: isinstance(x, PerParty)):
        own = [i for i, x in enumerate(value.values) if x is not None]
        found += [Port(frozenset({i}), True) for i in own]
    return found
