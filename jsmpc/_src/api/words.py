"""The components of a share, inside of a program."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api.share import Share
from jsmpc._src.protocols.base import Protocol


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Words:
    """The components of a share, inside of a compiled program: rows apart, or one array.

    Numbers have `digits` behind the point, if not those of the protocol's encoding.
    """

    components: tuple[Any, ...]
    protocol: Protocol = dataclasses.field(metadata={"static": True})
    dtype: np.dtype[Any] = dataclasses.field(metadata={"static": True})
    digits: int | None = dataclasses.field(default=None, metadata={"static": True})

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        digits: int | None = None,
    ) -> Words:
        """The types of a share's components, for tracing."""
        word = np.dtype(np.uint8) if dtype == np.dtype(bool) else protocol.ring.dtype
        stacked = jax.ShapeDtypeStruct((protocol.size, *shape), word)
        return cls((stacked,) * protocol.arrays, protocol, dtype, digits)

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.components[0]
        return tuple(first[0].shape if isinstance(first, tuple) else first.shape[1:])

    def stacked(self) -> Words:
        """With the parties on the leading axis, from rows apart."""
        return dataclasses.replace(self, components=tuple(map(jnp.stack, self.components)))

    def share(self) -> Share:
        share = Share(self.components, self.protocol, self.dtype, self.digits)
        share._fits = True
        return share


def is_words(x: Any) -> bool:
    return isinstance(x, Words)
