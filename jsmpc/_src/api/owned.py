"""What one party of a deployment owns, and shares among all."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.api import choreographed, ports, sharing
from jsmpc._src.api.held import Held
from jsmpc._src.api.session import Purpose, Session, current
from jsmpc._src.api.words import Words
from jsmpc._src.errors import EncodingError, ProtocolError
from jsmpc._src.jaxprs import compat
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port, Projection
from jsmpc._src.runtime import prf

_KEY = jax.ShapeDtypeStruct((8,), np.uint32)


def input(
    value: Any,
    owner: str,
    protocol: Protocol | None = None,
    *,
    like: Any = None,
    label: str | None = None,
) -> Any:
    """Secrets of one party, shared among all: the same line in every party's program.

    In a program that runs in processes of its parties (`jsmpc launch`, `jsmpc party`), the owner
    alone passes values, the others their shapes. In a simulation it is `share` with a fresh key.

    Args:
      value: a pytree of arrays, or a function without arguments that returns one and is called by
        the owner alone, to read a file of its own for instance; where the owner is another party,
        a pytree of anything with a shape and a dtype.
      owner: the name of the party that has the values.
      protocol: that of the simulation; in a session it may be left out, and must be the session's.
      like: the shapes, for those who are not the owner, where `value` is a function.
      label: how policies name this input.

    Returns:
      the same pytree with a secret in the place of each array.

    Raises:
      ProtocolError: if `owner` is no party, or `protocol` is not the session's.
      EncodingError: as for `share`, at the owner; the others end with an error that names it.

    Guarantee: that of `share`: all rows but the owner's own are uniform and independent of the
    values. Cost: 1 round. The owner sends a key, 32 bytes, for each array and mask that a party
    holds; the one row that is no mask is its own, and goes to others where they hold it too, in
    `Replicated3` to one party.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> smpc = jsmpc.Replicated3(parties=("alice", "bob", "carol"))
      >>> shape = jax.ShapeDtypeStruct((3,), jnp.float32)
      >>> x = jsmpc.input(lambda: jnp.arange(3.0), owner="alice", protocol=smpc, like=shape)
      >>> jsmpc.reveal(x)
      Array([0., 1., 2.], dtype=float32)
    """
    session = current()
    smpc = _protocol(session, protocol)
    rank = smpc.rank(owner)
    if session is None:
        return sharing.share(prf.random_key(), value() if callable(value) else value, smpc)
    mine = session.endpoint == rank
    if mine:
        tree = value() if callable(value) else value
    else:
        tree = like if like is not None else value
        if callable(tree):
            raise ProtocolError(
                f"{session.name} does not own this input of {owner} and needs its shapes: "
                "jsmpc.input(load, owner=…, like=shapes)"
            )
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    names = [f"the value at {jax.tree_util.keystr(p)}" if p else "the value" for p, _ in leaves]
    arrays: list[Any]
    if mine:
        arrays = [sharing.plain(x, smpc, n) for n, (_, x) in zip(names, leaves, strict=True)]
    else:
        arrays = [_type_of(x, n) for n, (_, x) in zip(names, leaves, strict=True)]
    held = _shared(session, smpc, rank, arrays, label)
    return jax.tree.unflatten(treedef, held)


def protocol(default: Protocol) -> Protocol:
    """The protocol of the session that a program was started in; in a simulation `default`.

    Example:
      >>> import jsmpc
      >>> smpc = jsmpc.protocol(jsmpc.Replicated3(parties=("alice", "bob", "carol")))
      >>> smpc.parties
      ('alice', 'bob', 'carol')
    """
    session = current()
    return default if session is None else session.protocol


def _protocol(session: Session | None, protocol: Protocol | None) -> Protocol:
    if session is None:
        sharing.require_protocol(protocol)
        assert protocol is not None
        return protocol
    if protocol is not None and protocol != session.protocol:
        raise ProtocolError(
            f"the program wants {protocol}, and its parties run {session.protocol}. Leave protocol "
            "out, or name the same parties, ring and encoding in both"
        )
    return session.protocol


def _type_of(x: Any, name: str) -> jax.ShapeDtypeStruct:
    """The type that a value has at its owner, in the 64-bit mode of this program."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        x = np.asarray(x)
        if x.dtype == object:
            raise EncodingError(f"{name} has no shape and dtype: pass jax.ShapeDtypeStruct")
    dtype = jax.dtypes.canonicalize_dtype(x.dtype)
    return jax.ShapeDtypeStruct(x.shape, dtype)


@functools.lru_cache(maxsize=256)
def _splitting(
    smpc: Protocol, owner: int, types: tuple[tuple[tuple[int, ...], Any], ...]
) -> tuple[Projection, Any]:
    """The choreography in which the owner splits arrays, and each party gets its rows.

    The first row, which is no mask, becomes the owner's own. Of the others the keys are sent: who
    knows the key of a row draws it, so that the row is not sent too.
    """
    network = Network(smpc.size)

    def program(state: Any, key: Any, arrays: list[Any]) -> list[Words]:
        root, shares = prf.derive(key, "share"), []
        for i, array in enumerate(arrays):
            keys = smpc.mask_keys(prf.iterate(root, 1, i))
            _sent(network, smpc, owner, [None, *keys])
            columns = sharing.rows_of(smpc, state, keys, array)
            rows = tuple(_sent(network, smpc, owner, column) for column in columns)
            shares.append(Words(rows, smpc, array.dtype))
        return shares

    only = frozenset({owner})
    return choreographed.projected(
        smpc,
        program,
        (_KEY, [jax.ShapeDtypeStruct(*kind) for kind in types]),
        [Port(only, early=True), *[Port(only)] * len(types)],
        lambda out: ports.of_outputs(smpc, out),
    )


def _shared(
    session: Session, smpc: Protocol, owner: int, arrays: Sequence[Any], label: str | None
) -> list[Held]:
    types = tuple((tuple(x.shape), np.dtype(x.dtype)) for x in arrays)
    projection, results = _splitting(smpc, owner, types)
    name = smpc.parties[owner]
    purpose = Purpose(f"input of {name}", inputs=(label,) if label else (), owner=name)
    with compat.protocol_mode():
        given = [prf.random_key(), *arrays] if session.endpoint == owner else []
        out = session.run(projection, [*session.state, *given], purpose)
        return list(choreographed.gotten(session, results, out))


def _sent(network: Network, smpc: Protocol, owner: int, given: Sequence[Any]) -> tuple[Any, ...]:
    """Rows, or their keys, that the owner has, the first for itself; known to all who hold them."""
    rows = tuple(given[(i - owner) % smpc.size] for i in range(smpc.size))
    for rank in range(smpc.size):
        for row in smpc.holds(rank):
            if rank != owner and rows[row] is not None:
                network.send(network.only(owner, rows[row]), {owner: rank})
    return rows
