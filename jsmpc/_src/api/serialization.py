"""Shares and material in the formats of others: Flax's, where it is in use."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from jsmpc._src.api.share import Share, from_words


def register() -> None:
    """Makes shares known to `flax.serialization`, once that is imported."""
    if "flax.serialization" in sys.modules:
        _register(sys.modules["flax.serialization"])


@functools.cache
def _register(serialization: Any) -> None:
    def to_state(x: Share) -> dict[str, Any]:
        return {str(i): np.asarray(c) for i, c in enumerate(x.components)}

    def from_state(x: Share, state: dict[str, Any]) -> Share:
        words = tuple(np.asarray(state[str(i)]) for i in range(len(x.components)))
        return from_words(words, x.protocol, x.dtype)

    serialization.register_serialization_state(Share, to_state, from_state)
