"""Fusion where XLA fuses: all draws of a program in one loop."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jsmpc._src.kernels import pure, stream
from jsmpc._src.kernels.fusion.equations import Evaluation


class Grouped(Evaluation):
    """All draws whose keys are known are computed in one ChaCha20 loop.

    In pure XLA such a loop costs a quarter of a second to compile, however short the draw.
    """

    def outputs(self) -> list[Any]:
        pending = [
            e for e in self.jaxpr.eqns if e.primitive is stream.draw_p and e.outvars[0].aval.size
        ]
        for eqn in self.jaxpr.eqns:
            if pending and eqn is pending[0]:
                self._draw([e for e in pending if e.invars[0] in self.env])
                pending = [e for e in pending if e.outvars[0] not in self.env]
            elif not (eqn.outvars and eqn.outvars[0] in self.env):
                self.bind(eqn)
        return [self.read(v) for v in self.jaxpr.outvars]

    def _draw(self, eqns: list[Any]) -> None:
        sizes = [
            stream.TILE_BLOCKS * stream.tiles_of(e.params["shape"], e.params["dtype"]) for e in eqns
        ]
        keys, nonces, counters = [], [], []
        for eqn, n in zip(eqns, sizes, strict=True):
            nonce = stream.nonce_of(eqn.params["number"])
            keys.append(jnp.broadcast_to(self.read(eqn.invars[0])[:, None], (8, n)))
            nonces.append(jnp.broadcast_to(jnp.asarray(nonce)[:, None], (3, n)))
            counters.append(jnp.arange(n, dtype=jnp.uint32))
        words = pure.chacha20(
            jnp.concatenate(keys, 1), jnp.concatenate(nonces, 1), jnp.concatenate(counters)
        )
        start = 0
        for eqn, size in zip(eqns, sizes, strict=True):
            blocks = words[:, start : start + size]
            start += size
            params = eqn.params
            self.env[eqn.outvars[0]] = stream.from_blocks(blocks, params["shape"], params["dtype"])
