"""The mesh, one device a party, against the simulation: the same shares, bit for bit."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

import jsmpc
import programs
from harness import SECRET, A, At, B, Runner, mixed, protocol, split, words
from jsmpc._src.functions import comparison, division, exponential
from jsmpc._src.network.network import AXIS
from jsmpc._src.ring import bilinear
from jsmpc._src.runtime.context import Context

BITS = 64


def mesh_of(parties: int) -> jax.sharding.Mesh:
    return jax.make_mesh((parties,), (AXIS,), axis_types=(AxisType.Auto,))


def products_program(smpc: jsmpc.Protocol, ctx: Context, x: Any, y: Any) -> Any:
    (image, kernel, params), *_ = programs.convolutions()
    cut = x.map(lambda w: jnp.resize(w, image))
    taps = y.map(lambda w: jnp.resize(w, kernel))
    left, right = x.map(lambda w: w[:600].reshape(20, 30)), y.map(lambda w: w[:600].reshape(30, 20))
    scale = smpc.encoding.scale
    return {
        "matmul": A(smpc.product(ctx, bilinear.MATMUL, left, right)),
        "matmul_divided": A(smpc.product(ctx, bilinear.MATMUL, left, right, scale)),
        "convolution": A(smpc.product(ctx, programs.product_of(params), cut, taps)),
        "square_divided": A(smpc.square(ctx, x, scale)),
        "truncate": A(smpc.truncate(ctx, x, scale)),
        "truncate_decimal": A(smpc.truncate(ctx, x, 1000)),
        "scalar": A(smpc.mul_aa(ctx, x.map(lambda w: w[0]), y.map(lambda w: w[1]))),
    }


def largest_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    value, index = comparison.argument_of_largest(smpc, ctx, x)
    return {"max": A(value), "argmax": A(index), "largest": A(comparison.largest(smpc, ctx, x))}


def nonlinear_program(smpc: jsmpc.Protocol, ctx: Context, x: Any) -> Any:
    scale = smpc.encoding.scale
    return {
        "divide": A(division.divide(smpc, ctx, x, -x, scale)),
        "exponential": A(exponential.exponential(smpc, ctx, x, 1.4427 / scale, scale)),
    }


def operands_of(program: Any) -> list[A | B]:
    rng = np.random.default_rng(3)
    x, y, p, q = programs.elementwise_operands(BITS)
    if program is programs.elementwise_program:
        return [A(x), A(y), B(p), B(q)]
    if program is programs.comparison_program:
        return [A(x), A(y), B(p)]
    if program is programs.conversions_program:
        return [A(x[:100]), B(q[:100])]
    if program is largest_program:
        return [A(words(rng.integers(-3, 3, (3, 40)).astype(object), BITS))]
    if program is nonlinear_program:
        return [A(words(mixed(BITS, 200, 2), BITS))]
    if program is programs.rounding_program:
        return [A(words(mixed(BITS, 300, 2), BITS))]
    return [A(x), A(y)]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "program",
    [
        programs.elementwise_program,
        programs.comparison_program,
        programs.conversions_program,
        largest_program,
        programs.rounding_program,
        products_program,
        nonlinear_program,
    ],
    ids=lambda f: f.__name__.removesuffix("_program"),
)
@pytest.mark.parametrize("name", SECRET)
def test_the_mesh_computes_the_same_shares(name: str, program: Any) -> None:
    smpc = protocol(name, BITS)
    kinds: dict[str, Any] = {}

    def noting(ctx: Context, *operands: Any) -> Any:
        results = program(smpc, ctx, *operands)
        kinds.update(results)
        return results

    runner = Runner(smpc, noting)
    shares = split(smpc, 4, operands_of(program))
    simulated, meshed = runner.stacked(5, shares), runner.on_mesh(5, shares)
    assert meshed.keys() == simulated.keys()
    for operation, expected in simulated.items():
        own, *next_ = meshed[operation]
        kind = kinds[operation]
        if isinstance(kind, At):
            np.testing.assert_array_equal(own[kind.rank], expected, err_msg=operation)
        elif isinstance(kind, A | B):
            np.testing.assert_array_equal(own, expected, err_msg=operation)
            for component in next_:
                rolled = np.roll(expected, -1, 0)
                np.testing.assert_array_equal(component, rolled, err_msg=operation)
        else:
            for row in own:
                np.testing.assert_array_equal(row, expected, err_msg=operation)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", SECRET)
def test_reaching_into_another_partys_share_is_found(name: str) -> None:
    """What the simulation would let pass differs on the mesh."""
    smpc = protocol(name, BITS)

    def cheating(ctx: Context, x: Any) -> Any:
        return {"sum": A(x.map(lambda w: w + x.values[0]))}

    runner = Runner(smpc, cheating)
    shares = split(smpc, 4, operands_of(products_program)[:1])
    simulated, (meshed, *_) = runner.stacked(5, shares)["sum"], runner.on_mesh(5, shares)["sum"]
    assert (simulated[0] == meshed[0]).all()
    assert (simulated[1] != meshed[1]).all()


# --- jsmpc.secure --------------------------------------------------------------------------------


def classify(params: Any, images: Any, labels: Any) -> Any:
    hidden = jax.nn.relu(images @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"]
    correct = jnp.argmax(logits, -1) == labels
    return logits, jsmpc.reveal(correct.sum()), correct


def looped(x: Any) -> Any:
    return jax.lax.fori_loop(0, 3, lambda i, c: jnp.maximum(c * 0.5, x) * c, x)


@functools.cache
def network_values() -> Any:
    rng = np.random.default_rng(8)
    params = {
        "w1": rng.normal(size=(6, 8)).astype(np.float32),
        "b1": rng.normal(size=8).astype(np.float32),
        "w2": rng.normal(size=(8, 4)).astype(np.float32),
    }
    images = rng.normal(size=(5, 6)).astype(np.float32)
    plain = jax.nn.relu(images @ params["w1"] + params["b1"]) @ params["w2"]
    labels = np.array(jnp.argmax(plain, -1), np.int32)
    labels[2] = (labels[2] + 1) % 4
    return params, images, labels


@pytest.mark.parametrize(("name", "bits"), [*((name, 64) for name in SECRET), ("replicated3", 32)])
def test_a_network_on_the_mesh(name: str, bits: int) -> None:
    smpc = protocol(name, bits)
    mesh = mesh_of(smpc.size)
    values = network_values()
    key_in, key_run = jax.random.key(1), jax.random.key(2)
    shares = jsmpc.share(key_in, values, smpc, mesh=mesh)
    for share in jax.tree.leaves(shares, is_leaf=lambda x: isinstance(x, jsmpc.Share)):
        assert len(share.components[0].sharding.device_set) == smpc.size
    out = jsmpc.secure(classify, mesh=mesh)(key_run, *shares)
    logits, correct, which = out
    plain = classify(*jax.tree.map(jnp.asarray, tuple(values)))
    step = 2.0 ** (-18 if bits == 64 else -10)
    np.testing.assert_allclose(jsmpc.reveal(logits), plain[0], atol=60 * step)
    assert int(correct) == 4
    np.testing.assert_array_equal(jsmpc.reveal(which), plain[2])

    # The same keys in the simulation: the same shares.
    simulated = jsmpc.secure(classify)(key_run, *jsmpc.share(key_in, values, smpc))
    np.testing.assert_array_equal(logits.components[0], simulated[0].components[0])
    np.testing.assert_array_equal(which.components[0], simulated[2].components[0])
    assert int(simulated[1]) == 4


@pytest.mark.parametrize("name", SECRET)
def test_a_loop_on_the_mesh_in_two_phases(name: str) -> None:
    smpc = protocol(name, 64)
    mesh = mesh_of(smpc.size)
    x = np.linspace(-1, 1, 5).astype(np.float32)
    on_mesh, simulated = jsmpc.secure(looped, mesh=mesh), jsmpc.secure(looped)
    share = jsmpc.share(jax.random.key(3), x, smpc, mesh=mesh)
    alone = jsmpc.share(jax.random.key(3), x, smpc)
    key = jax.random.key(4)
    out = on_mesh.online(on_mesh.offline(key, share), share)
    expected = simulated.online(simulated.offline(key, alone), alone)
    np.testing.assert_array_equal(out.components[0], expected.components[0])
    np.testing.assert_allclose(jsmpc.reveal(out), looped(jnp.asarray(x)), atol=1e-4)
    assert len(out.components[0].sharding.device_set) == smpc.size
