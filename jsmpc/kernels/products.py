"""Ring matrix products and convolutions of any dimension numbers, over one batched kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jsmpc.kernels import native, pure
from jsmpc.kernels.batched import mapped_first

Array = jax.Array
Pairs = Sequence[tuple[Array, Array]]

matmul_p = Primitive("ring_matmul")


def _matmul(pairs: Pairs) -> Array:
    """Sum over the pairs of [b, m, k] @ [b, k, n]."""
    return matmul_p.bind(*(operand for pair in pairs for operand in pair))


def _pairs(operands: Sequence[Any]) -> list[tuple[Any, Any]]:
    return list(zip(operands[::2], operands[1::2], strict=True))


def _pure(*operands: Array) -> Array:
    with jax.enable_x64(True):
        return pure.matmul(_pairs(operands))


def _on_cpu(*operands: Array) -> Array:
    if not native.available():
        return _pure(*operands)
    with jax.enable_x64(True):
        return native.matmul(_pairs(operands))


def _abstract(x: Any, y: Any, *_: Any) -> jax.core.ShapedArray:
    return jax.core.ShapedArray((x.shape[0], x.shape[1], y.shape[2]), x.dtype)


def _batch(operands: Any, dims: Any) -> tuple[Array, int]:
    stacked = mapped_first(operands, dims)
    out = matmul_p.bind(*(x.reshape(-1, *x.shape[2:]) for x in stacked))
    return out.reshape(stacked[0].shape[0], -1, *out.shape[1:]), 0


matmul_p.def_abstract_eval(_abstract)
matmul_p.def_impl(jax.jit(matmul_p.bind))
batching.primitive_batchers[matmul_p] = _batch
mlir.register_lowering(matmul_p, mlir.lower_fun(_pure, multiple_results=False))
mlir.register_lowering(matmul_p, mlir.lower_fun(_on_cpu, multiple_results=False), "cpu")


def _product_of_sizes(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))


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
    b, k = _product_of_sizes(batch), _product_of_sizes([x.shape[d] for d in left])
    m, n = _product_of_sizes(rows), _product_of_sizes(columns)

    def normal(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        u, v = pair
        u = u.transpose(*left_batch, *left_free, *left).reshape(b, m, k)
        v = v.transpose(*right_batch, *right, *right_free).reshape(b, k, n)
        return u, v

    return _matmul([normal(pair) for pair in pairs]).reshape(*batch, *rows, *columns)


def _patches(x: Array, window: Sequence[int], strides: Any, dilation: Any) -> Array:
    """[..., h, w, …] to [..., out_h, window_h, out_w, window_w, …]."""
    lead = x.ndim - len(window)
    for axis, (size, stride, step) in enumerate(zip(window, strides, dilation, strict=True)):
        at = lead + 2 * axis
        count = (x.shape[at] - ((size - 1) * step + 1)) // stride + 1
        index = np.arange(max(count, 0))[:, None] * stride + np.arange(size) * step
        x = jnp.take(x, jnp.asarray(index), axis=at, mode="clip")
    return x


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
    kernel = pairs[0][1].transpose(spec.rhs_spec)
    outputs, inputs, *window = kernel.shape

    def normal(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        x, w = pair[0].transpose(spec.lhs_spec), pair[1].transpose(spec.rhs_spec)
        pads = [(0, 0, 0)] * 2 + [
            (low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation, strict=True)
        ]
        x = lax.pad(x, jnp.zeros((), x.dtype), pads)
        x = x.reshape(batch_groups, -1, feature_groups, inputs, *x.shape[2:])
        x = _patches(x, window, strides, rhs_dilation)
        spatial = range(4, x.ndim, 2)
        x = x.transpose(0, 2, 1, *spatial, 3, *(d + 1 for d in spatial))
        w = w.reshape(groups, outputs // groups, -1).transpose(0, 2, 1)
        return x.reshape(groups, -1, w.shape[1]), w

    normals = [normal(pair) for pair in pairs]
    x = pairs[0][0].transpose(spec.lhs_spec)
    batch = x.shape[0] // batch_groups
    out_spatial = _out_spatial(x.shape[2:], window, strides, padding, lhs_dilation, rhs_dilation)
    out = _matmul(normals).reshape(groups, batch, *out_spatial, outputs // groups)
    out = jnp.moveaxis(out, 0, -2)
    out = out.reshape(batch, *out_spatial, outputs)
    return jnp.moveaxis(out, -1, 1).transpose(np.argsort(spec.out_spec))


def _out_spatial(
    sizes: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
) -> list[int]:
    out = []
    for size, w, stride, (low, high), spread, step in zip(
        sizes, window, strides, padding, lhs_dilation, rhs_dilation, strict=True
    ):
        padded = low + high + (size - 1) * spread + 1 if size else low + high
        out.append(max((padded - ((w - 1) * step + 1)) // stride + 1, 0))
    return out
