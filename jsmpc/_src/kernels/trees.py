"""The shape of the keys of point and comparison functions: see `fss`."""

from __future__ import annotations

import numpy as np


def leaf_bits(comparison: bool) -> int:
    """The bits of a point that a leaf is for: its block has 2^7 bits, or 2 numbers."""
    return 7 if comparison else 1


def levels(width: int, comparison: bool) -> int:
    """How many corrections a key has beside that of its leaves."""
    return max(width - leaf_bits(comparison), 0)


def places(width: int, comparison: bool) -> np.ndarray:
    """Of each level the place of its bit of a point, from the highest."""
    return np.arange(width - 1, width - 1 - levels(width, comparison), -1).astype(np.uint64)
