"""The shape of the keys of point and comparison functions: see `fss`."""

from __future__ import annotations

import numpy as np

LEAF_BITS = 7  # a leaf's block has a bit for each of 2^7 points


def levels(width: int) -> int:
    """How many corrections a key has beside that of its leaves."""
    return max(width - LEAF_BITS, 0)


def places(width: int) -> np.ndarray:
    """Of each level the place of its bit of a point, from the highest."""
    return np.arange(width - 1, min(width, LEAF_BITS) - 1, -1).astype(np.uint64)
