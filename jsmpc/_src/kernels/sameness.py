"""Whether two machines' kernels compute the same: what parties compare before they run."""

from __future__ import annotations

import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src import kernels
from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import products

_SIZE = 33  # no multiple of what vector instructions take at once
_WIDTH = 9  # of function keys


@functools.cache
def digest() -> str:
    """SHA-256 of draws, products, words and function keys as this machine computes them, in
    hexadecimal digits."""

    def program(key: jax.Array) -> list[jax.Array]:
        found = []
        for number, dtype in enumerate((np.uint8, np.uint32, np.uint64)):
            x, y = (kernels.draw(key, 2 * number + i, (_SIZE, _SIZE), dtype) for i in range(2))
            found += [x, (x + y) * (x ^ (y >> np.asarray(3, dtype)))]
            if dtype != np.uint8:
                found.append(products.dot_general([(x, y)], (((1,), (0,)), ((), ()))))
        seeds = [kernels.draw(key, 6 + i, (2, _SIZE), np.uint64) for i in range(2)]
        a, point = kernels.draw(key, 8, (2, _SIZE), np.uint64)
        keys = kernels.function_keys((seeds[0], seeds[1]), a, _WIDTH, True)
        found += [keys, kernels.function_values(1, seeds[1], keys, point[None], _WIDTH, True)]
        return [lax.optimization_barrier(x) for x in found]

    with compat.protocol_mode():
        words = jax.jit(kernels.optimize(program))(jnp.arange(8, dtype=jnp.uint32))
        return hashlib.sha256(b"".join(np.asarray(w).tobytes() for w in words)).hexdigest()
