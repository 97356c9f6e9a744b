"""Runs protocol code on shares: as a whole, and projected on its endpoints; opened or not."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc._src import kernels
from jsmpc._src.api import ports
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.protocols.registry import PROTOCOLS, make_protocol
from jsmpc._src.readings.projection.projection import Port, Projection, project
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime.context import Context

BITS = (32, 64)


def _variants() -> Iterator[tuple[str, Callable[[int], Protocol]]]:
    """Every protocol among the fewest parties, and one more where it takes more."""
    for name, cls in PROTOCOLS.items():
        for n in range(cls.fewest, (cls.most or cls.fewest + 1) + 1):
            variant = name if cls.most == 1 else f"{name}{n}"
            yield variant, lambda bits, name=name, n=n: make_protocol(name, n, bits)


MAKERS = dict(_variants())


@functools.cache
def protocol(name: str, bits: int) -> Protocol:
    return MAKERS[name](bits)


SECRET = [name for name in MAKERS if protocol(name, 64).corruptions]


def key(seed: int) -> np.ndarray:
    """A fixed key, uint32[8]."""
    return np.random.default_rng([seed, 42]).integers(0, 2**32, 8, np.uint32)


@dataclasses.dataclass(frozen=True)
class A:
    """An operand or a result: words under addition."""

    value: Any


@dataclasses.dataclass(frozen=True)
class B:
    """An operand or a result: words under xor."""

    value: Any


@dataclasses.dataclass(frozen=True)
class At:
    """A result that one party alone knows."""

    rank: int
    value: Any


def machine_words(x: Any) -> Any:
    """Shares of either kind as what their protocol computes with."""
    return words_of(x) if isinstance(x, Bits) else x


def group_of(x: Any) -> Group:
    return ARITHMETIC if isinstance(x, A) else BOOLEAN


def split(smpc: Protocol, seed: int, operands: Sequence[A | B]) -> list[np.ndarray]:
    """Shares of the operands, the party on the leading axis."""
    with jax.enable_x64(True):
        return [
            np.stack(
                smpc.split(
                    smpc.mask_keys(jnp.asarray(key(1000 * seed + i))),
                    jnp.asarray(x.value),
                    group_of(x),
                )
            )
            for i, x in enumerate(operands)
        ]


Program = Callable[..., Any]


class Runner:
    """A function of a context and shares on a protocol's simulated network.

    The function returns a dict of `A`, `B` and `At` results, or of public arrays.
    """

    def __init__(self, smpc: Protocol, f: Program):
        self.smpc, self.f = smpc, f
        self.kinds: dict[str, Any] = {}
        self.places: dict[str, int | None] = {}  # whose a result is that one party alone knows
        self._run = jax.jit(kernels.optimize(self.program))

    def _pack(self, net: Network, results: dict[str, Any]) -> dict[str, Any]:
        self.kinds = {name: _kind(x) for name, x in results.items()}
        self.places = {n: x.rank if isinstance(x, At) else None for n, x in results.items()}
        return {
            name: net.pack(machine_words(x.value))
            if isinstance(x, A | B)
            else (x.value.values[x.rank] if isinstance(x, At) else x,)
            for name, x in results.items()
        }

    def program(self, key: Any, *stacked: Any) -> dict[str, Any]:
        net = Network(self.smpc.size)
        ctx = Context(net, self.smpc.setup(net, [key] * len(self.smpc.endpoints)))
        return self._pack(net, self.f(ctx, *(self.smpc.unpack(net, (s,)) for s in stacked)))

    def stacked(self, seed: int, shares: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The results' shares, not opened."""
        with jax.enable_x64(True):
            out = self._run(jnp.asarray(key(seed)), *(jnp.asarray(s) for s in shares))
            return {name: np.asarray(value[0]) for name, value in out.items()}

    def opened(self, results: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: x if self.kinds[name] is None else self.kinds[name].reduce(x, dtype=x.dtype)
            for name, x in results.items()
        }

    def __call__(self, seed: int, *operands: A | B) -> dict[str, np.ndarray]:
        """The results in the clear."""
        return self.opened(self.stacked(seed, split(self.smpc, seed, operands)))

    def by_endpoint(self, seed: int, shares: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """What each party has of the results, its rows stacked: from the projected program."""
        smpc = self.smpc
        parties, everyone = range(smpc.size), frozenset(range(smpc.size))

        def program(keys: Any, rows: Any) -> dict[str, Any]:
            net = Network(smpc.size)
            ctx = Context(net, smpc.setup(net, keys))
            return self._pack(net, self.f(ctx, *(smpc.unpack(net, (r,)) for r in rows)))

        keys = [jnp.asarray(key(seed))] * len(smpc.endpoints)
        rows = [[jnp.asarray(row) for row in s] for s in shares]
        row_ports = [Port(ports.holders(smpc, i)) for i in parties]
        jaxpr, shape = jax.make_jaxpr(program, return_shape=True)(keys, rows)
        outputs, names = [], []
        for name, packed in shape.items():
            if self.kinds[name] is not None:
                outputs += row_ports
            else:
                rank = self.places[name]
                outputs.append(Port(everyone if rank is None else frozenset({rank})))
            names += [name] * len(jax.tree.leaves(packed))
        projection = project(
            jaxpr,
            [*ports.of_keys(smpc), *row_ports * len(rows)],
            outputs,
            smpc.endpoints,
            smpc.dealer is not None,
        )
        found: list[dict[str, list[Any]]] = [{} for _ in parties]
        given = [*keys, *(row for r in rows for row in r)]
        for name, held in zip(names, run_together(projection, given), strict=True):
            for endpoint, value in held.items():
                found[endpoint].setdefault(name, []).append(value)
        return [{name: np.stack(values) for name, values in x.items()} for x in found]


def run_together(projection: Projection, given: Sequence[Any]) -> list[dict[int, Any]]:
    """What every endpoint has of each output, all of them run in one program.

    Args:
      projection: the program.
      given: its inputs.
    """
    hosted = range(len(projection.names))
    inputs = [*given, *[np.zeros(32, np.uint8)] * (len(projection.inputs) - len(given))]
    held = [[inputs[i] for i in projection.given(e)] for e in hosted]
    program = jax.jit(projection.together(kernels.evaluate))
    _, out = program(jnp.zeros((), jnp.uint32), held)
    rows = [iter(x) for x in out]
    return [{e: np.asarray(next(rows[e])) for e in p.endpoints} for p in projection.outputs]


def _kind(x: Any) -> np.ufunc | None:
    return {A: np.add, B: np.bitwise_xor}.get(type(x))


# Values that protocols go wrong on.


def signed(words: np.ndarray) -> np.ndarray:
    """Ring elements as signed integers."""
    return words.view(f"int{words.dtype.itemsize * 8}")


def words(values: Any, bits: int) -> np.ndarray:
    """Python integers as ring elements."""
    flat = [int(v) % (1 << bits) for v in np.asarray(values, object).reshape(-1)]
    return np.asarray(flat, f"uint{bits}").reshape(np.shape(values))


def extremes(bits: int) -> list[int]:
    """0, ±1, ±2^(k-2), the encoding's limits and both sides of every block's boundary."""
    magnitudes = {0, 1, 2, 3, (1 << bits - 2), (1 << bits - 2) - 1}
    for position in range(4, bits - 2, 4):
        magnitudes |= {(1 << position) - 1, 1 << position, (1 << position) + 1}
    scale = jsmpc.testing.InsecurePlain(bits=bits).encoding.scale
    magnitudes |= {scale - 1, scale, scale + 1, (1 << bits - 2) - scale}
    return sorted({s * m for m in magnitudes for s in (1, -1)})


def mixed(bits: int, count: int, seed: int, limit: int | None = None) -> np.ndarray:
    """Signed integers: the extremes within the limit, and random ones of every magnitude."""
    limit = 1 << (bits - 2) if limit is None else limit
    rng = np.random.default_rng(seed)
    chosen = [v for v in extremes(bits) if abs(v) <= limit]
    width = rng.integers(0, limit.bit_length() + 1, count - len(chosen))
    for w in width:
        magnitude = int(rng.integers(0, 2**63)) % (1 << int(w))
        chosen.append(min(magnitude, limit) * (1 if rng.integers(2) else -1))
    return np.asarray(chosen, object)
