"""The products of the ring: maps of two operands that are linear in each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jsmpc._src import kernels
from jsmpc._src.ring import words
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Bilinear:
    """A named map that is linear in each of two operands: a product of the ring.

    Called with pairs, it returns the sum of their products, so that a kernel may accumulate.
    The parameters identify the map: equal names and parameters compute the same thing.

    Attributes:
      name, parameters: which map.
      group: in whose operation it is linear.
    """

    name: str
    parameters: tuple[Any, ...] = ()
    group: Group = ARITHMETIC

    def __call__(self, *pairs: tuple[Array, Array]) -> Array:
        return _PRODUCTS[self.name](pairs, *self.parameters)

    def shape(self, x: Any, y: Any) -> tuple[int, ...]:
        """The shape of one product, from operands that have a shape and a dtype."""
        return _shape(self, x.shape, x.dtype, y.shape, y.dtype)


@functools.lru_cache(4096)
def _shape(f: Bilinear, *operands: Any) -> tuple[int, ...]:
    """Remembered: each correlation of a program asks for it several times."""
    x, y = (jax.ShapeDtypeStruct(*operands[i : i + 2]) for i in (0, 2))
    return jax.eval_shape(lambda a, b: f((a, b)), x, y).shape


def _total(f: Callable[[Array, Array], Array], pairs: Sequence[tuple[Array, Array]]) -> Array:
    total = f(*pairs[0])
    for x, y in pairs[1:]:
        total = words.add(total, f(x, y))
    return total


def _multiply(pairs: Sequence[tuple[Array, Array]]) -> Array:
    return _total(words.multiply, pairs)


def _bitwise_and(pairs: Sequence[tuple[Array, Array]]) -> Array:
    result = words.conjunction(*pairs[0])
    for x, y in pairs[1:]:
        result = words.xor(result, words.conjunction(x, y))
    return result


def _dot_general(pairs: Sequence[tuple[Array, Array]], dimension_numbers: Any) -> Array:
    return kernels.dot_general(pairs, dimension_numbers)


def _convolution(
    pairs: Sequence[tuple[Array, Array]],
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    lhs_dilation: tuple[int, ...],
    rhs_dilation: tuple[int, ...],
    dimension_numbers: Any,
    feature_groups: int,
    batch_groups: int,
) -> Array:
    return kernels.convolution(
        pairs,
        strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_groups,
        batch_groups,
    )


_PRODUCTS: dict[str, Callable[..., Array]] = {
    "multiply": _multiply,
    "and": _bitwise_and,
    "dot_general": _dot_general,
    "convolution": _convolution,
}

MULTIPLY = Bilinear("multiply")
AND = Bilinear("and", group=BOOLEAN)


def dot_general(dimension_numbers: Any) -> Bilinear:
    """The matrix product with the dimension numbers of `jax.lax.dot_general`."""
    (lhs, rhs), (lhs_batch, rhs_batch) = dimension_numbers
    numbers = ((tuple(lhs), tuple(rhs)), (tuple(lhs_batch), tuple(rhs_batch)))
    return Bilinear("dot_general", (numbers,))


MATMUL = dot_general((((1,), (0,)), ((), ())))
