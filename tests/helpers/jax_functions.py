"""What of `jax.numpy`, `jax.lax`, `jax.nn` and `jax.scipy` secrets compute: a table for the tests.

Each function is compared with plain JAX in 64-bit floats on what the encoding holds of the same
numbers, within bounds that its line of the table states. The functions of a table are one secure
program: each is compiled once, and on its own only if the program fails.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn
from jax.scipy import special, stats

import jsmpc

# The guards that JAX puts into its functions are often far below one unit in the last place.
ignored_underflow = pytest.mark.filterwarnings("ignore::jsmpc.EncodingWarning")

KEY = jax.random.key(11)
PROTOCOLS = {
    "plain": jsmpc.testing.InsecurePlain(),
    "replicated": jsmpc.Replicated3(),
    "additive": jsmpc.Additive(),
    "securenn": jsmpc.SecureNN(),
    "fss2": jsmpc.FSS2(),
}
SCALE = PROTOCOLS["replicated"].encoding.scale


@dataclasses.dataclass(frozen=True)
class Case:
    """A function of the operands, and how far secrets may be off."""

    f: Callable[[Any], Any]
    ulps: float = 8
    relative: float = 2**-14


Table = dict[str, Case]


def on(operands: str, module: Any, functions: str, **bounds: float) -> Table:
    """The named functions of a module on the named operands."""
    prefix = module.__name__.removeprefix("jax.")

    def case(name: str) -> Case:
        f = functools.reduce(getattr, name.split("."), module)
        return Case(lambda s: f(*(getattr(s, o) for o in operands.split())), **bounds)

    return {f"{prefix}.{name}({operands})": case(name) for name in functions.split()}


def written(*functions: tuple[str, Callable[[Any], Any]], **bounds: float) -> Table:
    return {name: Case(f, **bounds) for name, f in functions}


def gradients(operand: str, module: Any, functions: str, **bounds: float) -> Table:
    prefix = module.__name__.removeprefix("jax.")

    def case(name: str) -> Case:
        f = getattr(module, name)
        return Case(lambda s: jax.grad(lambda v: f(v).sum())(getattr(s, operand)), **bounds)

    return {f"grad {prefix}.{name}({operand})": case(name) for name in functions.split()}


def _operands() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)

    def numbers(low: float, high: float, *shape: int) -> np.ndarray:
        return (np.round(rng.uniform(low, high, shape) * 1024) / 1024).astype(np.float32)

    x = numbers(-3, 3, 3, 4)
    x[0] = 0, 0.5, -2.5, 1.5
    return {
        "x": x,
        "y": numbers(0.5, 4, 3, 4) * np.where(rng.integers(0, 2, (3, 4)), 1, -1).astype("f4"),
        "positive": numbers(0.05, 6, 3, 4),
        "weights": numbers(0.05, 0.95, 3, 4),
        "unit": numbers(-0.95, 0.95, 3, 4),
        "above": numbers(1, 5, 3, 4),
        "b": rng.integers(0, 2, (3, 4)).astype(bool),
        "c": rng.integers(0, 2, (3, 4)).astype(bool),
        "i": rng.integers(-20, 20, (3, 4)).astype(np.int32),
        "j": rng.integers(1, 7, (3, 4)).astype(np.int32),
        "at": np.int32([2, 0, 3]),
        "v": numbers(-3, 3, 6),
        "u": numbers(-3, 3, 6),
        "a": numbers(-2, 2, 3, 3),
        "ordered": np.sort(numbers(-3, 3, 6)),
        "image": numbers(-1, 1, 1, 5, 5, 2),
        "kernel": numbers(-1, 1, 2, 2, 2, 3),
        "s": numbers(1, 2),
    }


OPERANDS = _operands()


def _length(x: Any, y: Any) -> Any:
    return jax.checkpoint(jnp.hypot)(x, y).sum()


GROUPS: dict[str, Table] = {
    "arithmetic": {
        **on("x y", jnp, "add subtract multiply heaviside maximum minimum fmax fmin"),
        **on("x", jnp, "negative positive abs absolute fabs sign square"),
        **on("x", jnp, "deg2rad rad2deg degrees radians real conj nan_to_num copy"),
        **on("x", jnp, "isfinite isnan isinf isneginf isposinf iscomplex isreal"),
        **on("x y", jnp, "divide true_divide floor_divide mod fmod"),
        **on("y", jnp, "reciprocal"),
        **on("y", lax, "reciprocal abs sign neg square"),
        **on("x y", lax, "add sub mul max min"),
    },
    "rounding": {
        **on("x", jnp, "floor ceil trunc rint round modf"),
        **on("x", lax, "floor ceil round is_finite"),
        **written(
            ("numpy.round(decimals)", lambda s: jnp.round(s.x, 1)),
            ("lax.round(even)", lambda s: lax.round(s.x, lax.RoundingMethod.TO_NEAREST_EVEN)),
            ("numpy.clip", lambda s: jnp.clip(s.x, -1, s.weights)),
            ("lax.clamp", lambda s: lax.clamp(-1.0, s.x, 0.75)),
            ("numpy.astype", lambda s: jnp.astype(s.x, jnp.int32)),
        ),
    },
    "powers": {
        **on("positive", jnp, "sqrt cbrt log log2 log10 log1p"),
        **on("x", jnp, "cbrt exp exp2 expm1"),
        **on("positive x", jnp, "power float_power"),
        **on("x y", jnp, "hypot logaddexp logaddexp2"),
        **on("positive", lax, "rsqrt"),
        **written(
            ("numpy.hypot(checkpoint, gradient)", lambda s: jax.grad(_length)(s.x, s.y)),
            ("numpy.power(integer)", lambda s: jnp.power(s.x, 3)),
            ("numpy.power(negative)", lambda s: jnp.power(s.y, -2)),
            ("numpy.power(exponents)", lambda s: jnp.power(s.y, jnp.arange(-1.0, 3))),
            ("numpy.power(public base)", lambda s: jnp.power(2.5, s.x)),
            ("numpy.power(ints)", lambda s: jnp.power(s.i, 3)),
            ("lax.integer_pow", lambda s: lax.integer_pow(s.x, 5)),
            ("numpy.vander", lambda s: jnp.vander(s.v, 4)),
            ("numpy.polyval", lambda s: jnp.polyval(jnp.array([1.0, -2, 0.5]), s.x)),
            ("numpy.polyval(secret)", lambda s: jnp.polyval(s.v, s.unit)),
            ("numpy.logspace", lambda s: jnp.logspace(s.s, s.s + 1, 5)),
            ("numpy.linspace", lambda s: jnp.linspace(s.s, s.x[0, 0], 5)),
        ),
    },
    "trigonometry": {
        **on("x", jnp, "sin cos tan arctan sinh cosh tanh arcsinh sinc"),
        **on("unit", jnp, "arcsin arccos arctanh"),
        **on("above", jnp, "arccosh"),
        **on("x y", jnp, "arctan2"),
        **on("x", jnp, "unwrap"),
    },
    "sums": {
        **on("x", jnp, "sum prod mean var std max min amax amin ptp argmax argmin any all"),
        **on("x", jnp, "average cumsum cumprod nansum nanprod nanmean nanvar nanstd nanmax"),
        **on("x", jnp, "nanmin nanargmax nanargmin nancumsum nancumprod count_nonzero diff"),
        **on("x", jnp, "ediff1d gradient trapezoid linalg.norm"),
        **on("v", jnp, "cumulative_sum cumulative_prod"),
        **written(
            ("numpy.var(ddof)", lambda s: jnp.var(s.x, axis=0, ddof=1)),
            ("numpy.average(weights)", lambda s: jnp.average(s.x, weights=s.weights)),
            ("numpy.linalg.norm(1)", lambda s: jnp.linalg.norm(s.x, 1)),
            ("numpy.linalg.norm(inf)", lambda s: jnp.linalg.norm(s.x, jnp.inf, axis=1)),
            ("numpy.linalg.vector_norm", lambda s: jnp.linalg.vector_norm(s.x, ord=3)),
            ("numpy.linalg.matrix_norm", lambda s: jnp.linalg.matrix_norm(s.x)),
            ("numpy.sum(where)", lambda s: jnp.sum(s.x, where=s.b)),
            ("numpy.max(where)", lambda s: jnp.max(s.x, where=s.b, initial=-9.0)),
            ("numpy.mean(where)", lambda s: jnp.mean(s.x, where=s.b)),
        ),
    },
    "order": {
        **on("x", jnp, "median nanmedian sort argsort"),
        **written(
            ("numpy.quantile", lambda s: jnp.quantile(s.x, 0.3)),
            ("numpy.percentile", lambda s: jnp.percentile(s.x, jnp.array([20.0, 50]), axis=1)),
            ("numpy.nanquantile", lambda s: jnp.nanquantile(s.v, 0.3)),
            ("numpy.nanpercentile", lambda s: jnp.nanpercentile(s.v, 30)),
            ("numpy.searchsorted", lambda s: jnp.searchsorted(s.ordered, s.v)),
            (
                "numpy.searchsorted(compare_all)",
                lambda s: jnp.searchsorted(s.ordered, s.v, method="compare_all"),
            ),
            (
                "numpy.searchsorted(public)",
                lambda s: jnp.searchsorted(jnp.arange(-2.0, 3), s.v, side="right"),
            ),
            ("numpy.digitize", lambda s: jnp.digitize(s.x, jnp.array([-1.0, 0, 2]))),
            ("numpy.interp", lambda s: jnp.interp(s.v, s.ordered, s.u)),
            ("numpy.histogram", lambda s: jnp.histogram(s.v, jnp.array([-3.0, -1, 0, 3]))),
            ("numpy.bincount", lambda s: jnp.bincount(s.j.ravel(), length=8)),
            ("numpy.lexsort", lambda s: jnp.lexsort((s.v, s.u))),
            ("numpy.partition", lambda s: jnp.partition(s.v, 2)),
            ("numpy.unique(size)", lambda s: jnp.unique(s.j, size=7)),
            ("numpy.nonzero(size)", lambda s: jnp.nonzero(s.b, size=12)),
            ("numpy.isin", lambda s: jnp.isin(s.j, s.at)),
            ("lax.sort", lambda s: lax.sort((s.u, s.v), num_keys=1)),
            ("lax.top_k", lambda s: lax.top_k(s.v, 2)),
            ("lax.approx_max_k", lambda s: lax.approx_max_k(s.v, 2)),
            ("lax.cummax", lambda s: lax.cummax(s.x, 1)),
            ("lax.cummin", lambda s: lax.cummin(s.x, 1, reverse=True)),
            ("lax.cumsum", lambda s: lax.cumsum(s.x, 0)),
            ("lax.cumprod", lambda s: lax.cumprod(s.x, 0)),
            ("lax.cumlogsumexp", lambda s: lax.cumlogsumexp(s.x, 0)),
            ("lax.argmax", lambda s: lax.argmax(s.x, 1, jnp.int32)),
        ),
    },
    "shapes": {
        **on("x", jnp, "ravel transpose squeeze fliplr flipud flip rot90 diag tril triu trace"),
        **on("x", jnp, "atleast_2d atleast_3d matrix_transpose diagonal shape size ndim"),
        **on("x", jnp, "zeros_like ones_like diagflat"),
        **on("x y", jnp, "append broadcast_arrays"),
        **written(
            ("numpy.reshape", lambda s: jnp.reshape(s.x, (2, -1))),
            ("numpy.moveaxis", lambda s: jnp.moveaxis(s.image, 1, -1)),
            ("numpy.rollaxis", lambda s: jnp.rollaxis(s.image, 2)),
            ("numpy.swapaxes", lambda s: jnp.swapaxes(s.image, 1, 3)),
            ("numpy.concatenate", lambda s: jnp.concatenate([s.x, s.y], 1)),
            ("numpy.stack", lambda s: jnp.stack([s.x, s.y, jnp.ones((3, 4))])),
            ("numpy.hstack", lambda s: jnp.hstack([s.x, s.y])),
            ("numpy.vstack", lambda s: jnp.vstack([s.x, s.y])),
            ("numpy.dstack", lambda s: jnp.dstack([s.x, s.y])),
            ("numpy.column_stack", lambda s: jnp.column_stack([s.v, s.u])),
            ("numpy.block", lambda s: jnp.block([[s.x, s.y], [s.y, s.x]])),
            ("numpy.split", lambda s: jnp.split(s.x, 2, axis=1)),
            ("numpy.array_split", lambda s: jnp.array_split(s.v, 4)),
            ("numpy.hsplit", lambda s: jnp.hsplit(s.x, 2)),
            ("numpy.unstack", lambda s: jnp.unstack(s.x)),
            ("numpy.tile", lambda s: jnp.tile(s.x, (2, 2))),
            ("numpy.repeat", lambda s: jnp.repeat(s.x, 3, axis=1)),
            ("numpy.repeat(array)", lambda s: jnp.repeat(s.x, np.array([1, 0, 2]), axis=0)),
            ("numpy.roll", lambda s: jnp.roll(s.x, 2, axis=1)),
            ("numpy.roll(secret)", lambda s: jnp.roll(s.v, s.at[0])),
            ("numpy.pad", lambda s: jnp.pad(s.x, 1, constant_values=0.5)),
            ("numpy.pad(edge)", lambda s: jnp.pad(s.x, 1, mode="edge")),
            ("numpy.pad(reflect)", lambda s: jnp.pad(s.x, 1, mode="reflect")),
            ("numpy.pad(wrap)", lambda s: jnp.pad(s.x, 1, mode="wrap")),
            ("numpy.pad(mean)", lambda s: jnp.pad(s.x, 1, mode="mean")),
            ("numpy.pad(linear_ramp)", lambda s: jnp.pad(s.x, 2, mode="linear_ramp")),
            ("numpy.expand_dims", lambda s: jnp.expand_dims(s.x, 1)),
            ("numpy.broadcast_to", lambda s: jnp.broadcast_to(s.v, (2, 6))),
            ("numpy.meshgrid", lambda s: jnp.meshgrid(s.v, s.u)),
            ("numpy.full_like", lambda s: jnp.full_like(s.x, s.s)),
            ("numpy.full", lambda s: jnp.full((2, 2), s.s)),
            ("numpy.resize", lambda s: jnp.resize(s.v, (2, 4))),
            ("numpy.delete", lambda s: jnp.delete(s.v, 2)),
            ("numpy.insert", lambda s: jnp.insert(s.v, 2, 9.0)),
            ("numpy.trim", lambda s: s.v[1:-1:2]),
            ("numpy.ix_", lambda s: s.x[jnp.ix_(jnp.array([2, 0]), jnp.array([1, 3]))]),
            ("numpy.tri", lambda s: s.a * jnp.tri(3)),
            ("numpy.fill_diagonal", lambda s: jnp.fill_diagonal(s.a, 7.0, inplace=False)),
            ("numpy.fft.fftshift", lambda s: jnp.fft.fftshift(s.v)),
            ("image.resize", lambda s: jax.image.resize(s.x, (6, 8), "cubic")),
            ("device_put", lambda s: jax.device_put(s.x)),
            ("numpy.packbits", lambda s: jnp.packbits(s.b, axis=1)),
            ("numpy.unpackbits", lambda s: jnp.unpackbits(s.j.astype(jnp.uint8), axis=1)),
            ("numpy.apply_along_axis", lambda s: jnp.apply_along_axis(jnp.sum, 1, s.x)),
            ("numpy.vectorize", lambda s: jnp.vectorize(lambda v: v * v)(s.x)),
            ("lax.rev", lambda s: lax.rev(s.x, (0,))),
            ("lax.pad", lambda s: lax.pad(s.x, 0.5, ((1, 0, 1), (-1, 2, 0)))),
            ("lax.broadcast_in_dim", lambda s: lax.broadcast_in_dim(s.v, (6, 2), (0,))),
            ("lax.collapse", lambda s: lax.collapse(s.image, 1, 3)),
            ("lax.slice", lambda s: lax.slice(s.x, (0, 1), (3, 4), (2, 1))),
            ("lax.concatenate", lambda s: lax.concatenate([s.x, s.y], 0)),
            ("lax.expand_dims", lambda s: lax.expand_dims(s.x, (0, 2))),
        ),
    },
    "indexing": written(
        ("numpy.take", lambda s: jnp.take(s.x, jnp.array([2, 0]), axis=1)),
        ("numpy.take(secret)", lambda s: jnp.take(s.x, s.at, axis=1)),
        ("numpy.take(public table)", lambda s: jnp.take(jnp.arange(4.0) ** 2, s.at)),
        ("numpy.take(clip)", lambda s: jnp.take(s.v, s.i[0], mode="clip")),
        ("numpy.take(wrap)", lambda s: jnp.take(s.v, s.i[0], mode="wrap")),
        (
            "numpy.take_along_axis",
            lambda s: jnp.take_along_axis(s.x, jnp.array([[0], [2], [1]]), axis=1),
        ),
        ("numpy.take_along_axis(secret)", lambda s: jnp.take_along_axis(s.x, s.at[:, None], 1)),
        (
            "numpy.put_along_axis(secret)",
            lambda s: jnp.put_along_axis(s.x, s.at[:, None], 5.0, 1, inplace=False),
        ),
        ("numpy.put", lambda s: jnp.put(s.v, jnp.array([1, 4]), 9.0, inplace=False)),
        ("numpy.extract(size)", lambda s: jnp.extract(s.b, s.x, size=4)),
        ("numpy.where", lambda s: jnp.where(s.b, s.x, s.y)),
        ("numpy.where(public)", lambda s: jnp.where(jnp.arange(4) > 1, s.x, -1)),
        ("numpy.select", lambda s: jnp.select([s.b, s.c], [s.x, s.y], 2.0)),
        (
            "numpy.piecewise",
            lambda s: jnp.piecewise(s.x, [s.x < 0, s.x > 1], [lambda v: -v, lambda v: v * v, 0.5]),
        ),
        ("at.set", lambda s: s.x.at[1, 2:4].set(7.0)),
        ("at.set(secret)", lambda s: s.x.at[jnp.arange(3), s.at].set(7.0)),
        ("at.add(secret)", lambda s: s.v.at[s.at].add(1.5)),
        ("at.multiply(secret)", lambda s: s.v.at[s.at].multiply(1.5)),
        ("at.max(secret)", lambda s: s.v.at[s.at].max(0.5)),
        ("at.get(secret)", lambda s: s.v.at[s.at].get(mode="fill", fill_value=0)),
        ("lax.dynamic_slice", lambda s: lax.dynamic_slice(s.x, (1, 2), (2, 2))),
        ("lax.dynamic_slice(secret)", lambda s: lax.dynamic_slice(s.v, (s.at[0],), (2,))),
        (
            "lax.dynamic_update_slice",
            lambda s: lax.dynamic_update_slice(s.v, s.u[:2], (s.at[0],)),
        ),
        ("lax.dynamic_index_in_dim", lambda s: lax.dynamic_index_in_dim(s.x, s.at[0], 1)),
        ("lax.select", lambda s: lax.select(s.b, s.x, s.y)),
        ("lax.select_n", lambda s: lax.select_n(s.j % 3, s.x, s.y, s.positive)),
        ("nn.one_hot(secret)", lambda s: nn.one_hot(s.at, 5)),
        (
            "ops.segment_sum",
            lambda s: jax.ops.segment_sum(s.v, jnp.array([0, 0, 1, 1, 2, 2]), 3),
        ),
        ("ops.segment_sum(secret)", lambda s: jax.ops.segment_sum(s.x, s.at, 4)),
        ("ops.segment_prod", lambda s: jax.ops.segment_prod(s.x[:, 0], s.at, 4)),
        (
            "ops.segment_max",
            lambda s: jax.ops.segment_max(s.x[:, 0], s.at, 4)[jnp.array([0, 2, 3])],
        ),
    ),
    "products": {
        **on("v u", jnp, "dot vdot inner outer convolve correlate kron vecdot"),
        **on("x y", jnp, "kron"),
        **on("a a", jnp, "matmul cross"),
        **on("x", jnp, "cov corrcoef"),
        **written(
            ("numpy.tensordot", lambda s: jnp.tensordot(s.x, s.y, ((0, 1), (0, 1)))),
            ("numpy.einsum", lambda s: jnp.einsum("ij,kj,k->i", s.x, s.y, s.v[:3])),
            ("numpy.matvec", lambda s: jnp.matvec(s.a, s.v[:3])),
            ("numpy.vecmat", lambda s: jnp.vecmat(s.v[:3], s.a)),
            ("numpy.linalg.multi_dot", lambda s: jnp.linalg.multi_dot([s.a, s.a, s.v[:3]])),
            ("numpy.linalg.matrix_power", lambda s: jnp.linalg.matrix_power(s.a, 3)),
            ("numpy.linalg.trace", lambda s: jnp.linalg.trace(s.a)),
            ("numpy.linalg.outer", lambda s: jnp.linalg.outer(s.v, s.u)),
            ("numpy.linalg.cross", lambda s: jnp.linalg.cross(s.a, s.a[::-1])),
            ("numpy.linalg.tensordot", lambda s: jnp.linalg.tensordot(s.a, s.a, axes=1)),
            ("numpy.linalg.diagonal", lambda s: jnp.linalg.diagonal(s.a)),
            ("numpy.linalg.vecdot", lambda s: jnp.linalg.vecdot(s.v, s.u)),
            ("numpy.linalg.det(2)", lambda s: jnp.linalg.det(s.a[:2, :2])),
            ("numpy.linalg.det(3)", lambda s: jnp.linalg.det(s.a)),
            ("numpy.polymul", lambda s: jnp.polymul(s.v, s.u)),
            ("numpy.polyadd", lambda s: jnp.polyadd(s.v, s.u)),
            ("numpy.polyder", lambda s: jnp.polyder(s.v)),
            ("numpy.polyint", lambda s: jnp.polyint(s.v)),
            ("numpy.poly", lambda s: jnp.poly(s.v[:3])),
            (
                "lax.dot_general",
                lambda s: lax.dot_general(s.x, s.y, (((1,), (1,)), ((0,), (0,)))),
            ),
            ("lax.batch_matmul", lambda s: lax.batch_matmul(s.a[None], s.a[None])),
            (
                "lax.conv_general_dilated",
                lambda s: lax.conv_general_dilated(
                    s.image, s.kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                ),
            ),
            (
                "lax.conv",
                lambda s: lax.conv(
                    s.image.transpose(0, 3, 1, 2), s.kernel.transpose(3, 2, 0, 1), (2, 2), "VALID"
                ),
            ),
            (
                "lax.conv_transpose",
                lambda s: lax.conv_transpose(s.image, s.kernel, (2, 2), "SAME"),
            ),
            (
                "lax.reduce_window(max)",
                lambda s: lax.reduce_window(s.x, -jnp.inf, lax.max, (2, 2), (1, 2), "VALID"),
            ),
            (
                "lax.reduce_window(sum)",
                lambda s: lax.reduce_window(s.x, 0.0, lax.add, (2, 2), (1, 2), "SAME"),
            ),
            ("lax.reduce(mul)", lambda s: lax.reduce(s.x, 1.0, lax.mul, (0,))),
            ("scipy.signal.convolve", lambda s: jax.scipy.signal.convolve(s.v, s.u[:3])),
            ("scipy.signal.correlate", lambda s: jax.scipy.signal.correlate(s.v, s.u[:3])),
            ("scipy.signal.convolve2d", lambda s: jax.scipy.signal.convolve2d(s.x, s.a)),
            ("scipy.linalg.toeplitz", lambda s: jax.scipy.linalg.toeplitz(s.v[:3], s.u[:4])),
            ("scipy.linalg.block_diag", lambda s: jax.scipy.linalg.block_diag(s.a, s.x)),
            ("scipy.signal.detrend", lambda s: jax.scipy.signal.detrend(s.v)),
            ("scipy.integrate.trapezoid", lambda s: jax.scipy.integrate.trapezoid(s.v, s.ordered)),
        ),
    },
    "logic": {
        **on("b c", jnp, "logical_and logical_or logical_xor"),
        **on("b", jnp, "logical_not invert"),
        **on("x y", jnp, "equal not_equal less less_equal greater greater_equal"),
        **on("x y", jnp, "logical_and isclose allclose array_equal array_equiv"),
        **on("i j", jnp, "equal not_equal less less_equal greater greater_equal"),
        **on("x y", lax, "eq ne lt le gt ge"),
        **on("b c", lax, "bitwise_and bitwise_or bitwise_xor"),
        **on("b", jnp, "any all sum mean max min argmax argmin cumsum sort"),
        **written(
            ("numpy.any(axis)", lambda s: jnp.any(s.b, 0)),
            ("numpy.all(axis)", lambda s: jnp.all(s.b, 1)),
            ("lax.reduce_xor", lambda s: lax.reduce_xor(s.b, (0,))),
            ("lax.reduce_and", lambda s: lax.reduce_and(s.b, (0,))),
            ("lax.reduce_or", lambda s: lax.reduce_or(s.b, (0,))),
        ),
    },
    "integers": {
        **on("i j", jnp, "bitwise_and bitwise_or bitwise_xor left_shift right_shift"),
        **on("i j", jnp, "floor_divide mod divide multiply add subtract"),
        **on("i j", jnp, "maximum minimum bitwise_left_shift bitwise_right_shift"),
        **on("i", jnp, "bitwise_not invert bitwise_invert abs sign square bitwise_count sum prod"),
        **on("i", jnp, "max min argmax mean cumsum"),
        **on("i", lax, "population_count clz bitwise_not"),
        **on("i j", lax, "rem shift_left shift_right_logical shift_right_arithmetic"),
        **written(
            ("numpy.power(int public)", lambda s: jnp.power(s.i, 2)),
            ("numpy.astype(int)", lambda s: jnp.astype(s.i, jnp.float32)),
            ("numpy.floor_divide(public)", lambda s: s.i // 3),
            ("numpy.mod(public)", lambda s: s.i % 3),
            ("numpy.matmul(mixed)", lambda s: (s.i @ s.x.T, s.x @ s.i.T, s.b @ s.x.T)),
            ("numpy.matmul(mixed, public)", lambda s: s.i @ jnp.full((4, 2), 0.3)),
            (
                "numpy.dot(preferred)",
                lambda s: jnp.dot(s.i, s.j.T, preferred_element_type=jnp.float32),
            ),
            ("numpy.power(int secret)", lambda s: jnp.power(s.i % 4, s.j % 4)),
        ),
    },
    "control": written(
        ("lax.scan", lambda s: lax.scan(lambda c, r: (c * 0.5 + r.sum(), c), 0.0, s.x)),
        ("lax.fori_loop", lambda s: lax.fori_loop(0, 3, lambda k, c: c + s.x[k], s.x[0])),
        (
            "lax.while_loop",
            lambda s: lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] / 2), (0, s.x)),
        ),
        ("lax.cond", lambda s: lax.cond(s.b[0, 0], lambda v: v + 1, lambda v: v * 2, s.x)),
        (
            "lax.switch",
            lambda s: lax.switch(
                s.at[0], [lambda v: v, lambda v: -v, lambda v: v * v, jnp.abs], s.x
            ),
        ),
        ("lax.map", lambda s: lax.map(lambda r: jnp.max(r), s.x)),
        ("lax.associative_scan", lambda s: lax.associative_scan(jnp.maximum, s.v)),
        ("lax.stop_gradient", lambda s: lax.stop_gradient(s.x)),
        ("lax.reduce_precision", lambda s: lax.reduce_precision(s.x, 8, 23)),
        ("jax.checkpoint", lambda s: jax.checkpoint(jnp.square)(s.x)),
        ("jax.vmap", lambda s: jax.vmap(jnp.dot)(s.x, s.y)),
        ("jax.jvp", lambda s: jax.jvp(jnp.square, (s.x,), (s.y,))),
        ("jax.jacobian", lambda s: jax.jacobian(lambda v: v * v.sum())(s.v)),
        ("jax.hessian", lambda s: jax.hessian(lambda v: (v**3).sum())(s.v[:3])),
    ),
    "nn": {
        **on("x", nn, "relu relu6 sigmoid softplus soft_sign silu gelu leaky_relu"),
        **on("x", nn, "hard_tanh hard_sigmoid hard_swish celu elu selu glu squareplus"),
        **on("x", nn, "mish log_sigmoid softmax log_softmax logsumexp standardize sparse_plus"),
        **on("x", nn, "sparse_sigmoid identity"),
        **written(
            ("nn.gelu(exact)", lambda s: nn.gelu(s.x, approximate=False)),
            ("nn.one_hot", lambda s: nn.one_hot(jnp.arange(3), 4) * s.x),
            (
                "nn.dot_product_attention(causal)",
                lambda s: nn.dot_product_attention(*(s.image[0],) * 3, is_causal=True),
            ),
        ),
    },
    "special": {
        **on("x", special, "erf erfc expit ndtr"),
        **on("x", special, "log_ndtr", ulps=1024),
        **on("weights", special, "logit entr ndtri erfinv"),
        **on("x positive", special, "xlogy xlog1py"),
        **on("weights positive", special, "kl_div rel_entr"),
        **on("x", stats.norm, "pdf cdf logpdf"),
        **on("x", stats.logistic, "pdf"),
        **on("x", stats.cauchy, "logpdf"),
        **on("x", stats.laplace, "cdf"),
        **on("positive", stats.expon, "pdf logpdf cdf"),
        **on("weights", stats.uniform, "pdf logpdf"),
        **written(
            ("scipy.stats.uniform.pdf(vmap)", lambda s: jax.vmap(stats.uniform.pdf)(s.weights))
        ),
        **on("x", stats.gumbel_r, "logpdf"),
        **written(
            ("scipy.stats.sem", lambda s: stats.sem(s.v)),
            ("scipy.stats.t.pdf", lambda s: stats.t.pdf(s.x, 3.0)),
            ("scipy.stats.gamma.pdf", lambda s: stats.gamma.pdf(s.positive, 2.0)),
            ("scipy.stats.beta.pdf", lambda s: stats.beta.pdf(s.weights, 2.0, 3.0)),
            ("scipy.stats.chi2.pdf", lambda s: stats.chi2.pdf(s.positive, 3.0)),
            ("scipy.stats.geom.pmf", lambda s: stats.geom.pmf(s.j, 0.3)),
            ("scipy.stats.vonmises.pdf", lambda s: stats.vonmises.pdf(s.x, 1.0)),
        ),
    },
    "gradients": {
        **gradients("x", jnp, "square exp sin tanh abs arctan"),
        **gradients("positive", jnp, "log sqrt reciprocal"),
        **gradients("unit", jnp, "arctanh"),
        **gradients("x", jnp, "max prod std sort median cumsum cumprod"),
        **gradients("x", nn, "relu sigmoid silu softmax log_softmax"),
        **gradients("x", nn, "gelu", ulps=32),
        **gradients("x", special, "erf"),
        **written(
            (
                "grad numpy.linalg.norm",
                lambda s: jax.grad(lambda v: jnp.linalg.norm(v))(s.y),
            ),
            ("grad numpy.power", lambda s: jax.grad(lambda v: jnp.power(v, s.x).sum())(s.positive)),
            ("grad numpy.divide", lambda s: jax.grad(lambda v: (s.x / v).sum())(s.y)),
            ("grad numpy.take(secret)", lambda s: jax.grad(lambda v: (v[s.at] ** 2).sum())(s.v)),
            (
                "grad lax.conv",
                lambda s: jax.grad(
                    lambda k: lax.conv_general_dilated(
                        s.image, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
                    ).var()
                )(s.kernel),
            ),
        ),
    },
}

CASES = [(group, name) for group, table in GROUPS.items() for name in table]


def _arrays() -> SimpleNamespace:
    return SimpleNamespace(**OPERANDS)


@functools.cache
def expected(group: str) -> dict[str, Any]:
    """What plain JAX gives in 64 bits for what the encoding holds."""

    def held(x: np.ndarray) -> np.ndarray:
        return np.round(x.astype(np.float64) * SCALE) / SCALE if x.dtype.kind == "f" else x

    def all_of(operands: dict[str, Any]) -> dict[str, Any]:
        s = SimpleNamespace(**operands)
        return {name: case.f(s) for name, case in GROUPS[group].items()}

    with jax.enable_x64(True):
        return jax.jit(all_of)({name: held(x) for name, x in OPERANDS.items()})


@functools.cache
def shares(protocol: str) -> Any:
    return jsmpc.share(KEY, OPERANDS, PROTOCOLS[protocol])


def secure(protocol: str, table: Table) -> dict[str, Any]:
    def all_of(operands: dict[str, Any]) -> dict[str, Any]:
        s = SimpleNamespace(**operands)
        return {name: case.f(s) for name, case in table.items()}

    return jsmpc.reveal(jsmpc.secure(all_of)(KEY, shares(protocol)))


@functools.cache
def computed(protocol: str, group: str) -> dict[str, Any]:
    """The results of a table's functions on secrets; an exception for each that fails."""
    try:
        return secure(protocol, GROUPS[group])
    except Exception:
        return {name: attempt(protocol, name, case) for name, case in GROUPS[group].items()}


def attempt(protocol: str, name: str, case: Case) -> Any:
    try:
        return secure(protocol, {name: case})[name]
    except Exception as error:
        return error


def check(group: str, name: str, protocol: str) -> None:
    """Compares a function of secrets with that of JAX."""
    case, ours = GROUPS[group][name], computed(protocol, group)[name]
    if isinstance(ours, Exception):
        raise ours
    theirs = expected(group)[name]
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype.kind == b.dtype.kind
        bound = np.maximum(case.ulps / SCALE, case.relative * abs(b)) if b.dtype.kind == "f" else 0
        off = abs(a.astype(np.float64) - b.astype(np.float64))
        assert (off <= bound).all(), f"off by {np.max(off):.3g}, {np.max(off) * SCALE:.1f} ulp"
