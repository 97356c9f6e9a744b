"""Operations on words, as JAX's primitives themselves.

`x ^ y` of two traced arrays goes through a jitted function of jax.numpy, whose tracing takes four
times as long; and tracing is most of what a first call takes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

Array = jax.Array
Operation = Callable[[Any, Any], Any]


def _directly(primitive: Any, general: Operation) -> Operation:
    """An operation on arrays of one type, or an array and a scalar; on others, `general`."""
    params = {"out_dtype": None} if primitive is lax.mul_p else {}

    def operation(x: Any, y: Any) -> Any:
        words = isinstance(x, jax.Array) and isinstance(y, jax.Array | np.generic | np.ndarray)
        if words and y.dtype == x.dtype and y.shape in ((), x.shape):
            return primitive.bind(x, y, **params)
        return general(x, y)

    return operation


add = _directly(lax.add_p, operator.add)
subtract = _directly(lax.sub_p, operator.sub)
multiply = _directly(lax.mul_p, operator.mul)
xor = _directly(lax.xor_p, operator.xor)
conjunction = _directly(lax.and_p, operator.and_)
disjunction = _directly(lax.or_p, operator.or_)
_left = _directly(lax.shift_left_p, operator.lshift)
_right = _directly(lax.shift_right_logical_p, operator.rshift)
_arithmetic_right = _directly(lax.shift_right_arithmetic_p, operator.rshift)


def left(x: Any, n: Any) -> Any:
    """The word shifted left by n bits, a number or one an element."""
    return _left(x, _amount(n, x.dtype))


def right(x: Any, n: Any) -> Any:
    """The word shifted right by n bits, zeros from the left."""
    return _right(x, _amount(n, x.dtype))


def rotated(x: Any, n: Any) -> Any:
    """The word rotated left by n < its width bits, one an element, of its type."""
    rest = conjunction(lax.neg(n), n.dtype.type(8 * n.dtype.itemsize - 1))
    return disjunction(left(x, n), right(x, rest))


def arithmetic_right(x: Any, n: Any) -> Any:
    """The word shifted right by n bits, copies of its highest bit from the left."""
    signed = np.dtype(f"int{8 * x.dtype.itemsize}")
    return cast(_arithmetic_right(cast(x, signed), _amount(n, signed)), x.dtype)


def _amount(n: Any, dtype: Any) -> Any:
    return np.asarray(n, dtype) if isinstance(n, int) else n.astype(dtype)


def cast(x: Any, dtype: Any) -> Any:
    """The lowest bits of a word, or the word in a wider one."""
    if not isinstance(x, jax.Array):
        return x.astype(dtype)
    return x if x.dtype == dtype else lax.convert_element_type(x, dtype)
