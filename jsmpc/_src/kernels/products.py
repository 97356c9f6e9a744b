"""Ring matrix products and convolutions of any dimension numbers, over one batched kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc._src.kernels import native, pure
from jsmpc._src.kernels.batched import mapped_first
from jsmpc._src.kernels.layout import Layout

Array = jax.Array
Pairs = Sequence[tuple[Array, Array]]

PATCH_BLOCK = 2**24  # how many words of patches a convolution holds at once

# Its operands are arrays [b, m, k] and [b, k, n] by turns, or lie in arrays as `layouts` say.
matmul_p = Primitive("ring_matmul")


def _matmul(pairs: Pairs) -> Array:
    """Sum over the pairs of [b, m, k] @ [b, k, n]."""
    return matmul_p.bind(*(operand for pair in pairs for operand in pair))


def _pairs(operands: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(operands[::2], operands[1::2], strict=True))


def layouts_of(eqn: Any) -> tuple[Layout, ...]:
    """Where the operands of an equation of `matmul_p` lie in its arrays."""
    return eqn.params.get("layouts") or tuple(Layout.of(v.aval.shape) for v in eqn.invars)


def _own(operands: Sequence[Array], layouts: Sequence[Layout]) -> list[Array]:
    """The operands as arrays of their own."""
    if not layouts:
        return list(operands)
    return [at.read(x) for x, at in zip(operands, layouts, strict=True)]


def _pure(*operands: Array, layouts: Sequence[Layout] = ()) -> Array:
    with jax.enable_x64(True):
        return pure.matmul(_pairs(_own(operands, layouts)))


def _on_cpu(*operands: Array, layouts: Sequence[Layout] = ()) -> Array:
    if not native.available():
        return _pure(*operands, layouts=layouts)
    with jax.enable_x64(True):
        return native.matmul(_pairs(operands), layouts)


def _on_gpu(*operands: Array, layouts: Sequence[Layout] = ()) -> Array:
    with jax.enable_x64(True):
        return pure.matmul_int8(_pairs(_own(operands, layouts)))


def _abstract(*operands: Any, layouts: Sequence[Layout] = ()) -> jax.core.ShapedArray:
    x, y = (v.shape for v in (layouts or operands)[:2])
    return jax.core.ShapedArray((x[0], x[1], y[2]), operands[0].dtype)


def _batch(operands: Any, dims: Any, layouts: Sequence[Layout] = ()) -> tuple[Array, int]:
    if layouts:
        places = list(zip(operands, dims, layouts, strict=True))
        operands = [at.read(x) if d is None else jax.vmap(at.read, d)(x) for x, d, at in places]
        dims = [None if d is None else 0 for d in dims]
    stacked = mapped_first(operands, dims)
    out = matmul_p.bind(*(x.reshape(-1, *x.shape[2:]) for x in stacked))
    return out.reshape(stacked[0].shape[0], -1, *out.shape[1:]), 0


matmul_p.def_abstract_eval(_abstract)
matmul_p.def_impl(jax.jit(matmul_p.bind, static_argnames="layouts"))
batching.primitive_batchers[matmul_p] = _batch
mlir.register_lowering(matmul_p, mlir.lower_fun(_pure, multiple_results=False))
mlir.register_lowering(matmul_p, mlir.lower_fun(_on_cpu, multiple_results=False), "cpu")
for _platform in ("cuda", "rocm"):
    mlir.register_lowering(matmul_p, mlir.lower_fun(_on_gpu, multiple_results=False), _platform)


def dot_general(pairs: Pairs, dimension_numbers: Any) -> Array:
    """The sum over the pairs of `jax.lax.dot_general`, modulo 2^bits.

    Args:
      pairs: operands of one shape a side, `uint32` or `uint64`.
      dimension_numbers: as in `jax.lax.dot_general`.

    Returns:
      batch dimensions, then the free ones of the left and of the right operand.
    """
    (left, right), (left_batch, right_batch) = dimension_numbers
    x, y = pairs[0]
    left_free = [d for d in range(x.ndim) if d not in (*left, *left_batch)]
    right_free = [d for d in range(y.ndim) if d not in (*right, *right_batch)]
    batch = [x.shape[d] for d in left_batch]
    rows, columns = [x.shape[d] for d in left_free], [y.shape[d] for d in right_free]
    b, k = math.prod(batch), math.prod([x.shape[d] for d in left])
    m, n = math.prod(rows), math.prod(columns)

    def normal(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        u, v = pair
        u = u.transpose(*left_batch, *left_free, *left).reshape(b, m, k)
        v = v.transpose(*right_batch, *right, *right_free).reshape(b, k, n)
        return u, v

    return _matmul([normal(pair) for pair in pairs]).reshape(*batch, *rows, *columns)


def convolution(
    pairs: Pairs,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    dimension_numbers: Any,
    feature_groups: int,
    batch_groups: int,
) -> Array:
    """The sum over the pairs of `jax.lax.conv_general_dilated`, modulo 2^bits.

    Args:
      pairs: operands of one shape a side, `uint32` or `uint64`.
      strides, padding, lhs_dilation, rhs_dilation, dimension_numbers: as in the primitive's
        parameters, padding explicit.
      feature_groups, batch_groups: at most one of them above 1.
    """
    spec = dimension_numbers
    groups = feature_groups * batch_groups
    pads = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation, strict=True)]

    def normal(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        x, w = pair[0].transpose(spec.lhs_spec), pair[1].transpose(spec.rhs_spec)
        batch, outputs, inputs = x.shape[0] // batch_groups, w.shape[0] // groups, w.shape[1]
        x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *pads])
        x = x.reshape(batch_groups, batch, feature_groups, inputs, *x.shape[2:])
        return x, w.reshape(groups, outputs, *w.shape[1:])

    out = _convolve([normal(pair) for pair in pairs], strides, rhs_dilation)
    out = jnp.moveaxis(out, 0, -2)
    out = out.reshape(*out.shape[:-2], groups * out.shape[-1])
    return jnp.moveaxis(out, -1, 1).transpose(np.argsort(spec.out_spec))


def _convolve(pairs: Pairs, strides: Sequence[int], dilation: Sequence[int]) -> Array:
    """The convolution as matrix products of at most `PATCH_BLOCK` words of patches.

    Args:
      pairs: of uint[batch_groups, batch, feature_groups, inputs, *padded] and
        uint[groups, outputs, inputs, *window].

    Returns:
      uint[groups, batch, *positions, outputs].
    """
    x, w = pairs[0]
    groups, outputs, inputs, *window = w.shape
    batch = x.shape[1]
    spans = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    positions = [
        max((size - span) // stride + 1, 0)
        for size, span, stride in zip(x.shape[4:], spans, strides, strict=True)
    ]
    rows, columns = batch * math.prod(positions), inputs * math.prod(window)
    words = len(pairs) * groups * rows * columns

    def product(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        x = _patches(pair[0], positions, window, strides, dilation)
        w = pair[1].reshape(groups, outputs, columns).transpose(0, 2, 1)
        return x.reshape(groups, rows, columns), w

    if words <= PATCH_BLOCK or rows == inputs == 1:
        out = _matmul([product(pair) for pair in pairs])
        return out.reshape(groups, batch, *positions, outputs)

    def pieces(length: int) -> tuple[int, int]:
        """How many pieces of what size an axis is cut into; the last may be padded."""
        count = -(-length // max(PATCH_BLOCK * length // words, 1))
        return count, -(-length // count)

    def again(xs: Sequence[Array], ws: Sequence[Array]) -> Array:
        return _convolve(list(zip(xs, ws, strict=True)), strides, dilation)

    xs, ws = [x for x, _ in pairs], [w for _, w in pairs]
    if inputs > 1 and (columns > rows or rows == 1):  # a sum of products of fewer columns
        count, size = pieces(inputs)
        parts = [_cut(x, 3, count, size) for x in xs], [_cut(w, 2, count, size) for w in ws]
        first, rest = jax.tree.map(lambda v: v[0], parts), jax.tree.map(lambda v: v[1:], parts)
        return lax.scan(lambda total, part: (total + again(*part), None), again(*first), rest)[0]
    if batch > 1:
        count, size = pieces(batch)
        out = lax.map(lambda part: again(part, ws), [_cut(x, 1, count, size) for x in xs])
        return _joined(out, 1, batch)
    at = next(i for i, n in enumerate(positions) if n > 1)
    count, size = pieces(positions[at])
    step, reach = size * strides[at], (size - 1) * strides[at] + spans[at]
    xs = [_to_length(x, 4 + at, (count - 1) * step + reach) for x in xs]

    def strip(start: Array) -> Array:
        return again([lax.dynamic_slice_in_dim(x, start, reach, 4 + at) for x in xs], ws)

    return _joined(lax.map(strip, np.arange(count) * step), 2 + at, positions[at])


def _patches(
    x: Array, positions: Sequence[int], window: Sequence[int], strides: Any, dilation: Any
) -> Array:
    """To uint[batch_groups, feature_groups, batch, *positions, inputs, *window]."""
    for i, (count, size) in enumerate(zip(positions, window, strict=True)):
        index = np.arange(count)[:, None] * strides[i] + np.arange(size) * dilation[i]
        x = jnp.take(x, jnp.asarray(index), axis=4 + 2 * i, mode="clip")
    at = range(4, x.ndim, 2)
    return x.transpose(0, 2, 1, *at, 3, *(i + 1 for i in at))


def _to_length(x: Array, axis: int, length: int) -> Array:
    pads = [(0, length - n if i == axis else 0, 0) for i, n in enumerate(x.shape)]
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def _cut(x: Array, axis: int, count: int, size: int) -> Array:
    """[..., n, …] to [count, ..., size, …], with zeros at the end."""
    x = _to_length(x, axis, count * size)
    return jnp.moveaxis(x.reshape(*x.shape[:axis], count, size, *x.shape[axis + 1 :]), axis, 0)


def _joined(parts: Array, axis: int, length: int) -> Array:
    """[count, ..., size, …] to [..., length, …]: the pieces one after another, cut to length."""
    x = jnp.moveaxis(parts, 0, axis)
    whole = x.shape[axis] * x.shape[axis + 1]
    x = x.reshape(*x.shape[:axis], whole, *x.shape[axis + 2 :])
    return lax.slice_in_dim(x, 0, length, axis=axis)
