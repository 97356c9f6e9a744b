"""The elementwise machine, XLA and the pure ChaCha20 all compute the same bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jsmpc._src import kernels
from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import native, stream
from jsmpc._src.kernels import products as matrix_products
from jsmpc._src.kernels.fusion import grouped, region

KEY = np.arange(8, dtype=np.uint32)
needs_native = pytest.mark.skipif(not native.available(), reason="no native kernels")


# Compiled once for each number of blocks.
PURE_KEYSTREAM = jax.jit(stream._pure_keystream, static_argnames="blocks")


@needs_native
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_native_draws_equal_pure_draws(dtype, monkeypatch):
    monkeypatch.setattr(stream, "_pure_keystream", PURE_KEYSTREAM)
    tile = 1024 // np.dtype(dtype).itemsize  # numbers of tiles that all types have: 1, 2, 3, 547
    sizes = (1, 15, 16, 17, tile - 1, tile, tile + 1, 2 * tile, 3 * tile - 7, 547 * tile - 19)
    with jax.enable_x64(True):
        for number, size in enumerate(sizes):
            params = {"number": number, "shape": (size,), "dtype": np.dtype(dtype)}
            ours = kernels.draw(jnp.asarray(KEY), number, (size,), dtype)
            assert ours.dtype == dtype
            np.testing.assert_array_equal(ours, stream._pure_draw(jnp.asarray(KEY), **params))


def _every_operation(key, x, y, narrow):
    """Two regions around a matrix product, with views, constants, slices and conversions."""
    a = kernels.draw(key, 0, x.shape, np.uint64)
    b = kernels.draw(key, 1, narrow.shape, np.uint16)
    s = (x + a) * y - (x ^ y) + np.uint64(5)
    s = (s & np.uint64(0xFFFF_FFFF_FFFF)) | (y << np.uint64(3)) ^ (s >> np.uint64(7))
    t = (narrow ^ b).astype(jnp.uint8).reshape(-1) ^ np.uint8(3)
    product = kernels.dot_general([(s, y.T)], (((1,), (0,)), ((), ())))
    u = -product + ~product // np.uint64(1000) + product[0, 0] - jnp.flip(product, 0)
    stacked = jnp.stack([s, s + np.uint64(1)])
    one = jnp.broadcast_to(y[:1, :1], y.shape) + jnp.zeros_like(y) * x
    same = (x + jnp.zeros_like(x)) * jnp.ones_like(x) ^ -jnp.full_like(x, 5) + np.uint64(7)
    sums = s[1:3] + y[:2]
    return u, t.astype(jnp.uint32), stacked[1] * np.uint64(3), sums, np.uint64(9) - y, one, same


@pytest.mark.parametrize("rows", [4, 40])
def test_optimized_programs_compute_the_same(rows):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, y = (jnp.asarray(rng.integers(0, 2**64, (rows, 60), np.uint64)) for _ in range(2))
        narrow = jnp.asarray(rng.integers(0, 2**16, (rows, 7), np.uint16))
        args = (jnp.asarray(KEY), x, y, narrow)
        plain = jax.jit(_every_operation)(*args)
        for result in (
            jax.jit(kernels.optimize(_every_operation))(*args),
            jax.jit(_grouped)(*args),
            jax.tree.map(
                lambda v: v[1],
                jax.vmap(kernels.optimize(_every_operation))(
                    *(jnp.stack([v ^ np.array(1, v.dtype), v]) for v in args)
                ),
            ),
        ):
            jax.tree.map(np.testing.assert_array_equal, plain, result)


def _grouped(*args):
    closed, shape = jax.make_jaxpr(_every_operation, return_shape=True)(*args)
    evaluation = grouped.Grouped(getattr(closed, "jaxpr", closed), closed.consts, args, compat.bind)
    return jax.tree.unflatten(jax.tree.structure(shape), evaluation.outputs())


def _rearranged(stacked):
    """Products of rows of a stack: of heads, transposed, and cut."""
    x, y = stacked[1], stacked[2]
    heads, others = (v.reshape(6, 4, 8).transpose(1, 0, 2) for v in (x, y))
    scores = kernels.dot_general([(heads, others)], (((2,), (2,)), ((0,), (0,))))
    mixed = kernels.dot_general([(scores, others)], (((2,), (1,)), ((0,), (0,))))
    both = kernels.dot_general([(x, y.T), (y, x.T)], (((1,), (0,)), ((), ())))
    joined = mixed.transpose(1, 0, 2).reshape(6, 32)  # heads side by side: no strides say that
    return kernels.dot_general([(joined, y[:, 3:9])], (((0,), (0,)), ((), ()))), both


def _by_row(x, stacked):
    return kernels.dot_general([(x, stacked[2])], (((1,), (0,)), ((), ())))


@needs_native
def test_products_read_in_place_what_is_only_rearranged():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        stacked = jnp.asarray(rng.integers(0, 2**64, (3, 6, 32), np.uint64))
        plain, optimized = jax.jit(_rearranged)(stacked), kernels.optimize(_rearranged)
        jax.tree.map(np.testing.assert_array_equal, jax.jit(optimized)(stacked), plain)
        twice = jax.vmap(optimized)(jnp.stack([stacked, stacked]))
        jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[1], y), twice, plain)
        row = jax.vmap(kernels.optimize(_by_row), (0, None))(stacked[:, :, :6], stacked)
        np.testing.assert_array_equal(row[1], stacked[1, :, :6] @ stacked[2])

        jaxpr = jax.make_jaxpr(optimized)(stacked).jaxpr
        products = [e for e in jaxpr.eqns if e.primitive.name == "ring_matmul"]
        counts = [sum(v is jaxpr.invars[0] for v in e.invars) for e in products]
        assert sorted(counts) == [1, 1, 2, 4]
        for eqn in products:  # without the native kernels they are copied
            operands = [rng.integers(0, 2**64, v.aval.shape, np.uint64) for v in eqn.invars]
            in_place = eqn.primitive.bind(*map(jnp.asarray, operands), **eqn.params)
            copied = matrix_products._pure(*operands, **eqn.params)
            np.testing.assert_array_equal(in_place, copied)


def test_equations_without_results_are_kept(capsys):
    def printing(x):
        jax.debug.print("{}", x[0])
        return x + np.uint32(1)

    jax.block_until_ready(jax.jit(kernels.optimize(printing))(jnp.arange(4, dtype=jnp.uint32)))
    jax.effects_barrier()
    assert capsys.readouterr().out == "0\n"


@needs_native
def test_a_chain_of_gates_is_one_program():
    """What lies between two products runs in one pass, whatever its length."""

    def chain(key, x):
        for number in range(20):
            x = (x ^ kernels.draw(key, number, x.shape, np.uint64)) * (x + np.uint64(number))
        return x

    with jax.enable_x64(True):
        x = jnp.arange(3000, dtype=jnp.uint64)
        jaxpr = jax.make_jaxpr(kernels.optimize(chain))(jnp.asarray(KEY), x)
        assert [e.primitive for e in jaxpr.eqns] == [region.fused_p]
        np.testing.assert_array_equal(
            jax.jit(kernels.optimize(chain))(jnp.asarray(KEY), x),
            jax.jit(chain)(jnp.asarray(KEY), x),
        )
