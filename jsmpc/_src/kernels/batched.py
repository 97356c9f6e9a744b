"""Batching rules: bring the mapped axis of every operand to the front."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

Array = jax.Array


def mapped_first(operands: Sequence[Array], dims: Sequence[int | None]) -> list[Array]:
    """The operands with the mapped axis leading, broadcast where an operand is not mapped."""
    (size,) = {x.shape[d] for x, d in zip(operands, dims, strict=True) if d is not None}
    return [
        jnp.broadcast_to(x, (size, *x.shape)) if d is None else jnp.moveaxis(x, d, 0)
        for x, d in zip(operands, dims, strict=True)
    ]
