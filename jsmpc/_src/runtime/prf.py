"""Keys: ChaCha20 (RFC 8439) under 256-bit keys.

A draw, of a `ring.groups.Group`, is the keystream of a key under a 96-bit nonce that nothing else
uses. The nonce's third word separates the uses: draws, keys derived for loop iterations, keys
derived for a purpose.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.errors import KeyFormatError
from jsmpc._src.jaxprs import compat, tracing

Array = jax.Array

_ITERATION, _PURPOSE = 1, 2  # draws have 0


def random_key() -> Array:
    """A fresh key: 256 bits from the operating system's entropy, uint32[8].

    Raises:
      KeyFormatError: inside of a transformation (`jit`, `vmap`, `scan`, …), where one draw would
        be a constant for all runs and all elements.

    Example:
      Every use takes a key of its own.

      >>> import jsmpc
      >>> key, other = jsmpc.random_key(), jsmpc.random_key()
      >>> key.shape, key.dtype, bool((key == other).all())
      ((8,), dtype('uint32'), False)
    """
    if tracing.transformed():
        raise KeyFormatError(
            "random_key() inside of a transformation (jit, vmap, scan, grad, secure) would be one "
            "constant key for every run. Call it outside and pass the key as an argument"
        )
    return jnp.asarray(np.frombuffer(secrets.token_bytes(32), np.uint32))


def as_key(key: Any) -> Array:
    """A key in any accepted form as uint32[8].

    Accepts what `random_key` returns, and a single `jax.random.key` or `jax.random.PRNGKey` for
    tests and reproducible runs: its 64 bits (128 at most, by the generator chosen) are stretched
    by ChaCha20, so that no more than those bits of security remain.

    Raises:
      KeyFormatError: for anything else.
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
        if key.ndim == 1 and key.shape[0] < 8:
            return _stretch(key)
    if isinstance(key, jax.Array | np.ndarray) and key.dtype == np.uint32:
        if key.shape == (8,):
            return key if isinstance(key, jax.Array) else jnp.asarray(key)
        if key.shape == (2,):
            return _stretch(jnp.asarray(key))
    found = f"{key.dtype}{list(key.shape)}" if hasattr(key, "dtype") else type(key).__name__
    raise KeyFormatError(
        f"not a key: {found}. Pass jsmpc.random_key(), or a single jax.random.key(seed) "
        "for a reproducible run; split or index an array of keys first"
    )


def _stretch(words: Array) -> Array:
    with compat.protocol_mode():
        padded = jnp.zeros(8, jnp.uint32).at[: words.shape[0]].set(words)
        return derive(padded, "jax.random key")


def _nonce(low: Any, high: Any, use: int) -> Array:
    if isinstance(low, int) and isinstance(high, int):
        return jnp.asarray(np.asarray([low, high, use], np.uint32))
    words = [jnp.asarray(w, jnp.uint32) for w in (low, high, use)]
    return jnp.stack(words)


def derive(key: Array, purpose: str, index: Any = 0) -> Array:
    """A key for one purpose: uint32[..., 8] from a uint32[..., 8] and a name."""
    digest = hashlib.sha256(purpose.encode()).digest()
    low, high = np.frombuffer(digest[:8], np.uint32).tolist()
    base = _first_words(key, _nonce(low, high, _PURPOSE))
    return base if isinstance(index, int) and index == 0 else iterate(base, 0, index)


def iterate(key: Array, site: int, index: Any) -> Array:
    """A key for iteration `index` (may be traced) of the loop at `site`: as `derive`."""
    return _first_words(key, _nonce(site, index, _ITERATION))


def _first_words(key: Array, nonce: Array) -> Array:
    nonces = jnp.broadcast_to(nonce, (*key.shape[:-1], 3))
    return kernels.keystream(key, nonces, 1)[..., :8, 0]
