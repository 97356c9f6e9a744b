"""Keys of functions of masked values: what a dealer hands out for function secret sharing."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.kernels.trees import levels
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.correlations import Correlation, DabitProduct, Words

Array = jax.Array

_SEED = np.dtype(np.uint64)


@dataclasses.dataclass(frozen=True)
class FunctionKey(Correlation):
    """[r], and two parties' keys of a function of r, which is evaluated at masked values.

    The function is y -> [y = r], or y -> [y < r] ^ (bit `width` of r); of y and of r the lowest
    `width` bits count. See `kernels.fss`. The parties expand [r] and the roots of their keys; the
    dealer sends both the same corrections.

    Attributes:
      shape, dtype, group: of r.
      width: of the points.
      comparison: which of the two functions.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    width: int
    comparison: bool
    group: Group = ARITHMETIC

    @property
    def mask(self) -> Words:
        return Words(self.shape, self.dtype, self.group)

    @property
    def draws(self) -> int:
        return 2

    def expand(self, network: Network, seeds: Local, number: int) -> list[Local]:
        root = Words((2, *self.shape), _SEED)
        return [
            seeds.map(lambda key: self.mask.draw(key, number)),
            seeds.map(lambda key: root.draw(key, number + 1)),
        ]

    def deal(self, network: Network, expanded: list[Local], state: Any = None) -> tuple[Local, ...]:
        mask, roots = expanded[:2]
        r = self.group.sum(mask.values).astype(_SEED)
        first, second = roots.values
        corrections = kernels.function_keys((first, second), r, self.width, self.comparison)
        return (network.deliver(network.hosted([corrections] * 2)),)

    def blank(self, network: Network) -> tuple[Local, ...]:
        corrections = jnp.zeros((levels(self.width, self.comparison) + 1, 2, *self.shape), _SEED)
        return (network.hosted([corrections] * 2),)

    def assemble(
        self, network: Network, expanded: list[Local], sent: tuple[Local, ...]
    ) -> tuple[Local, ...]:
        """[r], the parties' roots, and the corrections."""
        return (*expanded, *sent)


@dataclasses.dataclass(frozen=True)
class SelectionKey(Correlation):
    """A `FunctionKey` of r, a dabit ρ, and [ρ·r]: to multiply a value with a function of it."""

    key: FunctionKey

    @property
    def product(self) -> DabitProduct:
        return DabitProduct(self.key.shape, self.key.dtype)

    @property
    def draws(self) -> int:
        return self.key.draws + self.product.draws

    def expand(self, network: Network, seeds: Local, number: int) -> list[Local]:
        """The product's other factor is the key's mask."""
        mask, root = self.key.expand(network, seeds, number)
        rho, _, *derived = self.product.expand(network, seeds, number + self.key.draws)
        return [mask, root, rho, mask, *derived]

    def deal(self, network: Network, expanded: list[Local], state: Any = None) -> tuple[Local, ...]:
        return (*self.key.deal(network, expanded[:2]), *self.product.deal(network, expanded[2:]))

    def blank(self, network: Network) -> tuple[Local, ...]:
        return (*self.key.blank(network), *self.product.blank(network))

    def assemble(
        self, network: Network, expanded: list[Local], sent: tuple[Local, ...]
    ) -> tuple[Local, ...]:
        """[r], the parties' roots, the corrections, and of the dabit and the product [ρ] by xor,
        [ρ] and [ρ·r]."""
        rho, _, *derived = self.product.assemble(network, expanded[2:], sent[1:])
        return (*self.key.assemble(network, expanded[:2], sent[:1]), rho, *derived)


@dataclasses.dataclass(frozen=True)
class Repeated(Correlation):
    """A correlation many times, along a leading axis: what the iterations of a loop at the site of
    its number are dealt, see `Context.scan`."""

    block: Correlation
    count: int

    @property
    def draws(self) -> int:
        return 1

    def expand(self, network: Network, seeds: Local, number: int) -> list[Local]:
        def one(index: Array) -> list[Local]:
            inner = seeds.map(lambda seed: prf.iterate(seed, number, index))
            return self.block.expand(network, inner, 0)

        return jax.vmap(one)(jnp.arange(self.count, dtype=jnp.uint32))

    def deal(self, network: Network, expanded: list[Local], state: Any = None) -> tuple[Local, ...]:
        return jax.vmap(lambda *e: self.block.deal(network, list(e), state))(*expanded)

    def blank(self, network: Network) -> tuple[Local, ...]:
        def many(zeros: Array) -> Array:
            return jnp.zeros((self.count, *zeros.shape), zeros.dtype)

        return jax.tree.map(many, self.block.blank(network))

    def assemble(
        self, network: Network, expanded: list[Local], sent: tuple[Local, ...]
    ) -> tuple[Local, ...]:
        return jax.vmap(lambda e, s: self.block.assemble(network, e, s))(expanded, sent)
