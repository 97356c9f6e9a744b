"""Shares and material in the formats of others: Flax's, where it is in use."""

from __future__ import annotations

import functools
import sys
from typing import Any

from jsmpc._src.api.arrays import bytes_of_share, share_of_bytes
from jsmpc._src.api.share import Share
from jsmpc._src.errors import ProtocolError


def register() -> None:
    """Makes shares known to `flax.serialization`, once that is imported."""
    if "flax.serialization" in sys.modules:
        _register(sys.modules["flax.serialization"])


@functools.cache
def _register(serialization: Any) -> None:
    def from_state(x: Share, state: Any) -> Share:
        found = share_of_bytes(state, x.protocol)
        if found.dtype != x.dtype:
            raise ProtocolError(f"a share of {found.dtype} was stored, where {x.dtype} is wanted")
        return found

    serialization.register_serialization_state(Share, bytes_of_share, from_state)
