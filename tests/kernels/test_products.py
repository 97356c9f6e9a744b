"""Ring matrix products and convolutions, in every form, against wrap-around integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import jaxprs_in_params

from jsmpc._src.kernels import native, products, pure

DTYPES = [np.uint32, np.uint64]
FORMS: dict[str, Callable[..., jax.Array]] = {
    "pure": pure.matmul,
    "int8": pure.matmul_int8,
    "native": native.matmul,
}
EXTREMES = [0, 1, 2**63, 2**64 - 1, 2**31, 0x8080808080808080, 0x7F7F7F7F7F7F7F7F, 2**63 - 1]


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Callable[..., jax.Array]:
    if request.param == "native" and not native.available():
        pytest.skip(str(native.why_unavailable()))
    return jax.jit(FORMS[request.param])


def random(seed: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


# --- matrix products --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "b, m, k, n",
    [
        (1, 1, 1, 1),
        (3, 5, 1, 7),
        (2, 13, 31, 17),
        (1, 3, 2047, 5),
        (1, 3, 2049, 2),
        (2, 2, 5000, 3),
        (0, 2, 3, 4),
        (2, 0, 3, 4),
        (2, 3, 0, 4),
        (2, 3, 4, 0),
    ],
)
def test_every_form_wraps_as_integers_do(form, dtype, b, m, k, n) -> None:
    x, y = random(0, (b, m, k), dtype), random(1, (b, k, n), dtype)
    np.testing.assert_array_equal(form([(x, y)]), x @ y)


@pytest.mark.parametrize("dtype", DTYPES)
def test_terms_are_added(form, dtype) -> None:
    terms = [(random(i, (2, 3, 5), dtype), random(9 + i, (2, 5, 4), dtype)) for i in range(3)]
    np.testing.assert_array_equal(form(terms), sum(x @ y for x, y in terms))


@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_words(form, dtype) -> None:
    words = [word % 2 ** np.iinfo(dtype).bits for word in EXTREMES]
    x = np.array(words, dtype)
    expected = [[u * v % 2 ** np.iinfo(dtype).bits for v in words] for u in words]
    result = form([(x[None, :, None], x[None, None, :])])
    np.testing.assert_array_equal(result[0], np.array(expected, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_depth_beyond_every_exactness_bound(form, dtype) -> None:
    depth, modulus = 140_000, 2 ** np.iinfo(dtype).bits
    words = [word % modulus for word in EXTREMES]
    x = np.repeat(np.array(words, dtype)[:, None, None], depth, axis=2)
    result = form([(x, x.transpose(0, 2, 1))])
    assert result.ravel().tolist() == [depth * word**2 % modulus for word in words]


@pytest.mark.parametrize("dtype", DTYPES)
def test_vmap_and_dot_general(dtype) -> None:
    x, y = random(0, (4, 3, 2, 5), dtype), random(1, (5, 4, 6), dtype)
    dims = (((3,), (0,)), ((0,), (1,)))
    expected = np.einsum("abck,kad->abcd", x, y)
    np.testing.assert_array_equal(products.dot_general([(x, y)], dims), expected)
    z = random(2, (7, 5, 4, 6), dtype)
    mapped = jax.vmap(lambda z: products.dot_general([(x, z)], dims))(z)
    np.testing.assert_array_equal(mapped, np.einsum("abck,vkad->vabcd", x, z))


@pytest.mark.parametrize("dtype, count", [(np.uint32, 4), (np.uint64, 8)])
@pytest.mark.parametrize("platform", ["cuda", "rocm"])
@pytest.mark.parametrize("wide", [False, True])
def test_a_gpu_multiplies_bytes(platform: str, dtype: type, count: int, wide: bool) -> None:
    x = jnp.zeros((1, 8, 8), dtype)
    with jax.enable_x64(wide):
        traced = jax.jit(products.matmul_p.bind).trace(x, x)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
    dots = [line for line in text.splitlines() if "dot_general" in line]
    assert len(dots) == count
    assert all("xi8>" in line and "xi32>" in line for line in dots)


# --- convolutions -----------------------------------------------------------------------------

PLAIN = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NCHW", "OIHW", "NCHW"))
LAST = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), ("NHWC", "HWIO", "NHWC"))
LINE = lax.conv_dimension_numbers((1, 1, 1), (1, 1, 1), ("NWC", "WIO", "NWC"))


def case(x: tuple[int, ...], w: tuple[int, ...], **changes: Any) -> Any:
    spatial = len(x) - 2
    parameters = {
        "window_strides": (1,) * spatial,
        "padding": ((0, 0),) * spatial,
        "lhs_dilation": (1,) * spatial,
        "rhs_dilation": (1,) * spatial,
        "dimension_numbers": PLAIN,
        "feature_group_count": 1,
        "batch_group_count": 1,
    }
    return x, w, parameters | changes


CASES = {
    "plain": case((3, 2, 7, 6), (4, 2, 3, 2)),
    "channels last": case((3, 7, 6, 2), (3, 2, 2, 5), dimension_numbers=LAST),
    "one dimension": case((3, 11, 2), (3, 2, 5), dimension_numbers=LINE, padding=((1, 1),)),
    "one image": case((1, 1, 9, 8), (4, 1, 3, 3)),
    "one position": case((1, 5, 4, 4), (3, 5, 4, 4)),
    "stride": case((2, 3, 9, 8), (4, 3, 3, 2), window_strides=(2, 3)),
    "padding": case((2, 3, 5, 5), (4, 3, 3, 3), padding=((2, 0), (1, 3))),
    "cropping": case((2, 3, 8, 8), (4, 3, 3, 3), padding=((-1, 0), (2, -2))),
    "dilation": case((2, 3, 9, 9), (4, 3, 3, 2), rhs_dilation=(2, 3)),
    "transposed": case((2, 3, 4, 5), (4, 3, 3, 3), lhs_dilation=(2, 3), padding=((2, 2), (1, 2))),
    "feature groups": case((2, 6, 5, 5), (9, 2, 3, 3), feature_group_count=3),
    "depthwise": case((2, 4, 5, 5), (4, 1, 3, 3), feature_group_count=4, window_strides=(2, 2)),
    "batch groups": case((6, 2, 5, 5), (9, 2, 3, 3), batch_group_count=3),
    "large kernel": case((2, 7, 9, 9), (3, 7, 7, 6)),
    "window too large": case((2, 3, 3, 3), (4, 3, 4, 2)),
    "no images": case((0, 3, 5, 5), (4, 3, 2, 2)),
    "no inputs": case((2, 0, 5, 5), (4, 0, 2, 2)),
    "no outputs": case((2, 3, 5, 5), (0, 3, 2, 2)),
    "all": case(
        (5, 6, 9, 8),
        (4, 3, 3, 2),
        window_strides=(2, 1),
        padding=((1, 2), (0, 3)),
        lhs_dilation=(1, 2),
        rhs_dilation=(2, 1),
        feature_group_count=2,
    ),
}


def ours(pairs: Any, parameters: Any) -> jax.Array:
    return products.convolution(
        pairs,
        parameters["window_strides"],
        parameters["padding"],
        parameters["lhs_dilation"],
        parameters["rhs_dilation"],
        parameters["dimension_numbers"],
        parameters["feature_group_count"],
        parameters["batch_group_count"],
    )


def theirs(pairs: Any, parameters: Any, dtype: type) -> np.ndarray:
    signed = np.dtype(f"i{np.dtype(dtype).itemsize}")
    parts = [
        lax.conv_general_dilated(x.view(signed), w.view(signed), **parameters) for x, w in pairs
    ]
    return np.asarray(sum(parts)).view(dtype)


def equations(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


@pytest.mark.parametrize(
    "name, block, dtype",
    [
        *((name, products.PATCH_BLOCK, np.uint64) for name in CASES),
        *((name, 150, np.uint32) for name in CASES),
        *((name, 1, np.uint64) for name in ("feature groups", "large kernel", "all")),
    ],
)
def test_convolution(monkeypatch: pytest.MonkeyPatch, name: str, block: int, dtype: type) -> None:
    monkeypatch.setattr(products, "PATCH_BLOCK", block)
    x_shape, w_shape, parameters = CASES[name]
    pairs = [(random(i, x_shape, dtype), random(9 + i, w_shape, dtype)) for i in range(2)]
    jitted = jax.jit(lambda pairs: ours(pairs, parameters))
    np.testing.assert_array_equal(jitted(pairs), theirs(pairs, parameters, dtype))


def gradients(x_shape: tuple[int, ...], w_shape: tuple[int, ...], **changes: Any) -> list[Any]:
    """The two products of the gradient of a convolution, as JAX makes them: shapes, parameters."""
    _, _, parameters = case(x_shape, w_shape, **changes)

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(lax.conv_general_dilated(x, w, **parameters) ** 2)

    x, w = jnp.zeros(x_shape, jnp.float32), jnp.zeros(w_shape, jnp.float32)
    made = equations(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, w).jaxpr)
    convolutions = [e for e in made if e.primitive is lax.conv_general_dilated_p]
    assert len(convolutions) == 3
    return [
        (*(v.aval.shape for v in e.invars), {k: e.params[k] for k in parameters})
        for e in convolutions[1:]
    ]


@pytest.mark.parametrize(
    "shapes_and_changes",
    [
        ((4, 3, 8, 7), (5, 3, 3, 2), {}),
        ((3, 2, 9, 9), (4, 2, 3, 3), {"window_strides": (2, 2), "padding": ((1, 1), (0, 2))}),
        ((2, 4, 8, 8), (6, 2, 3, 3), {"feature_group_count": 2, "rhs_dilation": (2, 1)}),
        ((4, 2, 6, 6), (6, 2, 3, 3), {"batch_group_count": 2}),
        ((3, 8, 7, 2), (3, 3, 2, 4), {"dimension_numbers": LAST}),
    ],
)
def test_products_of_a_gradient(monkeypatch: pytest.MonkeyPatch, shapes_and_changes: Any) -> None:
    monkeypatch.setattr(products, "PATCH_BLOCK", 500)
    x, w, changes = shapes_and_changes
    for x_shape, w_shape, parameters in gradients(x, w, **changes):
        pairs = [(random(0, x_shape, np.uint64), random(1, w_shape, np.uint64))]
        result = jax.jit(lambda pairs, parameters=parameters: ours(pairs, parameters))(pairs)
        np.testing.assert_array_equal(result, theirs(pairs, parameters, np.uint64))


MANY = case((16, 2, 16, 16), (3, 2, 5, 5), padding=((2, 2), (2, 2)))
ONE = case((1, 1, 64, 64), (1, 1, 5, 5))


@pytest.mark.parametrize(
    "shapes_and_parameters",
    [MANY, ONE, *gradients((16, 2, 16, 16), (3, 2, 5, 5), padding=((2, 2), (2, 2)))],
    ids=["forward", "one image", "first gradient", "second gradient"],
)
def test_no_array_is_larger_than_the_block(
    monkeypatch: pytest.MonkeyPatch, shapes_and_parameters: Any
) -> None:
    x_shape, w_shape, parameters = shapes_and_parameters
    pairs = [(random(0, x_shape, np.uint64), random(1, w_shape, np.uint64))]

    def made(block: int) -> tuple[int, set[str]]:
        monkeypatch.setattr(products, "PATCH_BLOCK", block)
        jaxpr = jax.make_jaxpr(lambda pairs: ours(pairs, parameters))(pairs).jaxpr
        found = list(equations(jaxpr))
        largest = max(math.prod(v.aval.shape) for e in found for v in e.outvars)
        return largest, {e.primitive.name for e in found}

    normal, block = products.PATCH_BLOCK, 20_000  # more than the padded operands and the result
    largest, _ = made(block)
    assert largest <= block
    largest, names = made(normal)
    assert largest > 4 * block
    assert not names & {"scan", "while"}
    expected = theirs(pairs, parameters, np.uint64)
    monkeypatch.setattr(products, "PATCH_BLOCK", block)
    result = jax.jit(lambda pairs: ours(pairs, parameters))(pairs)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", ["all", "large kernel", "one image"])
def test_blocks_under_vmap_and_shard_map(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(products, "PATCH_BLOCK", 100)
    x_shape, w_shape, parameters = CASES[name]
    x, w = random(0, (2, *x_shape), np.uint64), random(1, w_shape, np.uint64)
    expected = [theirs([(image, w)], parameters, np.uint64) for image in x]

    def mapped(x: jax.Array) -> jax.Array:
        return jax.vmap(lambda x: ours([(x, w)], parameters))(x)

    np.testing.assert_array_equal(jax.jit(mapped)(x), expected)
    mesh = jax.make_mesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.shard_map(mapped, mesh=mesh, in_specs=jax.P("i"), out_specs=jax.P("i"))
    np.testing.assert_array_equal(jax.jit(sharded)(x), expected)
