"""The ceilings of this machine, and how near to them a workload comes.

`python -m jsmpc.bench.limits` prints them as JSON.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import os
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.kernels import native, pure
from jsmpc.bench.measure import Row, Settings, timed
from jsmpc.bench.workloads import Workload

SHAPES = {"1024x1024x1024": (1024, 1024, 1024), "128x784x500": (128, 784, 500)}
_MATMUL = (((1,), (0,)), ((), ()))
_REPEAT = 7


@dataclasses.dataclass(frozen=True)
class Limits:
    """Rates of this machine; GEMMs count a multiply and an add as two operations.

    Attributes:
      gemm: Gop/s by kind (`float64` is XLA's own, `uint64` and `uint32` the ring's, `pure` its
        form without native code) and shape (m×k×n).
      write, copy: GB/s of memory, all cores; a copied byte counts twice, read and written.
      keystream: GB/s of ChaCha20 by form: `native` and `pure` write 64 MiB, `cached` 256 KiB
        natively, `registers` nothing; `draw` is 64 MiB of `uint64` as the protocols draw them.
      multiply_add: Gop/s of sums of `uint64` products in registers, all cores; None without
        native code. A GEMM may be faster: it takes one multiply for two terms of a sum.
    """

    gemm: dict[str, dict[str, float]]
    write: float
    copy: float
    keystream: dict[str, float]
    multiply_add: float | None = None

    def gemm_ceiling(self, bits: int) -> float:
        """Gop/s: the best that was seen of float64 or of the ring of that width."""
        kinds = ("float64", f"uint{bits}")
        return max(rate for kind in kinds for rate in self.gemm[kind].values())


def measure() -> Limits:
    """Measure all ceilings; takes some 15 seconds."""
    with jax.enable_x64(True):
        gemm = {kind: _gemm(*what) for kind, what in _gemm_kinds().items()}
        keystream = _keystreams()
    peak = _peak(native.multiply_add_peak) if native.available() else None
    return Limits(gemm, _memory(_fill, 1), _memory(_copy, 2), keystream, peak)


def _rate(amount: float, f: Callable[[], Any]) -> float:
    """Amount a second, in 10^9, from the median of some runs after a first one."""
    f()
    return amount / statistics.median(timed(f)[0] for _ in range(_REPEAT)) / 1e9


def _peak(rate: Callable[[int], float]) -> float:
    """The best of some runs on all cores."""
    return max(rate(os.cpu_count() or 1) for _ in range(_REPEAT))


def _gemm_kinds() -> dict[str, tuple[Any, Callable[..., Any]]]:
    def ring(x: jax.Array, y: jax.Array) -> jax.Array:
        return kernels.dot_general([(x, y)], _MATMUL)

    def pure_ring(x: jax.Array, y: jax.Array) -> jax.Array:
        return pure.matmul([(x[None], y[None])])

    kinds: dict[str, tuple[Any, Callable[..., Any]]] = {
        "float64": (np.float64, jnp.matmul),
        "uint64": (np.uint64, ring),
        "uint32": (np.uint32, ring),
    }
    if native.available():
        kinds |= {"uint64 pure": (np.uint64, pure_ring), "uint32 pure": (np.uint32, pure_ring)}
    return kinds


def _gemm(dtype: Any, product: Callable[..., Any]) -> dict[str, float]:
    rng = np.random.default_rng(0)
    rates = {}
    for name, (m, k, n) in SHAPES.items():
        x, y = (_operand(rng, shape, dtype) for shape in ((m, k), (k, n)))
        rates[name] = _rate(2 * m * k * n, functools.partial(jax.jit(product), x, y))
    return rates


def _operand(rng: np.random.Generator, shape: tuple[int, int], dtype: Any) -> jax.Array:
    if np.issubdtype(dtype, np.floating):
        return jnp.asarray(rng.standard_normal(shape), dtype)
    return jnp.asarray(rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True), dtype)


def _keystreams() -> dict[str, float]:
    key, nonce = jnp.arange(8, dtype=jnp.uint32), jnp.zeros(3, jnp.uint32)

    def rate(stream: Callable[..., Any], blocks: int) -> float:
        compiled = jax.jit(lambda k, n: stream(k, n, blocks))
        return _rate(64 * blocks, functools.partial(compiled, key, nonce))

    large, small = 1 << 20, 1 << 12
    rates = {"pure": rate(_pure_keystream, large), "draw": rate(_draw, large)}
    if native.available():
        rates["native"] = rate(kernels.keystream, large)
        rates["cached"] = rate(kernels.keystream, small)
        rates["registers"] = _peak(native.keystream_peak)
    return rates


def _draw(key: jax.Array, _: jax.Array, blocks: int) -> jax.Array:
    return kernels.draw(key, 0, (8 * blocks,), np.uint64)


def _pure_keystream(key: jax.Array, nonce: jax.Array, blocks: int) -> jax.Array:
    keys = jnp.broadcast_to(key[:, None], (8, blocks))
    nonces = jnp.broadcast_to(nonce[:, None], (3, blocks))
    return pure.chacha20(keys, nonces, jnp.arange(blocks, dtype=jnp.uint32))


def _memory(move: Callable[[np.ndarray, np.ndarray], None], passes: int) -> float:
    """GB/s of moving arrays far larger than any cache, a thread a core."""
    cores = os.cpu_count() or 1
    words = (256 << 20) // 8
    source, target = np.ones(words, np.uint64), np.zeros(words, np.uint64)
    parts = list(zip(np.array_split(source, cores), np.array_split(target, cores), strict=True))
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        return _rate(passes * target.nbytes, lambda: list(pool.map(lambda p: move(*p), parts)))


def _fill(_: np.ndarray, target: np.ndarray) -> None:
    target[...] = np.uint64(7)


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    np.copyto(target, source)


def ring_operations(workload: Workload, settings: Settings) -> int:
    """Multiplies and adds of the local products: two a party, and one of the dealer's."""
    protocol = settings.make()
    products = 1 if protocol.size == 1 else 2 * protocol.size
    dealt = 1 if protocol.dealer and settings.phase == "both" else 0
    return 2 * (products + dealt) * workload.multiply_adds


def share_of_ceiling(
    workload: Workload, row: Row, limits: Limits, settings: Settings
) -> tuple[str, float] | None:
    """Which ceiling bounds a workload, and the fraction of it that was reached."""
    if row.median is None:
        return None
    if workload.products:
        rate = ring_operations(workload, settings) / row.median / 1e9
        return "GEMM", rate / limits.gemm_ceiling(settings.bits)
    if workload.elementwise and row.share_bytes:
        return "copy", row.share_bytes / row.median / 1e9 / limits.copy
    return None


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(measure())))
