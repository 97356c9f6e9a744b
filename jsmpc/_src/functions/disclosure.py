"""Disclosure of a shared value, and of no more than its dtype shows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.network.messages import opened
from jsmpc._src.protocols.base import Protocol, V
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime.context import Context


def reveal(
    smpc: Protocol[V],
    ctx: Context,
    x: V | Bits[V],
    dtype: Any,
    encoding: FixedPoint | None = None,
) -> Any:
    """The plain array of a dtype, known to every party; see `Protocol.open` for the cost.

    Numbers are in the protocol's encoding unless another is given.
    """
    words, group = shown(smpc, x, dtype)
    return smpc.decode(opened(smpc.open(ctx, words, group)), dtype, encoding)


def reveal_to(
    smpc: Protocol[V],
    ctx: Context,
    x: V | Bits[V],
    dtype: Any,
    rank: int,
    encoding: FixedPoint | None = None,
) -> Any:
    """The plain array of a dtype, known to the party `rank` alone; see `Protocol.open_to`."""
    words, group = shown(smpc, x, dtype)
    value = opened(smpc.open_to(ctx, words, rank, group).values[rank], to=rank)
    return smpc.decode(value, dtype, encoding)


def shown(smpc: Protocol[V], x: V | Bits[V], dtype: Any) -> tuple[V, Group]:
    """Shares of the bits that a value of the dtype consists of.

    The lowest bits of a sum are the sum of the lowest bits: what an integer's dtype does not hold,
    as what wrapped around, and what the shares of a bit have above it, are left out.
    """
    if isinstance(x, Bits):
        return words_of(x.low(1)), BOOLEAN
    if jnp.issubdtype(dtype, jnp.integer):
        width = min(np.dtype(dtype).itemsize, smpc.bits // 8)
        return x.astype(f"uint{8 * width}"), ARITHMETIC
    return x, ARITHMETIC
