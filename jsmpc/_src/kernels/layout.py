"""Where the elements of a matrix lie in an array: what a product needs to read it in place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class Layout:
    """Element i of a shape lies at `offset` + Σ i_d·strides_d of a flattened array.

    Attributes:
      shape: of what is read.
      offset: of its first element.
      strides: how many elements lie between neighbours along each axis.
    """

    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]

    @classmethod
    def of(cls, shape: Sequence[int], offset: int = 0) -> Layout:
        """Elements one after another, the last axis fastest."""
        return cls(tuple(shape), offset, row_major(shape))

    def permuted(self, axes: Sequence[int]) -> Layout:
        """As `jax.lax.transpose` does."""
        shape, strides = (tuple(x[a] for a in axes) for x in (self.shape, self.strides))
        return Layout(shape, self.offset, strides)

    def sliced(self, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Layout:
        """As `jax.lax.slice` does."""
        sizes = (-(-(e - b) // s) for b, e, s in zip(start, stop, step, strict=True))
        offset = self.offset + sum(b * s for b, s in zip(start, self.strides, strict=True))
        return Layout(tuple(sizes), offset, _products(step, self.strides))

    def reshaped(self, shape: Sequence[int]) -> Layout | None:
        """As `jax.numpy.reshape` does, or None where no strides say it."""
        if 0 in shape:
            return Layout.of(shape, self.offset)
        given = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        for size in reversed(shape):
            if size == 1:
                strides.append(1)
                continue
            while given and given[-1][0] < size:
                inner, outer = given.pop(), given.pop() if given else (0, 0)
                if outer[1] != inner[0] * inner[1]:
                    return None
                given.append((outer[0] * inner[0], inner[1]))
            if not given or given[-1][0] % size:
                return None
            length, stride = given.pop()
            strides.append(stride)
            if length > size:
                given.append((length // size, stride * size))
        return Layout(tuple(shape), self.offset, tuple(reversed(strides)))

    @property
    def is_packable(self) -> bool:
        """Whether rows or columns of the matrices lie closely, as the native products need it."""
        return 1 in self.matrix_strides

    @property
    def matrix_strides(self) -> tuple[int, int]:
        """Those of the last two axes; along an axis of one element any will do."""
        (rows, columns), (down, along) = self.shape[-2:], self.strides[-2:]
        if 1 in (down, along):
            return down, along
        return (1 if rows == 1 else down), (1 if columns == 1 else along)

    def read(self, array: Array) -> Array:
        """The elements, as an array of their own."""
        axes = sorted(range(len(self.shape)), key=lambda d: (self.shape[d] == 1, -self.strides[d]))
        lying, flat = self.permuted(axes), array.reshape(-1)
        if lying._is_whole:
            flat = flat[self.offset : self.offset + math.prod(self.shape)]
            return flat.reshape(lying.shape).transpose(np.argsort(axes))
        index = np.full((1,) * len(self.shape), self.offset, np.int64)
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            along = np.arange(size).reshape(-1, *(1,) * (len(self.shape) - axis - 1))
            index = index + along * stride
        return flat[index]

    @property
    def _is_whole(self) -> bool:
        """Whether elements lie one after another."""
        places = zip(self.shape, self.strides, row_major(self.shape), strict=True)
        return all(size == 1 or given == own for size, given, own in places)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of elements one after another."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _products(x: Sequence[int], y: Sequence[int]) -> tuple[int, ...]:
    return tuple(a * b for a, b in zip(x, y, strict=True))
