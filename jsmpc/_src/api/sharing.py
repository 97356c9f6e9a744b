"""Sharing values among the parties, and disclosing them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import disclosed, fresh, poison, serialization
from jsmpc._src.api.held import is_held, session_of
from jsmpc._src.api.session import Reveal
from jsmpc._src.api.share import Share, checked, is_share
from jsmpc._src.errors import EncodingError, EncodingWarning, ProtocolError
from jsmpc._src.interpreter import underflow
from jsmpc._src.jaxprs import compat, lines, tracing
from jsmpc._src.jaxprs.disclosed import Disclosure, marked
from jsmpc._src.jaxprs.reveal import reveal_public
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN
from jsmpc._src.runtime import prf

Array = jax.Array


def share(key: Any, tree: Any, protocol: Protocol, workers: Sequence[Any] = ()) -> Any:
    """Split every array of a pytree into shares; the owner of the values does this.

    Args:
      key: from `jsmpc.random_key()` (or a `jax.random.key`, for tests); use it once.
      tree: a pytree of arrays or numbers: floating, integer or boolean.
      protocol: the protocol whose parties will compute on the shares.
      workers: who is whom: a worker for each party and, last, for the dealer. Each party's part is
        then kept by its worker and by nobody else, and what runs on the shares runs there. A leaf
        of the tree may be a pointer: its worker shares the value, which does not come here.

    Returns:
      the same pytree with a `Share` in the place of each array.

    Raises:
      EncodingError: for NaN, infinity or a value out of range, before anything is shared.
      KeyFormatError: for something that is not a key.

    Warns:
      EncodingWarning: of an array of numbers that are all rounded to zero by the encoding.

    Guarantee: the shares of any allowed set of corrupt parties are uniform and independent of
    the values. A simulation keeps all parties' shares in one process and hides nothing from it.
    Cost: the owner sends a word a party and element.

    Under `jax.vmap` every element gets masks of its own, also from a key that all have in common.
    Under `jit` a value that does not fit the encoding is an error when the share is revealed.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> jsmpc.share(jax.random.key(0), {"w": jnp.ones((2, 2))}, jsmpc.Replicated3())
      {'w': Share(float32[2, 2], Replicated3, party0, party1, party2)}
    """
    require_protocol(protocol)
    if workers:
        return workers[0].shared(key, tree, protocol, workers)
    serialization.register()
    key = fresh.key_of(key)
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_share)
    arrays = []
    for path, leaf in leaves:
        name = f"the value at {jax.tree_util.keystr(path)}" if path else "the value"
        arrays.append(fresh.without_tangent(plain(leaf, protocol, name)))
    with compat.protocol_mode():
        traced = tuple(map(tracing.is_traced, arrays))
        parts = _split(protocol, traced, protocol.state, prf.derive(key, "share"), arrays)
    shares = [Share(c, protocol, array.dtype) for array, c in zip(arrays, parts, strict=True)]
    return jax.tree.unflatten(treedef, shares)


def require_protocol(protocol: Any) -> None:
    """Raise ProtocolError unless it is one."""
    if not isinstance(protocol, Protocol):
        hint = f"{protocol.__name__}()" if isinstance(protocol, type) else "jsmpc.Replicated3()"
        found = repr(protocol) if isinstance(protocol, type) else type(protocol).__name__
        raise ProtocolError(f"expected a protocol such as {hint}, not {found}")


def plain(leaf: Any, protocol: Protocol, name: str) -> Array:
    """A value that is to be shared as an array, checked: EncodingError, EncodingWarning."""
    if is_share(leaf):
        raise ProtocolError(f"{name} is shared already: {leaf!r}")
    if tracing.is_traced(leaf):
        array = jnp.asarray(leaf)
    else:
        try:
            with jax.ensure_compile_time_eval():
                array = jnp.asarray(leaf)
        except OverflowError:
            raise EncodingError(_too_wide(name)) from None
        except (TypeError, ValueError):
            raise EncodingError(f"{name} is no array of numbers: {type(leaf).__name__}") from None
        if (
            jnp.issubdtype(array.dtype, jnp.integer)
            and (np.asarray(array) != np.asarray(leaf)).any()
        ):
            raise EncodingError(_too_wide(name))
    _check_kind(array, name)
    if not tracing.is_traced(array):
        whole = leaf if isinstance(leaf, np.ndarray) else array
        protocol.encoding.check(whole, protocol.ring, name)
        numbers = np.asarray(whole)
        if jnp.issubdtype(numbers.dtype, jnp.floating) and protocol.encoding.loses(numbers):
            said = underflow.of_shared(name, protocol.encoding)
            warnings.warn(said, EncodingWarning, stacklevel=3)
    return array


def _too_wide(name: str) -> str:
    return (
        f"{name} holds an integer that JAX would cut to 32 bits. Enable its 64-bit mode "
        "(jax.enable_x64), or use smaller values"
    )


def _check_kind(array: Array, name: str) -> None:
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        raise EncodingError(
            f"{name} has dtype {array.dtype}; only floating, integer and boolean arrays can be "
            "shared"
        )


def rows_of(
    protocol: Protocol, state: Any, keys: Sequence[Array], array: Array
) -> list[list[Array]]:
    """The shares of an array: of each array that a share is of, a row for each party.

    Args:
      state: what the parties keep; keys: as of `protocol.mask_keys`.
    """
    group = BOOLEAN if array.dtype == jnp.bool_ else ARITHMETIC
    parts = protocol.split(keys, protocol.encode(array), group, state)
    columns = zip(*parts, strict=True) if protocol.arrays > 1 else [parts]
    if group is BOOLEAN:
        return [[row & np.uint8(1) for row in column] for column in columns]
    return [list(column) for column in columns]


def _split_program(
    protocol: Protocol, traced: tuple[bool, ...], state: Any, key: Array, arrays: list[Array]
) -> list[tuple[Array, ...]]:
    """The arrays' shares, stacked by party; poisoned where unchecked values do not fit."""

    def split(key: Array, operands: tuple[Any, list[Array]]) -> list[tuple[Array, ...]]:
        (state, arrays), result = operands, []
        for i, array in enumerate(arrays):
            keys = protocol.mask_keys(prf.iterate(key, 1, i))
            stacked = [jnp.stack(rows) for rows in rows_of(protocol, state, keys, array)]
            if traced[i]:
                fits = protocol.encoding.fits(array, protocol.ring)
                stacked = [poison.poisoned_where(~fits, s) for s in stacked]
            result.append(tuple(stacked))
        return result

    return fresh.per_element(split)(key, (state, arrays))


_split = jax.jit(_split_program, static_argnums=(0, 1))


def reveal(tree: Any, to: str | int | None = None) -> Any:
    """Disclose every share of a pytree; the only thing that discloses.

    Outside of `jsmpc.secure` it takes shares and returns plain arrays. Inside, it makes a secret
    public to all parties or known to one, and is the identity in plain JAX, so that the same
    function runs with and without secrecy. Of an integer it discloses the bits of its dtype and no
    other.

    What one party alone knows inside, it may compute on with what is public, and return: the others
    have a marker in its place, as they have outside. It cannot meet secrets, what another party
    alone knows, loops or branches, in which all parties take part. In a loop's body it may be
    stacked as a result.

    Args:
      tree: a pytree of shares; other leaves are returned as they are.
      to: the party, by name or rank, that alone learns the values; by default all parties do. In a
        simulation the caller gets them in any case.

    Raises:
      ProtocolError: if `to` names no party; for a share whose arrays do not fit its protocol.
      UnsupportedError: inside, where what one party alone knows meets what it cannot.
      EncodingError: if a public operand of a computation that led to the share did not fit the
        encoding, and ran where that could not be raised.

    Cost: 1 round; a word a party and element (n-1 words with `Additive`), of the dtype's width for
    integers.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jax.random.key(0), jnp.arange(3.0), jsmpc.Replicated3())
      >>> jsmpc.reveal({"x": x, "n": 3})
      {'n': 3, 'x': Array([0., 1., 2.], dtype=float32)}
      >>> @jsmpc.secure
      ... def settled(x):  # party0 learns twice the sum, and everyone its sign
      ...     return 2 * jsmpc.reveal(x.sum(), to="party0"), jsmpc.reveal(x.sum() > 0)
      >>> settled(jax.random.key(1), x)
      (Array(6., dtype=float32), Array(True, dtype=bool))
    """
    leaves, treedef = jax.tree.flatten(tree, is_leaf=is_share)
    if held := [x for x in leaves if is_held(x)]:
        session_of(x for x in leaves if is_share(x) or is_held(x))
        values = iter(disclosed.revealed(held, to))
        return jax.tree.unflatten(treedef, [next(values) if is_held(x) else x for x in leaves])
    shares = [checked(x) for x in leaves if is_share(x)]
    for x in shares:
        if to is not None:
            x.protocol.rank(to)
    poison.require_sound(shares)
    return jax.tree.unflatten(treedef, [_reveal_leaf(x, to) for x in leaves])


def _reveal_leaf(x: Any, to: str | int | None) -> Any:
    if not is_share(x):
        return reveal_public(x, to)
    rank = None if to is None else x.protocol.rank(to)
    with compat.protocol_mode():
        value = disclosed.opened_here(
            x.protocol, x.dtype, x.digits, rank, x.protocol.state, x.components
        )
        if tracing.is_traced(x.components[0]) and jnp.issubdtype(x.dtype, jnp.floating):
            value = jnp.where(poison.is_poisoned(x), jnp.asarray(np.nan, value.dtype), value)
        if tracing.is_traced(value):
            shown = Reveal.of(x.protocol, rank, x.size, lines.short(lines.caller()))
            return marked(value, [Disclosure(shown.to, shown.elements, shown.line)])
        return value
