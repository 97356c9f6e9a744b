"""From the arguments of a call to arrays and shares, and what is static about them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.api import fresh
from jsmpc._src.api.held import Elsewhere, is_held
from jsmpc._src.api.share import checked, is_share
from jsmpc._src.api.words import Words, is_words
from jsmpc._src.errors import ProtocolError
from jsmpc._src.jaxprs import compat, tracing
from jsmpc._src.protocols.base import Protocol


@dataclasses.dataclass(frozen=True)
class Call:
    """All that is static about a call."""

    treedef: Any
    static: tuple[tuple[int | str, Any], ...]
    protocol: Protocol
    user_x64: bool

    def arguments(self, leaves: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of the user's function, with static ones in their places."""
        args, kwargs = jax.tree.unflatten(self.treedef, leaves)
        for place, value in self.static:
            (args if isinstance(place, int) else kwargs)[place] = value
        return args, kwargs

    def names(self, leaves: Sequence[Any]) -> list[str]:
        """What messages call the leaves: `argument [0]['w']`."""
        tree = jax.tree.unflatten(self.treedef, leaves)
        found, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_words)
        return [f"argument {jax.tree_util.keystr(path[1:])}" for path, _ in found]


@dataclasses.dataclass(frozen=True)
class Static:
    """Which arguments are no arrays, by position and by name, as for `jax.jit`."""

    positions: tuple[int, ...]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        f: Callable[..., Any],
        argnums: int | Sequence[int] | None,
        argnames: str | Sequence[str] | None,
    ) -> Static:
        """From what the user named; each also in the other way, where the function tells it."""
        positions = [argnums] if isinstance(argnums, int) else list(argnums or ())
        names = [argnames] if isinstance(argnames, str) else list(argnames or ())
        parameters = _positional(f)
        if parameters is not None:
            positions = [i if i >= 0 else i + len(parameters) for i in positions]
            inferred = [parameters[i] for i in positions if i < len(parameters)]
            positions += [parameters.index(n) for n in names if n in parameters]
            names += inferred
        return cls(tuple(dict.fromkeys(positions)), tuple(dict.fromkeys(names)))


def _positional(f: Callable[..., Any]) -> list[str] | None:
    """The names of a function's positional parameters, if it tells."""
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in parameters if p.kind in kinds]


def flatten(name: str, static: Static, args: Any, kwargs: Any) -> tuple[Call, list[Any], list[Any]]:
    """What is static about a call; its leaves, arrays and `Words` for shares; and the shares.

    Raises:
      ProtocolError: without any share, or for shares of several protocols.
      TypeError: for an argument that is neither an array nor a share.
    """
    fixed: list[tuple[int | str, Any]] = [(i, args[i]) for i in static.positions if i < len(args)]
    fixed += [(n, kwargs[n]) for n in static.names if n in kwargs]
    for place, value in fixed:
        require_hashable(name, place, value)
    dynamic = [None if i in static.positions else a for i, a in enumerate(args)]
    named = {n: None if n in static.names else a for n, a in kwargs.items()}
    found, treedef = jax.tree.flatten((dynamic, named), is_leaf=is_share)
    try:
        leaves = [_leaf(x) for x in found]
    except _NoArray:
        raise TypeError(_no_array(name, (dynamic, named))) from None
    protocol = _common_protocol(name, [x for x in leaves if is_words(x)])
    shares = [x for x in found if is_share(x) or is_held(x)]
    return Call(treedef, tuple(fixed), protocol, compat.x64_enabled()), leaves, shares


def types(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """What of arguments a program depends on."""
    return tuple((x.shape, x.dtype, getattr(x, "digits", None)) for x in leaves)


class _NoArray(Exception):
    """An argument that is neither an array nor a share."""


def _array(x: Any) -> Any:
    if isinstance(x, jax.Array | jax.ShapeDtypeStruct):
        return x
    try:
        if isinstance(x, str | bytes):  # of which JAX makes dtypes
            raise TypeError
        return jnp.asarray(x)
    except (TypeError, ValueError):
        raise _NoArray from None


def _leaf(x: Any) -> Any:
    if is_held(x):
        return x.words()
    if isinstance(x, Elsewhere):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)
    if is_share(x):
        checked(x)
        return Words(x.components, x.protocol, x.dtype, x.digits)
    return fresh.without_tangent(_array(x))


def _no_array(name: str, arguments: Any) -> str:
    """What is wrong about the first argument that is no array, without its value."""
    for path, x in jax.tree_util.tree_flatten_with_path(arguments, is_leaf=is_share)[0]:
        try:
            _array(x) if not is_share(x) else None
        except _NoArray:
            return (
                f"an argument of {name} ({jax.tree_util.keystr(path[1:])}) is neither an array nor "
                f"a share but of type {type(x).__name__}. Name it in static_argnums or "
                "static_argnames, or close over it"
            )
    raise AssertionError("no argument is at fault")


def require_hashable(name: str, place: int | str, value: Any) -> None:
    try:
        hash(value)
    except TypeError as error:
        raise TypeError(
            f"the static argument {place!r} of {name} must be hashable; its type "
            f"{type(value).__name__} is not. Use a tuple, a frozen dataclass, or close over it"
        ) from error


def _common_protocol(name: str, shares: list[Words]) -> Protocol:
    protocols = {x.protocol: x for x in shares}
    if not protocols:
        raise ProtocolError(
            f"no argument of {name} is a share, so there is no protocol to run: nothing would be "
            "secret. Share the secret arguments with jsmpc.share and pass them as arguments (a "
            "share that is captured by closure is not seen), or call the function itself"
        )
    if len(protocols) > 1:
        first, second = list(protocols)[:2]
        raise ProtocolError(
            "shares of two protocols, rings or encodings cannot be computed on together: "
            f"{first} and {second}. Share all operands with one protocol"
        )
    return next(iter(protocols))


def any_traced(tree: Any) -> bool:
    """Whether an array of a pytree is not known yet."""
    return any(map(tracing.is_traced, jax.tree.leaves(tree)))


def signature_of(f: Callable[..., Any]) -> inspect.Signature:
    """That of `f` after a key."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    try:
        rest = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        any_args = inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)
        rest = [any_args, inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)]
    taken = {p.name for p in rest}
    name = next(n for n in ("key", "key_", "jsmpc_key", "run_key") if n not in taken)
    return inspect.Signature([inspect.Parameter(name, kind), *rest])
