"""The arrays of one workload on a peer: files in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def load(directory: Path) -> list[np.ndarray]:
    """The arrays of `inputs.npz`, in order."""
    with np.load(directory / "inputs.npz") as stored:
        return [stored[f"arr_{i}"] for i in range(len(stored.files))]


def save(directory: Path, results: list[Any]) -> None:
    """Write arrays to `outputs.npz`, in order."""
    np.savez(directory / "outputs.npz", *[np.asarray(x) for x in results])
