"""A share that must not be revealed: what NaN is to floating-point numbers.

A public operand that does not fit the encoding is an error where it is known. Under `jit`, `vmap`
and `scan` it is not: there all words of all results become one pattern. A share whose every
component holds it is poisoned; computing on it gives poisoned results, revealing it is an error.
By chance a share looks like that with probability 2^-(bits·parties) for each element; the words of
booleans, 0 and 1, never do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import EncodingError
from jsmpc._src.jaxprs import compat, tracing

# As a signed number beyond every encoding's limit.
_PATTERN = 0x9E3779B97F4A7C15


def _word(dtype: Any) -> Any:
    return np.asarray(_PATTERN >> (64 - 8 * np.dtype(dtype).itemsize), dtype)


def is_poisoned(x: Any) -> Any:
    """Whether some element of a share is poisoned in every component: bool[]."""
    marked = [jnp.all(c == _word(c.dtype), axis=0) for c in x.components]
    return jnp.any(jnp.all(jnp.stack(marked), axis=0))


def poisoned_where(bad: Any, words: Any) -> Any:
    """The words of a component, all poisoned if `bad` holds."""
    return jnp.where(bad, _word(words.dtype), words)


_any_poisoned = jax.jit(lambda shares: jnp.any(jnp.asarray([is_poisoned(x) for x in shares])))


def require_sound(shares: Iterable[Any]) -> None:
    """Raise EncodingError if one of some known shares is poisoned.

    Shares that come out of the library are known to be sound, those out of a user's
    transformation are looked at once.
    """
    unknown = [x for x in shares if not (x._sound or tracing.is_traced(x.components[0]))]
    with compat.protocol_mode():
        if unknown and bool(_any_poisoned(unknown)):
            raise EncodingError(
                "a public operand of an earlier computation was NaN, infinite or beyond the "
                "encoding's limit, or a number left the range where this was checked. It ran "
                "inside jit, vmap or scan, where this could not be raised: run it outside to see "
                "the line"
            )
    for x in unknown:
        x._sound = True
