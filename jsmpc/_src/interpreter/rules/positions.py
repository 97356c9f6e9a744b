"""Between the layouts of `lax.gather` and `lax.scatter` and that of `functions.indexing`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import lax

_CLIP = lax.GatherScatterMode.CLIP
_PROMISED = lax.GatherScatterMode.PROMISE_IN_BOUNDS


@dataclasses.dataclass(frozen=True)
class Layout:
    """Between the layouts of `lax.gather` and `lax.scatter` and that of `functions.indexing`.

    Attributes:
      table: the operand's shape.
      sizes: of the window, for each of the operand's axes.
      batch: the shape of the positions, without the axis of their coordinates.
      axes: the operand's axes that the coordinates belong to.
      paired: the operand's batch axes, and those of the positions that go with them.
      removed: the operand's axes that windows do not have.
      offsets: the windows' axes in the result (updates).
      clip: whether positions out of range are clipped.
    """

    table: tuple[int, ...]
    sizes: tuple[int, ...]
    batch: tuple[int, ...]
    axes: tuple[int, ...]
    paired: tuple[tuple[int, ...], tuple[int, ...]]
    removed: tuple[int, ...]
    offsets: tuple[int, ...]
    clip: bool

    def starts(self, axis: int) -> int:
        return self.table[axis] - self.sizes[axis] + 1

    @property
    def batched(self) -> bool:
        return bool(self.paired[0])

    @property
    def indexed(self) -> list[int]:
        """The axes to look up, those with most starts first; at least one."""
        ordered = sorted(self.axes, key=self.starts, reverse=True)
        needed = [d for d in ordered if self.starts(d) > 1 or not self.clip]
        return needed or ordered[:1]

    @property
    def _order(self) -> list[int]:
        """The operand's axes in the canonical layout."""
        leading = [*self.paired[0], *self.indexed]
        return leading + [d for d in range(len(self.table)) if d not in leading]

    @property
    def region(self) -> tuple[slice, ...]:
        """The part of the operand that windows reach: what is not looked up starts at 0."""
        whole = {*self.indexed, *self.paired[0]}
        return tuple(
            slice(None) if d in whole else slice(size) for d, size in enumerate(self.sizes)
        )

    def _grouped(self, shape: Sequence[int], kept: int) -> list[int]:
        """A canonical shape: batch axes in one, `kept` axes as they are, the others in one."""
        n = len(self.paired[0])
        batch = [math.prod(shape[:n])] if n else []
        return [*batch, *shape[n : n + kept], math.prod(shape[n + kept :])]

    def canonical_table(self, w: Any) -> Any:
        w = w[self.region].transpose(self._order)
        return w.reshape(self._grouped(w.shape, len(self.indexed)))

    def from_canonical_table(self, w: Any) -> Any:
        shape = [len(range(self.table[d])[self.region[d]]) for d in self._order]
        return w.reshape(shape).transpose(np.argsort(self._order))

    @property
    def _labels(self) -> tuple[list[Any], list[Any]]:
        """The axes of the windows, canonical and in the result with removed axes in front."""
        shared = [("batch", j) for j in self.paired[1]]
        own = [("batch", j) for j in range(len(self.batch)) if j not in self.paired[1]]
        n = len(self.paired[0])
        canonical = [*shared, *own, *(("window", d) for d in self._order[n:])]
        gone = {*self.removed, *self.paired[0]}
        window = [("window", d) for d in range(len(self.table)) if d not in gone]
        rank = len(self.batch) + len(window)
        batch = iter(range(len(self.batch)))
        shown: list[Any] = [
            window[self.offsets.index(i)] if i in self.offsets else ("batch", next(batch))
            for i in range(rank)
        ]
        return canonical, [("window", d) for d in self.removed] + shown

    def _size(self, label: tuple[str, int]) -> int:
        kind, i = label
        return self.batch[i] if kind == "batch" else self.sizes[i]

    def canonical_windows(self, w: Any) -> Any:
        """Updates as [P, U, S1, S2, …, R]."""
        canonical, shown = self._labels
        w = w.reshape([self._size(label) for label in shown])
        w = w.transpose([shown.index(label) for label in canonical])
        n, own = len(self.paired[1]), len(self.batch) - len(self.paired[1])
        shape = [*w.shape[:n], math.prod(w.shape[n : n + own]), *w.shape[n + own :]]
        return w.reshape(self._grouped(shape, 1 + len(self.indexed)))

    def from_canonical_windows(self, w: Any) -> Any:
        canonical, shown = self._labels
        w = w.reshape([self._size(label) for label in canonical])
        w = w.transpose([canonical.index(label) for label in shown])
        return w.reshape(w.shape[len(self.removed) :])

    def canonical_positions(self, w: Any, axis: int) -> Any:
        """The coordinates of an axis as [P, U]."""
        own = [j for j in range(len(self.batch)) if j not in self.paired[1]]
        w = w[..., self.axes.index(axis)].transpose(*self.paired[1], *own)
        lead = [math.prod(self.batch[j] for j in self.paired[1])] if self.batched else []
        return w.reshape(*lead, math.prod(self.batch[j] for j in own))


def reads_clip(mode: Any) -> bool:
    """Whether reads out of range are clipped; otherwise they are filled."""
    return mode in (_CLIP, _PROMISED)


def gather_layout(x: Any, indices: Any, numbers: Any, sizes: Any, mode: Any) -> Layout:
    return Layout(
        tuple(x.shape),
        tuple(sizes),
        tuple(indices.shape[:-1]),
        tuple(map(int, numbers.start_index_map)),
        (
            tuple(map(int, numbers.operand_batching_dims)),
            tuple(map(int, numbers.start_indices_batching_dims)),
        ),
        tuple(map(int, numbers.collapsed_slice_dims)),
        tuple(map(int, numbers.offset_dims)),
        reads_clip(mode),
    )


def scatter_layout(x: Any, indices: Any, updates: Any, numbers: Any, mode: Any) -> Layout:
    inserted = tuple(map(int, numbers.inserted_window_dims))
    paired = tuple(map(int, numbers.operand_batching_dims))
    window = iter(updates.shape[d] for d in numbers.update_window_dims)
    sizes = tuple(1 if d in (*inserted, *paired) else next(window) for d in range(len(x.shape)))
    return Layout(
        tuple(x.shape),
        sizes,
        tuple(indices.shape[:-1]),
        tuple(map(int, numbers.scatter_dims_to_operand_dims)),
        (paired, tuple(map(int, numbers.scatter_indices_batching_dims))),
        inserted,
        tuple(map(int, numbers.update_window_dims)),
        mode == _CLIP,
    )


def in_one_row(numbers: lax.ScatterDimensionNumbers) -> lax.ScatterDimensionNumbers:
    """How to write to the whole of a table, by no coordinates, as to the one row of another."""
    return lax.ScatterDimensionNumbers(
        tuple(numbers.update_window_dims),
        (0, *(d + 1 for d in numbers.inserted_window_dims)),
        (0,),
        tuple(d + 1 for d in numbers.operand_batching_dims),
        tuple(numbers.scatter_indices_batching_dims),
    )
