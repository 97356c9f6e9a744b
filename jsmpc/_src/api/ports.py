"""Who gives the inputs of a secure program, and who gets its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jsmpc._src.api.outcome import is_result
from jsmpc._src.api.words import Words, is_words
from jsmpc._src.interpreter.private import is_private
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port


def of_keys(protocol: Protocol) -> list[Port]:
    """Each endpoint gives its own key."""
    return [Port(frozenset({i}), early=True) for i in range(len(protocol.endpoints))]


def of_inputs(protocol: Protocol, tree: Any, names: Sequence[str] = ()) -> list[Port]:
    """Of a share each party gives the rows that it holds; what is public, everyone has.

    Args:
      tree: the arguments; names: of its leaves, to be left out where none of them is public.
    """
    everyone = frozenset(range(len(protocol.endpoints)))
    ports: list[Port] = []
    for i, x in enumerate(jax.tree.leaves(tree, is_leaf=is_words)):
        if is_words(x):
            ports += _of_words(protocol, x)
        else:
            ports.append(Port(everyone, public=names[i]))
    return ports


def of_outputs(protocol: Protocol, tree: Any) -> list[Port]:
    """Of a share each party gets the rows that it holds; what is public, all parties get, and what
    was revealed to one, this one."""
    public = frozenset(range(protocol.size))
    ports: list[Port] = []
    for x in jax.tree.leaves(tree, is_leaf=is_result):
        if is_words(x):
            ports += _of_words(protocol, x)
        else:
            ports.append(Port(frozenset({x.rank}) if is_private(x) else public))
    return ports


def _of_words(protocol: Protocol, x: Words) -> list[Port]:
    return [Port(holders(protocol, row)) for rows in x.components for row in range(len(rows))]


def holders(protocol: Protocol, row: int) -> frozenset[int]:
    """The parties that hold a row of shares."""
    return frozenset(i for i in range(protocol.size) if row in protocol.holds(i))


def seeded(protocol: Protocol, row: int) -> frozenset[int]:
    """The endpoints that compute with a row of seeds."""
    endpoints = range(len(protocol.endpoints))
    return frozenset(i for i in endpoints if row in protocol.keys_of(i))


def apart(x: Any) -> Any:
    """A leaf of a call with a share's rows as arrays of their own, by shape."""
    if not is_words(x):
        return x
    rows = [[jax.ShapeDtypeStruct(c.shape[1:], c.dtype)] * c.shape[0] for c in x.components]
    return Words(tuple(map(tuple, rows)), x.protocol, x.dtype, x.digits)
