"""Masks: keystreams of ChaCha20, drawn and added up one at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.jaxprs import compat

_AT_ONCE = 128  # keys of one call, so that few shapes are compiled
_WHOLE = 256  # words: vectors are padded to a multiple, which is several times as fast


def added(words: np.ndarray, masks: Iterable[tuple[bytes, bool]]) -> np.ndarray:
    """Words with masks added to them, or taken from them.

    Two vectors are in memory, however many masks there are.

    Args:
      words: uint32 or uint64 [n].
      masks: keys of 32 bytes, and whether each is taken away.
    """
    listed = list(masks)
    with compat.protocol_mode():
        total = jnp.asarray(np.pad(words, (0, -len(words) % _WHOLE)))
        for start in range(0, len(listed), _AT_ONCE):
            part = listed[start : start + _AT_ONCE]
            keys, negative = np.zeros((_AT_ONCE, 8), np.uint32), np.zeros(_AT_ONCE, bool)
            keys[: len(part)] = [np.frombuffer(key, "<u4") for key, _ in part]
            negative[: len(part)] = [taken for _, taken in part]
            total = _added(total, keys, negative, np.int32(len(part)))
        return np.asarray(total)[: len(words)]


@functools.partial(jax.jit, donate_argnums=0)
@kernels.optimize
def _added(total: Any, keys: Any, negative: Any, count: Any) -> Any:
    def step(i: Any, total: Any) -> Any:
        mask = kernels.draw(keys[i], 0, total.shape, total.dtype)
        ones = -negative[i].astype(total.dtype)  # -mask is (mask ^ 11…1) + 1
        return total + ((mask ^ ones) - ones)

    return jax.lax.fori_loop(0, count, step, total)
