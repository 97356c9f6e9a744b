"""Disclosure of a shared value, and of no more than its dtype shows."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime.context import Context


def reveal(
    smpc: Protocol, ctx: Context, x: Shared, dtype: Any, encoding: FixedPoint | None = None
) -> Any:
    """The plain array of a dtype, known to every party; see `Protocol.open` for the cost.

    Numbers are in the protocol's encoding unless another is given.
    """
    x, group = _shown(smpc, x, dtype)
    return smpc.decode(smpc.open(ctx, x, group), dtype, encoding)


def reveal_to(smpc: Protocol, ctx: Context, x: Shared, dtype: Any, rank: int) -> Any:
    """The plain array of a dtype, known to the party `rank` alone; see `Protocol.open_to`."""
    x, group = _shown(smpc, x, dtype)
    return smpc.decode(smpc.open_to(ctx, x, rank, group).values[rank], dtype)


def _shown(smpc: Protocol, x: Shared, dtype: Any) -> tuple[Shared, Group]:
    """Shares of the bits that a value of the dtype consists of.

    The lowest bits of a sum are the sum of the lowest bits: what an integer's dtype does not hold,
    as what wrapped around, and the upper bits of a byte that stands for a boolean, are left out.
    """
    if dtype == np.dtype(bool):
        return x & np.uint8(1), BOOLEAN
    if jnp.issubdtype(dtype, jnp.integer):
        width = min(np.dtype(dtype).itemsize, smpc.bits // 8)
        return x.astype(f"uint{8 * width}"), ARITHMETIC
    return x, ARITHMETIC
