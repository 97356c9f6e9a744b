"""The guard of a share: an array without contents that refuses arithmetic.

The leaves of a `Share` are words, on which JAX would compute whatever `jax.tree.map` or an
optimizer asks for. Beside them lies an array of a dtype without arithmetic (an extended dtype, as
that of random keys) and without contents (zero bytes), of the secret's shape behind one axis of
size 1. Moving, slicing and reshaping treat both alike; a sum or a product of leaves is an error
whose text names the dtype, which says what to do. Its first axis tells the party's axis: a
`vmap` over it, or one that puts its results there, does not fit.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from jax.extend import random

from jsmpc._src.errors import SecretError


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise SecretError("a share is not a key of random numbers")


_KIND = random.define_prng_impl(
    key_shape=(0,),
    seed=_refuse,
    split=_refuse,
    random_bits=_refuse,
    fold_in=_refuse,
    name="jsmpc_share",
    tag="share: compute on it inside a function passed to jsmpc.secure; under vmap its axes "
    "start at 1",
)


@functools.lru_cache(maxsize=4096)
def guard(shape: tuple[int, ...]) -> jax.Array:
    """The guard of a share of a secret of some shape."""
    with jax.ensure_compile_time_eval():
        return _made(shape)


def _made(shape: tuple[int, ...]) -> jax.Array:
    return jax.random.wrap_key_data(jnp.zeros((1, *shape, 0), jnp.uint32), impl=_KIND)


DTYPE = jax.eval_shape(lambda: _made(())).dtype  # compiles nothing, as importing should not
