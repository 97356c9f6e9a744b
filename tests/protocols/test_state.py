"""A protocol may share values of several arrays under a state that outlives a call: MACs, here."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harness import key
from jsmpc._src.interpreter.findings import Settled, rehearsed
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, PerParty
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.ring.bilinear import MULTIPLY, Bilinear
from jsmpc._src.ring.groups import ARITHMETIC, Group
from jsmpc._src.runtime import prf
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import Correlation, Triple


class Authenticated(PerParty):
    """Shares (x_i, m_i) with Σ m_i = α·Σ x_i."""

    def map(self, f: Callable[..., Any], *others: Any) -> Authenticated:
        columns = [o.values if isinstance(o, PerParty) else [(o, o)] * 2 for o in others]
        return Authenticated(
            tuple(f(*parts) for parts in zip(*shares, strict=True))
            for shares in zip(self.values, *columns, strict=True)
        )

    @property
    def example(self) -> Any:
        return self.values[0][0]

    def part(self, i: int) -> Local:
        return Local(v[i] for v in self.values)


@dataclasses.dataclass(frozen=True)
class AuthenticatedTriple(Correlation):
    """[a], [b], [a·b] with their MACs: a form of its own, sent to both parties."""

    triple: Triple
    draws: ClassVar[int] = 3

    def expand(self, network: Network, seeds: Local, number: int) -> list[Local]:
        words = (*self.triple.uniform, *self.triple.derived)
        return [seeds.map(lambda s, n=n, w=w: w.draw(s, n)) for n, w in enumerate(words, number)]

    def deal(self, network: Network, expanded: list[Local], state: Any = None) -> tuple[Local, ...]:
        a, b, own = expanded
        a_value, b_value = (ARITHMETIC.sum(x.values) for x in (a, b))
        values = (a_value, b_value, a_value * b_value)
        alpha = ARITHMETIC.sum(state.values)
        macs = [Local([own.values[1] * 0, alpha * v]) for v in values]
        difference = network.only(0, values[2] - ARITHMETIC.sum(own.values))
        return tuple(network.deliver(x) for x in (difference, *macs))

    def blank(self, network: Network) -> tuple[Local, ...]:
        zero = jnp.zeros(self.triple.left, self.triple.dtype)
        return (network.only(0, zero), *[Local([zero, zero])] * 3)

    def assemble(
        self, network: Network, expanded: list[Local], sent: tuple[Local, ...]
    ) -> tuple[Any, ...]:
        a, b, own = expanded
        difference, *macs = sent
        c = Local([own.values[0] + difference.values[0], own.values[1]])
        return tuple(
            Authenticated(zip(x.values, m.values, strict=True))
            for x, m in zip((a, b, c), macs, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Mac(Protocol[Authenticated]):
    """Two parties, x = Σ x_i and α·x = Σ m_i, α shared once for all."""

    parties: tuple[str, ...] = ("party0", "party1")
    arrays: ClassVar[int] = 2

    def establish(self, network: Network, keys: Any) -> Local:
        return Local(
            ARITHMETIC.draw(prf.iterate(keys[i], 1, i), 0, (), np.uint64) for i in range(2)
        )

    def split(self, keys: Any, words: Any, group: Group, state: Any = None) -> list[Any]:
        alpha = ARITHMETIC.sum(state.values)
        both = (("value", words), ("mac", alpha * words))
        x, m = (super(Mac, self).split([prf.derive(k, n) for k in keys], w, group) for n, w in both)
        return list(zip(x, m, strict=True))

    def setup(self, network: Network, keys: Any) -> Local:
        return Local(prf.iterate(keys[i], 0, i) for i in range(2))

    def unpack(self, network: Network, stacked: tuple[Any, ...]) -> Authenticated:
        return Authenticated(zip(*stacked, strict=True))

    def constant(self, ctx: Context, words: Any) -> Authenticated:
        first, second = ctx.state.values
        return Authenticated([(words, first * words), (words * 0, second * words)])

    def open(self, ctx: Context, x: Any, group: Group = ARITHMETIC) -> Any:
        """The value, and zero unless the parties' shares of α·x - m say that it is not theirs."""
        value = ARITHMETIC.sum(ctx.network.gather(x.part(0)))
        check = ARITHMETIC.sum(ctx.network.gather(ctx.state * value - x.part(1))).example
        return jnp.where(check == 0, value.example, 0)

    def product(self, ctx: Context, f: Bilinear, x: Any, y: Any, *_: Any) -> Any:
        triple = Triple(f, x.shape, y.shape, self.ring.dtype)
        a, b, c = ctx.deal(AuthenticatedTriple(triple))
        d, e = (self.open(ctx, v) for v in (x - a, y - b))
        return c + b * d + a * e + self.constant(ctx, d * e)


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


class Run:
    """A run on shares of two secrets, under one state."""

    def __init__(self) -> None:
        self.smpc, net = Mac(), Network(2)
        state = self.smpc.establish(net, [jnp.asarray(key(1))] * 2)
        self.ctx = Context(net, self.smpc.setup(net, [jnp.asarray(key(9))] * 2), state=state)
        self.values = np.arange(1, 6, dtype=np.uint64), np.full(5, 3 << 60, np.uint64)
        self.shares = [self._shared(i, words) for i, words in enumerate(self.values, 2)]

    def _shared(self, seed: int, words: np.ndarray) -> Authenticated:
        smpc, net = self.smpc, self.ctx.network
        keys = smpc.mask_keys(jnp.asarray(key(seed)))
        parts = smpc.split(keys, jnp.asarray(words), ARITHMETIC, self.ctx.state)
        stacked = tuple(jnp.stack(a) for a in zip(*parts, strict=True))
        assert smpc.arrays == len(stacked)
        return smpc.unpack(net, stacked)


def test_a_state_is_common_to_sharing_products_and_opening() -> None:
    run = Run()
    x, y = run.values
    z = run.smpc.product(run.ctx, MULTIPLY, *run.shares)
    z = z + run.smpc.constant(run.ctx, jnp.ones(5, np.uint64))
    np.testing.assert_array_equal(run.smpc.open(run.ctx, z), x * y + np.uint64(1))


@pytest.mark.parametrize("by", [1, 1 << 40])
def test_a_share_that_was_changed_is_not_opened(by: int) -> None:
    run = Run()
    (x, mac), other = run.shares[0].values
    changed = Authenticated([(x + np.uint64(by), mac), other])
    np.testing.assert_array_equal(run.smpc.open(run.ctx, run.shares[0]), run.values[0])
    assert not np.asarray(run.smpc.open(run.ctx, changed)).any()


def test_a_rehearsed_loop_has_the_state() -> None:
    run = Run()

    def program(ctx: Context) -> Settled:
        z = run.smpc.product(ctx, MULTIPLY, *run.shares)
        faults = OrderedDict(here=run.smpc.open(ctx, z).any())
        return Settled(faults, OrderedDict(), OrderedDict())

    faults = rehearsed(run.ctx, program).faults
    assert faults["here"].dtype == bool and not faults["here"]
