"""Rules for matrix decompositions and solves, as JAX functions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import linalg

from jsmpc._src.interpreter.bounds import Bound
from jsmpc._src.interpreter.registry import rule_from

Array = jax.Array

_ERROR = Bound(ulps=1, step="product, over the least pivot")


def _cholesky(a: Array) -> Array:
    """L with L·Lᵀ = A for a positive definite A, column by column.

    What is left of A after j columns, A - L·Lᵀ of these, has zeros in its first j rows and
    columns; its j-th column over the root of its j-th entry is the next of L. Only the lower
    triangle of A is read.

    Cost: 2 rounds and an inverse root a column.
    """
    places = np.arange(a.shape[-1], dtype=np.int32)
    mirrored = jnp.where(places[:, None] >= places, a, jnp.swapaxes(a, -1, -2))

    def column(rest: Array, j: Any) -> tuple[Array, Array]:
        part = lax.dynamic_index_in_dim(rest, j, -1, keepdims=False)
        pivot = lax.dynamic_index_in_dim(part, j, -1)
        next_one = jnp.where(places >= j, part * lax.rsqrt(pivot), np.zeros((), a.dtype))
        return rest - next_one[..., :, None] * next_one[..., None, :], next_one

    return jnp.moveaxis(lax.scan(column, mirrored, places)[1], 0, -1)


def _triangular_solve(
    a: Array,
    b: Array,
    *,
    left_side: bool,
    lower: bool,
    transpose_a: bool,
    conjugate_a: bool,
    unit_diagonal: bool,
) -> Array:
    """X with op(A)·X = B, or X·op(A) = B, row by row: forward, or backward by reversed rows.

    Cost: a product a row, after one inverse of the diagonal.
    """
    if transpose_a == left_side:  # solved is op(A)·X = B, or op(A)ᵀ·Xᵀ = Bᵀ
        a, lower = jnp.swapaxes(a, -1, -2), not lower
    b = b if left_side else jnp.swapaxes(b, -1, -2)
    places = np.arange(a.shape[-1], dtype=np.int32)
    inverse = 1 / jnp.diagonal(a, axis1=-2, axis2=-1)

    def row(x: Array, i: Any) -> tuple[Array, None]:
        before = (places < i) if lower else (places > i)
        factors = lax.dynamic_index_in_dim(a, i, -2, keepdims=False)
        factors = jnp.where(before, factors, np.zeros((), a.dtype))
        value = lax.dynamic_index_in_dim(b, i, -2) - factors[..., None, :] @ x
        if not unit_diagonal:
            value *= lax.dynamic_index_in_dim(inverse, i, -1)[..., None]
        return jnp.where((places == i)[:, None], value, x), None

    x, _ = lax.scan(row, jnp.zeros_like(b), places, reverse=not lower)
    return x if left_side else jnp.swapaxes(x, -1, -2)


rule_from(linalg.cholesky_p, _cholesky, cost="program", error=_ERROR)
rule_from(linalg.triangular_solve_p, _triangular_solve, cost="program", error=_ERROR)
