"""Sharing values among the parties, and disclosing them."""

from __future__ import annotations

from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jsmpc._src.errors import EncodingError, ProtocolError, SecretError
from jsmpc._src.jaxprs.reveal import reveal_public
from jsmpc._src.network.network import AXIS
from jsmpc._src.network.simulated import Simulated
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime import prf

Array = jax.Array


@jax.tree_util.register_pytree_node_class
class Share:
    """A secret array, shared among the parties of a protocol.

    Its leaves are arrays of `uint32` or `uint64` (`uint8` for booleans) with the party on the
    leading axis, followed by the axes of the secret: so under `jax.vmap` the secret's first axis
    is axis 1. Outside of `jsmpc.secure` it can be passed around, stored, saved and revealed,
    and nothing else.

    Attributes:
      components: in simulation one array; on a mesh one for each component that a party holds.
      protocol: the protocol whose parties hold it.
      dtype: the dtype of the secret, as the user's function sees it.
    """

    def __init__(self, components: tuple[Array, ...], protocol: Protocol, dtype: Any):
        self.components = tuple(components)
        self.protocol = protocol
        self.dtype = np.dtype(dtype)

    def tree_flatten(self) -> tuple[tuple[Array, ...], tuple[Protocol, Any]]:
        return self.components, (self.protocol, self.dtype)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Protocol, Any], components: Any) -> Share:
        share = object.__new__(cls)
        share.components, (share.protocol, share.dtype) = tuple(components), aux
        return share

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the secret."""
        return tuple(self.components[0].shape[1:])

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def group(self) -> Group:
        return BOOLEAN if self.dtype == bool else ARITHMETIC

    def __repr__(self) -> str:
        shape = getattr(self.components[0], "shape", None) if self.components else None
        what = f"{self.dtype}{list(shape[1:])}" if shape is not None else str(self.dtype)
        return f"Share({what}, {type(self.protocol).__name__}, {', '.join(self.protocol.parties)})"

    def _refuse(self, what: str) -> NoReturn:
        raise SecretError(
            f"a secret cannot be used as {what}: {self!r}. Compute on it inside a function passed "
            "to jsmpc.secure, or disclose it with jsmpc.reveal"
        )

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("a NumPy array")

    def __jax_array__(self) -> NoReturn:
        self._refuse("a JAX array outside of jsmpc.secure")

    def __bool__(self) -> NoReturn:
        self._refuse("a Python bool")

    def __float__(self) -> NoReturn:
        self._refuse("a Python float")

    def __int__(self) -> NoReturn:
        self._refuse("a Python int")

    __index__ = __int__

    def __iter__(self) -> NoReturn:
        self._refuse("an iterable")

    def _operator(self, *_: Any) -> NoReturn:
        self._refuse("an operand outside of jsmpc.secure")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _operator
    __matmul__ = __rmatmul__ = __truediv__ = __rtruediv__ = __neg__ = __getitem__ = _operator
    __lt__ = __le__ = __gt__ = __ge__ = _operator


def is_share(x: Any) -> bool:
    return isinstance(x, Share)


def share(key: Any, tree: Any, protocol: Protocol, mesh: Mesh | None = None) -> Any:
    """Split every array of a pytree into shares; the owner of the values does this.

    Args:
      key: from `jsmpc.random_key()` (or a `jax.random.key`, for tests); use it once.
      tree: a pytree of arrays or numbers: floating, integer or boolean.
      protocol: the protocol whose parties will compute on the shares.
      mesh: a mesh with the axis `party`, to place each party's shares on its own device.

    Returns:
      the same pytree with a `Share` in the place of each array.

    Raises:
      EncodingError: for NaN, infinity or a value out of range, before anything is shared.
      KeyFormatError: for something that is not a key.

    Guarantee: the shares of any allowed set of corrupt parties are uniform and independent of
    the values. A simulation keeps all parties' shares in one process and hides nothing from it.
    Cost: the owner sends a word a party and element.
    """
    _check_protocol(protocol)
    key = prf.derive(prf.as_key(key), "share")
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_share)
    arrays = []
    for path, leaf in leaves:
        name = f"the value at {jax.tree_util.keystr(path)}" if path else "the value"
        arrays.append(_checked(leaf, protocol, name))
    with jax.enable_x64(True):
        parts = _split(protocol, key, arrays)
    shares = []
    for array, stacked in zip(arrays, parts, strict=True):
        components = (stacked,)
        if mesh is not None:
            with jax.enable_x64(True):
                sharding = NamedSharding(mesh, PartitionSpec(AXIS))
                components = jax.device_put(protocol.placed(stacked), sharding)
        shares.append(Share(components, protocol, array.dtype))
    return jax.tree.unflatten(treedef, shares)


def _check_protocol(protocol: Any) -> None:
    if not isinstance(protocol, Protocol):
        hint = f"{protocol.__name__}()" if isinstance(protocol, type) else "jsmpc.Replicated3()"
        raise ProtocolError(f"expected a protocol such as {hint}, not {protocol!r}")


def _checked(leaf: Any, protocol: Protocol, name: str) -> Array:
    if is_share(leaf):
        raise ProtocolError(f"{name} is shared already: {leaf!r}")
    if isinstance(leaf, jax.core.Tracer):
        array = jnp.asarray(leaf)
    else:
        try:
            array = jnp.asarray(leaf)
        except OverflowError as error:
            raise EncodingError(_too_wide(name)) from error
        except (TypeError, ValueError) as error:
            raise EncodingError(f"{name} is no array of numbers: {type(leaf).__name__}") from error
        if (
            jnp.issubdtype(array.dtype, jnp.integer)
            and (np.asarray(array) != np.asarray(leaf)).any()
        ):
            raise EncodingError(_too_wide(name))
        _check_kind(array, name)
        protocol.encoding.check(
            leaf if isinstance(leaf, np.ndarray) else array, protocol.ring, name
        )
    _check_kind(array, name)
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


def _split_program(protocol: Protocol, key: Array, arrays: list[Array]) -> list[Array]:
    result = []
    for i, array in enumerate(arrays):
        words = protocol.encode(array)
        group = BOOLEAN if array.dtype == jnp.bool_ else ARITHMETIC
        result.append(jnp.stack(protocol.split(prf.iterate(key, 1, i), words, group)))
    return result


_split = jax.jit(_split_program, static_argnums=0)


def reveal(tree: Any, to: str | int | None = None) -> Any:
    """Disclose every share of a pytree; the only thing that discloses.

    Outside of `jsmpc.secure` it takes shares and returns plain arrays. Inside, it makes a secret
    public to all parties, and is the identity in plain JAX, so that the same function runs with
    and without secrecy.

    Args:
      tree: a pytree of shares; other leaves are returned as they are.
      to: the party, by name or rank, that alone learns the values; by default all parties do.

    Raises:
      ProtocolError: if `to` names no party, or is used inside of `jsmpc.secure`.

    Cost: 1 round; a word a party and element (n-1 words with `Additive`).
    """
    return jax.tree.map(lambda x: _reveal_leaf(x, to), tree, is_leaf=is_share)


def _reveal_leaf(x: Any, to: str | int | None) -> Any:
    if not is_share(x):
        return reveal_public(x, to)
    rank = None if to is None else x.protocol.rank(to)
    check_components(x)
    with jax.enable_x64(True):
        return _opened(x, rank)


def check_components(x: Share) -> None:
    """Raise ProtocolError unless the leading axis of a share has a row for every party."""
    for component in x.components:
        if component.ndim == 0 or component.shape[0] != x.protocol.size:
            raise ProtocolError(
                f"the leading axis of a share's array must have {x.protocol.size} rows, one for "
                f"each party of {type(x.protocol).__name__}; found shape {component.shape}. Under "
                "jax.vmap, map shares over axis 1, 2, … (in_axes=1, out_axes=1): axis 0 is the "
                "party"
            )


def _open_program(x: Share, rank: int | None) -> Array:
    from jsmpc._src.runtime.context import Context

    network = Simulated(x.protocol.size)
    ctx = Context(network, None)
    secret = x.protocol.unpack(network, x.components[:1])
    if rank is None:
        words = x.protocol.open(ctx, secret, x.group)
    else:
        words = x.protocol.open_to(ctx, secret, rank, x.group).values[rank]
    return x.protocol.decode(words, x.dtype)


_opened = jax.jit(_open_program, static_argnums=1)
