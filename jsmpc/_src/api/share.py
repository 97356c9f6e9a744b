"""A share: the secret array as users hold it, outside of secure functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import guard as guards
from jsmpc._src.api.opaque import Opaque
from jsmpc._src.errors import ProtocolError, SecretError
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol

Array = jax.Array


@jax.tree_util.register_pytree_with_keys_class
class Share(Opaque):
    """A secret array, shared among the parties of a protocol.

    A pytree of arrays of `uint32` or `uint64` (`uint8` for booleans) with the party on the leading
    axis, followed by the axes of the secret, and of a guard that holds nothing (see
    `jsmpc._src.api.guard`): so under `jax.vmap` the secret's first axis is axis 1. Outside of
    `jsmpc.secure` it can be moved, sliced along its axes from 1 on, stored, copied and revealed,
    and nothing else.

    Attributes:
      components: one array, or several where a protocol's shares are of several.
      protocol: the protocol whose parties hold it.
      dtype: the dtype of the secret, as the user's function sees it.
      digits: how many digits behind the point its numbers have, if not those of the protocol's
        encoding: results of functions that follow a plan, see `jsmpc.calibrate`.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> x = jsmpc.share(jax.random.key(0), jnp.ones((2, 3)), jsmpc.Replicated3())
      >>> x
      Share(float32[2, 3], Replicated3, party0, party1, party2)
      >>> x.components[0].shape, x.components[0].dtype
      ((3, 2, 3), dtype('uint64'))
    """

    components: tuple[Array, ...]
    protocol: Protocol
    dtype: np.dtype[Any]
    digits: int | None

    def __init__(
        self,
        components: tuple[Array, ...],
        protocol: Protocol,
        dtype: Any,
        digits: int | None = None,
    ):
        self.components = tuple(components)
        self.protocol = protocol
        self.dtype = np.dtype(dtype)
        self.digits = digits
        self._guard = guards.guard(tuple(self.components[0].shape[1:]))
        self._fits, self._sound = False, True

    def tree_flatten_with_keys(self) -> tuple[Any, tuple[Any, ...]]:
        names = [jax.tree_util.GetAttrKey(f"components[{i}]") for i in range(len(self.components))]
        names.append(jax.tree_util.GetAttrKey("guard"))
        leaves, aux = self.tree_flatten()
        return zip(names, leaves, strict=True), aux

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (*self.components, self._guard), (self.protocol, self.dtype, self.digits)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], leaves: Any) -> Share:
        share = object.__new__(cls)
        *components, share._guard = leaves
        share.components, (share.protocol, share.dtype, share.digits) = tuple(components), aux
        share._fits = share._sound = False
        for leaf in components:
            _refuse_other_words(share, leaf)
        return share

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the secret."""
        return tuple(self.components[0].shape[1:])

    @property
    def word(self) -> np.dtype[Any]:
        """The dtype of the components."""
        return np.dtype(np.uint8) if self.dtype == bool else self.protocol.ring.dtype

    def __repr__(self) -> str:
        shape = getattr(self.components[0], "shape", None) if self.components else None
        what = f"{self.dtype}{list(shape[1:])}" if shape is not None else str(self.dtype)
        return f"Share({what}, {type(self.protocol).__name__}, {', '.join(self.protocol.parties)})"

    def __copy__(self) -> Share:
        leaves, aux = self.tree_flatten()
        return self.tree_unflatten(aux, leaves)

    def __deepcopy__(self, memo: Any) -> Share:
        return self.__copy__()

    def __reduce__(self) -> Any:
        words = tuple(np.asarray(c) for c in self.components)
        return from_words, (words, self.protocol, self.dtype, self.digits)


def is_share(x: Any) -> bool:
    return isinstance(x, Share)


def from_words(
    words: tuple[Any, ...], protocol: Protocol, dtype: Any, digits: int | None = None
) -> Share:
    """A share from NumPy arrays, whatever the 64-bit mode."""
    with compat.protocol_mode():
        share = Share(tuple(map(jnp.asarray, words)), protocol, dtype, digits)
    share._sound = False
    return checked(share)


def _refuse_other_words(share: Share, leaf: Any) -> None:
    """Raise SecretError if a leaf that comes back is an array of other words than a share's."""
    dtype = getattr(leaf, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype == share.word:
        return
    if dtype == jax.dtypes.float0:
        raise SecretError(
            "a share cannot be differentiated from outside: put grad inside of the function that "
            "is passed to jsmpc.secure"
        )
    raise SecretError(
        f"the words of a share are {share.word}, and came back as {dtype}: they were computed on, "
        "or cut by JAX's 32-bit mode. Compute inside a function passed to jsmpc.secure; copy and "
        "store shares whole (pickle, copy, flax.serialization, jsmpc.to_arrays), or with "
        "jax.enable_x64(True)"
    )


def checked(x: Share) -> Share:
    """The share; ProtocolError unless its arrays are what parties of its protocol hold."""
    if x._fits:
        return x
    rows, shape = x.protocol.size, None
    for component in x.components:
        _refuse_other_words(x, component)
        fits = component.ndim and component.shape[0] == rows
        if not fits or shape not in (None, component.shape):
            raise ProtocolError(
                f"the leading axis of a share's array must have {rows} rows, one for "
                f"each party of {type(x.protocol).__name__}; found shape {component.shape}. Under "
                "jax.vmap, map shares over axis 1, 2, … (in_axes=1, out_axes=1): axis 0 is the "
                "party"
            )
        shape = component.shape
    if shape is None or getattr(x._guard, "shape", None) != (1, *shape[1:]):
        raise ProtocolError(
            f"the arrays of a share do not belong together: {shape} and a guard of shape "
            f"{getattr(x._guard, 'shape', None)}. Treat its leaves alike; under jax.vmap, map "
            "shares over axis 1, 2, … (in_axes=1, out_axes=1): axis 0 is the party"
        )
    if x._guard.dtype != guards.DTYPE:
        raise ProtocolError("the guard of a share was replaced by another array")
    x._fits = True
    return x
