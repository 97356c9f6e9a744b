"""Reading and writing at positions, secret and public, against plain JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jsmpc
from agreement import KEY, both

SMPCS = {
    "replicated": jsmpc.Replicated3(),
    "replicated32": jsmpc.Replicated3(bits=32),
    "additive": jsmpc.Additive(("bob", "alice")),
    "fss2": jsmpc.FSS2(("bob", "alice")),
}
X = np.arange(12, dtype=np.float32).reshape(3, 4) - 5.5
LINE = np.linspace(-1, 1, 10, dtype=np.float32)
# In range, from behind, and out of range on both sides.
ROWS, COLUMNS = np.int32([0, 2, -1, 5]), np.int32([3, 1, -4, -9])


def agrees(f, *args, smpc, secret=None):
    """Whether f gives on shares what it gives in JAX; `secret` are the positions of shares."""
    for name, ours, theirs in both(f, *args, smpc=smpc, secret=secret):
        expected = np.nan_to_num(np.asarray(theirs, np.float64))  # what JAX fills with NaN is zero
        error = 16 / smpc.encoding.scale
        np.testing.assert_allclose(np.asarray(ours), expected, atol=error, err_msg=name)


# FSS2 finds positions in a way of its own.
secretly = pytest.mark.parametrize(
    "smpc", [SMPCS["replicated"], SMPCS["fss2"]], ids=["replicated", "fss2"]
)


def reads(x, i, j):
    integers = x.astype(jnp.int32)
    return {
        "x[k]": jnp.stack([x[i[0]], x[i[2]], x[i[3]], x[j[3]]]),
        "x[i, j]": x[i, j],
        "x[:, j]": x[:, j],
        "take fills with NaN": jnp.take(x, j, axis=1),
        "take clips": jnp.take(x, j, axis=1, mode="clip"),
        "take fills": jnp.take(x, j, axis=1, mode="fill", fill_value=2.5),
        "take fills integers": jnp.take(integers.astype(jnp.int8), j, axis=1),
        "take fills booleans": jnp.take(x > 0, j, axis=1),
        "booleans": (x > 0)[i],
        "along the last axis": jnp.take_along_axis(x, j[None, :2] + 0 * x[:, :2].astype(int), 1),
        "along the first axis": jnp.take_along_axis(x, i[None], axis=0),
        "one-hot": jax.nn.one_hot(j, 4),
    }


@secretly
def test_reads_at_secret_positions(smpc):
    agrees(reads, X, ROWS, COLUMNS, smpc=smpc)


@pytest.mark.parametrize("secret", [(1, 2), (0,), (0, 1)], ids=["table", "positions", "one"])
def test_reads_where_table_or_positions_are_public(secret):
    def f(x, i, j):
        return {
            "x[i, j]": x[i, j],
            "x[:, j]": x[:, j],
            "fill": jnp.take(x, j, axis=1, mode="fill", fill_value=2.5),
            "slice": lax.dynamic_slice(x, (i[1], j[1]), (2, 3)),
            "update": lax.dynamic_update_slice(x, 2 * x[1:, 1:], (i[0], j[1])),
        }

    agrees(f, X, ROWS, COLUMNS, smpc=SMPCS["replicated"], secret=secret)


@secretly
def test_slices_that_start_at_a_secret(smpc):
    def f(x, line, k, m):
        return {
            "slice": lax.dynamic_slice(line, (k,), (4,)),
            "slice at both ends": jnp.stack(
                [lax.dynamic_slice(line, (v,), (4,)) for v in (m, 0 * k, -k)]
            ),
            "row": lax.dynamic_index_in_dim(x, m, 0),
            "in two axes": lax.dynamic_slice(x, (m, k), (2, 3)),
            "in one of two axes": lax.dynamic_slice(x, (m, 1), (2, 3)),
            "update": lax.dynamic_update_slice(line, -line[:3], (k,)),
            "update in two axes": lax.dynamic_update_slice(x, 2 * x[:2, :3], (m, m)),
            "update in one of two": lax.dynamic_update_slice(x, 2 * x[:2, :3], (m, 1)),
            "booleans": lax.dynamic_update_slice(line > 0, line[:3] < 0, (m,)),
        }

    agrees(f, X, LINE, np.int32(8), np.int32(1), smpc=smpc)


@secretly
def test_one_element_of_a_batch_each(smpc):
    def f(x, cube, i):
        return {
            "slice": jax.vmap(lambda v, k: lax.dynamic_slice(v, (k,), (2,)))(x, i[:3]),
            "update": jax.vmap(lambda v, k: lax.dynamic_update_slice(v, -v[:2], (k,)))(x, i[:3]),
            "element": jax.vmap(lambda v, k: v[k, k])(cube, i[:2]),
            "set": jax.vmap(lambda v, k: v.at[k].set(9.0))(cube, i[:2]),
            "twice": jax.vmap(jax.vmap(lambda v, k: v[k]))(cube, i[:2, None] + i[:3]),
        }

    cube = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    agrees(f, X, cube, np.int32([1, 0, 9]), smpc=smpc)


OPERATIONS = ("set", "add", "subtract", "multiply", "min", "max")


def writes(x, i, j, u):
    integers = x.astype(jnp.int32)
    result = {}
    for name in OPERATIONS:
        result[f"row {name}"] = getattr(x.at[i], name)(u)
        result[f"element {name}"] = getattr(x.at[j[0], j[1]], name)(u[0, 0])
    for name in ("set", "add", "max"):
        result[f"integers {name}"] = getattr(integers.at[:, j[:2]], name)(3)
    result["part of a row"] = x.at[j[1], :2].set(u[0, :2])
    result["booleans"] = (x > 0).at[i].set(u > 0)
    return result


@secretly
def test_writes_at_secret_positions_that_coincide_or_are_out_of_range(smpc):
    i, u = np.int32([0, 2, 0, 7]), np.linspace(-3, 3, 16, dtype=np.float32).reshape(4, 4)
    agrees(writes, X, i, np.int32([-2, 2]), u, smpc=smpc)


@pytest.mark.parametrize("secret", [(0, 2), (1, 2), (1,)], ids=str)
def test_writes_where_operands_are_public(secret):
    def f(x, i, u):
        return {name: getattr(x.at[i], name)(u) for name in OPERATIONS}

    i, u = np.int32([0, 2, 0, 7]), np.linspace(-3, 3, 16, dtype=np.float32).reshape(4, 4)
    agrees(f, X, i, u, smpc=SMPCS["replicated"], secret=secret)


def test_what_is_built_on_reading_and_writing():
    def f(x, line, i):
        return {
            "histogram": jnp.zeros(5).at[i].add(1.0),
            "counts": jnp.bincount(i, length=5),
            "segments": jax.ops.segment_sum(line[:5], i, num_segments=3),
            "gradient of a lookup": jax.grad(lambda v: jnp.sum(v[i] ** 2))(x),
        }

    agrees(f, X, LINE, np.int32([0, 2, 0, 7, 1]), smpc=SMPCS["replicated"])


@pytest.mark.parametrize("name", ["replicated", "replicated32", "additive"])
@pytest.mark.parametrize("count", [1, 3, 300])
def test_every_position_of_a_table_and_far_out_of_it(count, name):
    """Positions that agree in their lowest bits are told apart."""
    table = np.arange(1, count + 1, dtype=np.int32)
    positions = [0, count // 2, count - 1, count, -1, 255, 256, 257, 65536, 2**24 + 1]
    positions += [2**30 - 1, -(2**24), -(2**30) + 1]

    def f(table, i):
        numbers = lax.GatherDimensionNumbers((), (0,), (0,))
        modes = {"clip": lax.GatherScatterMode.CLIP, "fill": lax.GatherScatterMode.FILL_OR_DROP}
        return {
            k: lax.gather(table, i[:, None], numbers, (1,), mode=m, fill_value=-7)
            for k, m in modes.items()
        }

    agrees(f, table, np.int32(positions), smpc=SMPCS[name])


def test_a_loop_over_secret_positions_with_material_dealt_beforehand():
    def f(x, i):
        return lax.scan(lambda c, k: (c.at[k].add(1.0), x[k]), x[0], i)

    shared = jsmpc.share(KEY, (X[:, :3], np.int32([2, 0, 1])), SMPCS["additive"])
    secure = jsmpc.secure(f)
    ours = jsmpc.reveal(secure.online(secure.offline(KEY, *shared), *shared))
    theirs = f(jnp.asarray(X[:, :3]), jnp.int32([2, 0, 1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours, theirs)


def test_a_function_applied_at_positions_is_refused():
    with pytest.raises(jsmpc.UnsupportedError, match=r"scatter at .*x\.at\[i\]\.set"):
        jsmpc.secure(lambda x: x.at[0].apply(jnp.sin))(
            KEY, jsmpc.share(KEY, X, jsmpc.testing.InsecurePlain())
        )


def switch(k, x):
    branches = [lambda v: v, lambda v: v * 2, lambda v: v + 1, lambda v: -v, lambda v: v * v]
    return {
        "switch": lax.switch(k[0], branches, x),
        "switch below": lax.switch(k[1], branches, x),
        "switch above": lax.switch(k[2], branches, x),
        "mapped": jax.vmap(lambda i, v: lax.switch(i, branches[:3], v))(k, x),
        "select": lax.select_n(jnp.clip(k, 0, 2), x, x[::-1], 0.5 * x),
        "select booleans": lax.select_n(jnp.clip(k, 0, 2), x > 0, x > 1, x < 0),
        **lax.cond(
            x[0] > 0,
            lambda v: {"cond": v + 1, "cond bool": v > 0, "cond public": 2.0},
            lambda v: {"cond": -v, "cond bool": v > 1, "cond public": 3.0},
            x,
        ),
    }


@secretly
def test_secret_choices_among_branches_and_cases(smpc):
    agrees(switch, np.int32([1, -3, 9, 2]), np.float32([-2, 1.5, 3, 0]), smpc=smpc)
