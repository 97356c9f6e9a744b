"""A protocol with a state, from outside of the package; run as a program, `jsmpc` that knows it."""

from __future__ import annotations

import dataclasses
import functools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jsmpc
from jsmpc import extend
from jsmpc._src.runtime.correlations import Triple


@dataclasses.dataclass(frozen=True)
class BlindedTriple(Triple):
    """[a], [b] and [β·a·b], for the β that the dealer has in the state."""

    def deal(self, network: Any, expanded: Any, state: Any = None) -> Any:
        a, b, own = (x.values for x in expanded)
        product = self.product((sum(a[1:], a[0]), sum(b[1:], b[0]))) * state["blind"].values[0]
        return (network.deliver(network.only(0, product - sum(own[2:], own[1]))),)


@dataclasses.dataclass(frozen=True)
class InsecureBlinded(jsmpc.Additive):
    """Shares of β·x, for an odd β that lasts: the dealer draws it, and all endpoints know it. Each
    party keeps a key of its own besides, under which it masks products.

    Guarantee: none; the masks are the same in all products.
    """

    @functools.cached_property
    def state(self) -> Any:
        """That of a simulation."""
        with jax.enable_x64(True), jax.ensure_compile_time_eval():
            return self.establish(extend.Network(self.size), [jnp.arange(8, dtype=jnp.uint32)] * 3)

    def establish(self, network: Any, keys: Any) -> Any:
        drawn = extend.ARITHMETIC.draw(extend.iterate(keys[-1], 1, 0), 0, (), np.uint64)
        blind = drawn | np.uint64(1)
        inverse = blind
        for _ in range(5):  # each step doubles the bits that are right, from three
            inverse = inverse * (np.uint64(2) - blind * inverse)
        told = [network.deliver(network.hosted([x] * self.size)) for x in (blind, inverse)]
        own = network.hosted([extend.iterate(keys[i], 2, i) for i in range(self.size)])
        return {"blind": told[0], "inverse": told[1], "own": own}

    @property
    def bare(self) -> jsmpc.Additive:
        """That of shares of x."""
        return jsmpc.Additive(self.parties, self.bits, self.encoding, self.dealer)

    def split(self, keys: Any, words: Any, group: Any, state: Any = None) -> list[Any]:
        return super().split(keys, words * state["blind"].values[0], group)

    def constant(self, ctx: Any, words: Any) -> Any:
        return self.bare.constant(ctx, words) * ctx.state["blind"]

    def open(self, ctx: Any, x: Any, group: Any = extend.ARITHMETIC) -> Any:
        return self.bare.open(ctx, x * ctx.state["inverse"], group)

    def open_to(self, ctx: Any, x: Any, rank: int, group: Any = extend.ARITHMETIC) -> Any:
        return self.bare.open_to(ctx, x * ctx.state["inverse"], rank, group)

    def truncate(self, ctx: Any, x: Any, divisor: Any) -> Any:
        return self.bare.truncate(ctx, x * ctx.state["inverse"], divisor) * ctx.state["blind"]

    def product(self, ctx: Any, f: Any, x: Any, y: Any, divisor: Any = None, addend: Any = None):
        blind, inverse, own = (ctx.state[name] for name in ("blind", "inverse", "own"))
        a, b, c = ctx.deal(BlindedTriple(f, x.shape, y.shape, x.dtype))
        d, e = (self.bare.open(ctx, v) for v in (x * inverse - a, y * inverse - b))
        rest = b.map(lambda b: f((d, b))) + a.map(lambda a: f((a, e)))
        z = c + (rest + ctx.network.by_rank(c * 0 + f((d, e)), c * 0)) * blind
        mask = own.map(lambda key: extend.ARITHMETIC.draw(key, 0, z.shape, z.dtype))
        return self._finish(ctx, z + ctx.network.send(mask, {0: 1, 1: 0}) - mask, divisor, addend)


if __name__ == "__main__":
    from jsmpc.examples.command import main

    extend.register_protocol("blinded", InsecureBlinded)
    sys.exit(main(sys.argv[1:]))
