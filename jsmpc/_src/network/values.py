"""Per-party values: what the parties of one program hold, in one object.

In the simulation, a value that only some parties hold is absent (`None`) for the others, so a
protocol step that uses a value its party does not hold fails while it is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax import lax

from jsmpc._src.ring import words

V = TypeVar("V", bound="PerParty")  # a protocol's own kind of per-party value

Public = jax.Array | np.ndarray | np.generic


class PerParty:
    """Arrays of one shape, one for each place; acts elementwise."""

    def __init__(self, values: Iterable[Any]):
        self.values = tuple(values)

    def map(self: V, f: Callable[..., Any], *others: Any) -> V:
        """The same local computation at every place; other operands public or per-party."""
        columns = [o.values if isinstance(o, PerParty) else (o,) * len(self.values) for o in others]
        for other in others:
            if isinstance(other, PerParty) and type(other) is not type(self):
                raise TypeError(f"{type(self).__name__} combined with {type(other).__name__}")
        return type(self)(
            None if value is None or any(v is None for v in rest) else f(value, *rest)
            for value, *rest in zip(self.values, *columns, strict=True)
        )

    def maps(self: V, f: Callable[..., Sequence[Any]], *others: Any) -> list[V]:
        """Like `map`, for a computation with several results."""
        results = self.map(lambda *args: tuple(f(*args)), *others).values
        count = len(next(r for r in results if r is not None))
        return [type(self)(None if r is None else r[i] for r in results) for i in range(count)]

    def turned(self: V, turn: int) -> V:
        """Each place takes the value of the place `turn` after it."""
        at = turn % len(self.values)
        return type(self)(self.values[at:] + self.values[:at])

    @property
    def dealt(self: V) -> Any:
        """Of seeds, those that a dealer has too, one a party."""
        return self

    @property
    def example(self) -> Any:
        """One of the arrays, for its shape and dtype."""
        return next(v for v in self.values if v is not None)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.example.shape)

    @property
    def dtype(self) -> Any:
        return self.example.dtype

    def __add__(self: V, other: V | Public) -> V:
        return self.map(words.add, other)

    def __sub__(self: V, other: V | Public) -> V:
        return self.map(words.subtract, other)

    def __mul__(self: V, other: V | Public) -> V:
        return self.map(words.multiply, other)

    def __neg__(self: V) -> V:
        return self.map(lax.neg)

    def __xor__(self: V, other: V | Public) -> V:
        return self.map(words.xor, other)

    def __and__(self: V, other: V | Public) -> V:
        return self.map(words.conjunction, other)

    def __lshift__(self: V, n: int) -> V:
        return self.map(words.left, n)

    def astype(self: V, dtype: Any) -> V:
        return self.map(words.cast, dtype)


@jax.tree_util.register_pytree_node_class
class Local(PerParty):
    """A value that each party holds by itself: one array a party."""

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Local:
        return cls(values)


@jax.tree_util.register_pytree_node_class
class Replica(PerParty):
    """Components 0, 1, … of which party i holds the i-th, its own, and the next.

    A program keeps each component once, although two parties hold it.
    """

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Replica:
        return cls(values)


@jax.tree_util.register_pytree_node_class
class Pairwise(PerParty):
    """Seeds, or draws from them, of pairs: of each party and a helper, by rank, and last the one
    that the parties have in common and the helper has not.
    """

    @property
    def dealt(self) -> Local:
        return Local(self.values[:-1])

    @property
    def common(self) -> Any:
        """What all parties have, and the helper has not."""
        return self.values[-1]

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _: None, values: Any) -> Pairwise:
        return cls(values)
