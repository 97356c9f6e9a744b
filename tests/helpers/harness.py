"""Runs protocol code on shares: on the simulated network and on the mesh, opened or not."""

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
from jsmpc._src.network.mesh import Mesh
from jsmpc._src.network.network import AXIS
from jsmpc._src.network.simulated import Simulated
from jsmpc._src.network.values import Local, Replica
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.registry import PROTOCOLS, make_protocol
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.dealing import Planner, Supplied, by_party, offline

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


def group_of(x: Any) -> Group:
    return ARITHMETIC if isinstance(x, A) else BOOLEAN


def split(smpc: Protocol, seed: int, operands: Sequence[A | B]) -> list[np.ndarray]:
    """Shares of the operands, the party on the leading axis."""
    with jax.enable_x64(True):
        return [
            np.stack(
                smpc.split(jnp.asarray(key(1000 * seed + i)), jnp.asarray(x.value), group_of(x))
            )
            for i, x in enumerate(operands)
        ]


def _is_result(x: Any) -> bool:
    return isinstance(x, A | B | At | Local | Replica)


Program = Callable[..., Any]


class Runner:
    """A function of a context and shares on a protocol's simulated network.

    The function returns a dict of `A`, `B` and `At` results, or of public arrays.
    """

    def __init__(self, smpc: Protocol, f: Program):
        self.smpc, self.f = smpc, f
        self.kinds: dict[str, Any] = {}
        self._run = jax.jit(kernels.optimize(self.program))

    def _pack(self, net: Any, results: dict[str, Any]) -> dict[str, Any]:
        self.kinds = {name: _kind(x) for name, x in results.items()}
        packed = {}
        for name, x in results.items():
            if isinstance(x, A | B):
                packed[name] = net.pack(x.value)
            elif isinstance(x, At):
                value = x.value.values[x.rank if len(x.value.values) > 1 else 0]
                packed[name] = (value[None] if isinstance(net, Mesh) else value,)
            else:
                packed[name] = (x[None] if isinstance(net, Mesh) else x,)
        return packed

    def program(self, key: Any, *stacked: Any) -> dict[str, Any]:
        net = Simulated(self.smpc.size)
        ctx = Context(net, self.smpc.setup(net, key))
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

    def on_mesh(self, seed: int, shares: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
        """The results' components as the mesh leaves them, dealt before in the simulation."""
        smpc, n = self.smpc, self.smpc.size
        mesh = jax.make_mesh((n,), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
        net, simulated, planner = Mesh(n), Simulated(n), Planner()
        party, everyone = jax.P(AXIS), jax.P()

        def plan(key: Any, *stacked: Any) -> Any:
            ctx = Context(simulated, smpc.setup(simulated, key), planner)
            operands = (smpc.unpack(simulated, (s,)) for s in stacked)
            return self._pack(simulated, self.f(ctx, *operands))

        def party_program(key: Any, sent: Any, stacked: Any) -> Any:
            sent = jax.tree.map(lambda x: x[0], sent)
            ctx = Context(net, smpc.setup(net, key), Supplied(planner.plan(), sent))
            return self._pack(net, self.f(ctx, *(smpc.unpack(net, s) for s in stacked)))

        def run(key: Any, *stacked: Any) -> Any:
            dealt = offline(simulated, smpc.setup(simulated, key), planner.plan())
            sharded = jax.shard_map(
                kernels.optimize(party_program),
                mesh=mesh,
                in_specs=(everyone, party, party),
                out_specs=party,
                check_vma=False,
            )
            placed = [smpc.placed(s) for s in stacked]
            return sharded(key, by_party(dealt), placed)

        with jax.enable_x64(True):
            jax.eval_shape(plan, key(seed), *shares)
            out = jax.jit(run)(key(seed), *(jnp.asarray(s) for s in shares))
            return {name: [np.asarray(v) for v in values] for name, values in out.items()}


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
