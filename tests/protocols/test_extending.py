"""A protocol and a rule from outside of the package, by its public names alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import mlir

import jsmpc
from jsmpc import extend
from jsmpc._src.interpreter.registry import RULES
from jsmpc.bench import __main__ as bench
from jsmpc.bench import measure
from jsmpc.bench.table import WORKLOADS
from jsmpc.bench.workloads import Workload
from jsmpc.examples import cli

# --- A protocol ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class InsecureMasked(extend.Protocol[extend.Local]):
    """Two parties; party 1 holds a mask that it shows to party 0 whenever there is work.

    Guarantee: none after the first product; nothing of what was only shared and added.
    """

    parties: tuple[str, ...] = ("worker", "keeper")
    fewest: ClassVar[int] = 2
    most: ClassVar[int | None] = 2
    corruptions: ClassVar[int] = 0

    def setup(self, network: Any, keys: Any) -> Any:
        return network.hosted([extend.iterate(keys[i], 0, i) for i in range(2)])

    def unpack(self, network: Any, stacked: Any) -> Any:
        return network.unpack_local(stacked)

    def constant(self, ctx: Any, words: Any) -> Any:
        return ctx.network.hosted([words, jnp.zeros_like(words)])

    def open(self, ctx: Any, x: Any, group: Any = extend.ARITHMETIC) -> Any:
        return group.sum(ctx.network.gather(x)).example

    def open_to(self, ctx: Any, x: Any, rank: int, group: Any = extend.ARITHMETIC) -> Any:
        return group.sum(ctx.network.collect(x, rank))

    def _worked(self, ctx: Any, value: Any, group: Any = extend.ARITHMETIC) -> Any:
        """A value that party 0 knows, under a fresh mask of party 1, sent to it."""
        mask = ctx.draw(value.shape, value.dtype, group)
        mask = ctx.network.by_rank(ctx.network.send(mask, {1: 0}), mask)
        return ctx.network.at(0, mask.map(lambda m: group.subtract(value, m)), mask)

    def product(self, ctx: Any, f: Any, x: Any, y: Any, divisor: Any = None, addend: Any = None):
        left, right = (self.open(ctx, v, f.group) for v in (x, y))
        return self._finish(ctx, self._worked(ctx, f((left, right)), f.group), divisor, addend)

    def truncate(self, ctx: Any, x: Any, divisor: int) -> Any:
        signed = self.open(ctx, x).astype(self.ring.signed)
        return self._worked(ctx, (signed // divisor).astype(self.ring.dtype))

    def msbs(self, ctx: Any, x: Any, offsets: Any) -> Any:
        """An operation that has a fallback, in a way of its own."""
        value = self.open(ctx, x)
        signs = (self.ring.top_bit(value + self.ring.constant(c)) for c in offsets)
        return [extend.Bits(self._worked(ctx, bit, extend.BOOLEAN), 1) for bit in signs]

    def b2a(self, ctx: Any, b: Any) -> Any:
        bit = self.open(ctx, extend.words_of(b, 1), extend.BOOLEAN) & np.uint8(1)
        return self._worked(ctx, bit.astype(self.ring.dtype))


# --- A rule --------------------------------------------------------------------------------------

leaky_p = Primitive("leaky")
leaky_p.def_impl(lambda x: jnp.where(x < 0, x / 4, x))
leaky_p.def_abstract_eval(lambda x: jax.core.ShapedArray(x.shape, x.dtype))
mlir.register_lowering(leaky_p, mlir.lower_fun(leaky_p.impl, multiple_results=False))


def leaky(ev: extend.Evaluator, x: extend.Secret) -> extend.Secret:
    """x where it is positive, x / 4 where it is not."""
    quarter = ev.smpc.truncate(ev.ctx, x.value, 4)
    return extend.Secret(quarter + ev.smpc.relu(ev.ctx, x.value - quarter), x.dtype)


# --- Both in use ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with mock.patch.dict(extend.PROTOCOLS), mock.patch.dict(RULES):
        extend.register_protocol("masked", InsecureMasked)
        extend.unary(leaky_p, "comparison", "1 ulp")(leaky)
        yield


def values() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return tuple(rng.standard_normal((4, 5)).astype(np.float32) for _ in range(2))


def function(x: Any, y: Any) -> Any:
    """Products, a comparison, a choice, and the new primitive."""
    return leaky_p.bind(x * y) + jnp.where(x < y, x, 0), (x @ y.T).argmax(1)


@pytest.mark.parametrize("name", ["masked", "additive", "replicated"])
def test_a_protocol_and_a_rule_are_used_through_secure(name: str) -> None:
    smpc = extend.make_protocol(name)
    shares = jsmpc.share(jax.random.key(1), values(), smpc)
    found = jsmpc.reveal(jsmpc.secure(function)(jax.random.key(2), *shares))
    expected = function(*map(jnp.asarray, values()))
    np.testing.assert_allclose(found[0], expected[0], atol=2**-16)
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_rule_is_listed() -> None:
    row = {r.primitive: r for r in jsmpc.supported()}["leaky"]
    assert (row.status, row.cost, row.error) == ("supported", "comparison", "1 ulp")


def test_a_protocol_is_benchmarked_by_name(capsys: Any) -> None:
    workload = Workload("tiny", "the function above", function, lambda _: values())
    with mock.patch.dict(WORKLOADS, tiny=workload):
        arguments = "tiny --protocol masked --repeat 1 --in-process --json -"
        assert bench.main(arguments.split()) == 0
    result = json.loads(capsys.readouterr().out)
    text = json.dumps(result)
    assert "InsecureMasked" in text and '"status": "ok"' in text
    assert measure.Settings("masked").make() == InsecureMasked()


def test_a_protocol_is_a_choice_of_the_command_line() -> None:
    options = cli.make_parser().parse_args(["--protocol", "masked", "--parties", "a", "b"])
    assert cli.make_protocol(options) == InsecureMasked(("a", "b"))
    assert cli.assumptions(cli.make_protocol(options), "").startswith("none: InsecureMasked")


def test_a_name_is_registered_once() -> None:
    extend.register_protocol("masked", InsecureMasked)
    with pytest.raises(ValueError, match="that of InsecureMasked"):
        extend.register_protocol("masked", jsmpc.Replicated3)
    with pytest.raises(jsmpc.ProtocolError, match="no protocol is called 'none'; there are: repl"):
        extend.make_protocol("none")


def test_the_readme_shows_the_protocols() -> None:
    """If this fails, put what `jsmpc.extend.protocol_table()` returns there."""
    assert extend.protocol_table() in (Path(__file__).parents[2] / "README.md").read_text()
