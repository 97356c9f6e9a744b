"""The speeds of this machine, from small programs that are run once.

Each program is read as an endpoint's is, so that its work is counted in the units in which that
of all programs is; the speeds are those that explain the seconds of all of them best.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src import kernels
from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import products
from jsmpc._src.readings.pricing import timeline
from jsmpc._src.readings.pricing.speeds import Speeds
from jsmpc._src.readings.pricing.work import UNITS, Amounts, Work

Array = jax.Array
_REPEATS = 15
_CACHE = 2**23  # bytes that are touched before each run: among exchanges nothing stays near


def measure() -> Speeds:
    """The speeds of this machine; takes a second or two."""
    from scipy.optimize import nnls  # of JAX's own requirements; slow to import

    rows, seconds = [], []
    with compat.protocol_mode():
        for function, arguments in _programs():
            amounts, taken = _measured(function, arguments)
            rows.append([amounts[unit] / taken for unit in UNITS])
            seconds.append(1.0)
    # Relative errors are what is small.
    matrix = np.asarray(rows)
    scale = np.maximum(matrix.max(axis=0), np.finfo(float).tiny)  # a unit may occur in none
    solution, _ = nnls(matrix / scale, np.asarray(seconds))
    return Speeds(dict(zip(UNITS, (solution / scale).tolist(), strict=True)), cores())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measured(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Amounts, float]:
    """The work of a program, and the seconds of one core that it takes."""
    optimized = kernels.optimize(function)
    steps = timeline.local(jax.make_jaxpr(optimized)(*arguments))
    wide = any(isinstance(step, Work) and step.wide for step in steps)
    elsewhere = np.zeros(_CACHE, np.uint8)
    compiled = jax.jit(optimized).lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))

    def seconds() -> float:
        elsewhere.__iadd__(1)
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        return time.perf_counter() - start

    taken = float(np.quantile([seconds() for _ in range(_REPEATS)], 0.25))
    return timeline.total(steps) + Counter(runs=1), taken * (cores() if wide else 1)


def _programs() -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    rng = np.random.default_rng(0)

    def words(*shape: int, dtype: Any = np.uint64) -> Array:
        return jnp.asarray(rng.integers(1, 200, shape).astype(dtype))

    key = words(8, dtype=np.uint32)
    for size in (1, 4096, 100_000):
        for dtype in (np.uint8, np.uint64):
            x, y = words(size, dtype=dtype), words(size, dtype=dtype)
            yield _chain(lambda x, y: (x + y) ^ (x >> 3), 20), (x, y)
            yield _chain(lambda x, y: x + y, 1), (x, y)
    x, y = words(20_000), words(20_000)
    yield _chain(lambda x, y: x * y, 20), (x, y)
    yield _chain(lax.div, 4), (x, y)
    yield lambda key: kernels.draw(key, 1, (40_000,), np.uint64), (key,)
    yield lambda key: kernels.draw(key, 1, (8,), np.uint64), (key,)
    yield _calls, (words(16), words(16))
    yield lambda x: lax.transpose(x, (1, 0)), (words(500, 200),)
    for word in (np.uint32, np.uint64):
        for m, k, n in ((128, 784, 500), (64, 512, 256), (64, 64, 64)):
            yield _product, (words(m, k, dtype=word), words(k, n, dtype=word))


def _chain(step: Callable[[Array, Array], Array], length: int) -> Callable[[Array, Array], Array]:
    def chain(x: Array, y: Array) -> Array:
        for _ in range(length):
            x = step(x, y)
        return x

    return chain


def _product(x: Array, y: Array) -> Array:
    return products.dot_general([(x, y)], (((1,), (0,)), ((), ())))


def _calls(x: Array, y: Array) -> Array:
    """Many kernels on little: transpositions part them."""
    for _ in range(20):
        x = (lax.transpose(x.reshape(4, 4), (1, 0)).reshape(-1) + y) ^ y
    return x
