"""A function on shares beside the same function in JAX."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

import jax
import jax.numpy as jnp

import jsmpc

KEY = jax.random.key(5)


def both(
    f: Callable[..., dict[str, Any]],
    *args: Any,
    smpc: jsmpc.Protocol,
    secret: Container[int] | None = None,
) -> Iterator[tuple[str, Any, Any]]:
    """Each result's name, what it is on shares, and what in JAX: of one dtype and shape.

    `secret` are the positions of the arguments to share, by default all.
    """
    shared = [
        jsmpc.share(KEY, a, smpc) if secret is None or i in secret else jnp.asarray(a)
        for i, a in enumerate(args)
    ]
    ours, theirs = jsmpc.reveal(jsmpc.secure(f)(KEY, *shared)), jax.jit(f)(*args)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype and ours[name].shape == value.shape, name
        yield name, ours[name], value
