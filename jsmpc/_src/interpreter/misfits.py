"""Where public operands did not fit the encoding, until it is known whether that matters.

A public NaN, or a number out of range, has no secret that stands for it. What is computed from it
element by element is of no use; but a public condition may leave just that out, as in
`jnp.where(y > 0, x * jnp.sqrt(y), x)`. So a secret remembers which of its elements are of no use,
until an equation makes of them what no condition can leave out any more, or they are a result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import primitives as P  # noqa: N812

from jsmpc._src.errors import EncodingError
from jsmpc._src.interpreter import folding
from jsmpc._src.interpreter.guards import guarded_sqrt_p
from jsmpc._src.interpreter.parts import exp_below_p
from jsmpc._src.interpreter.secret import is_secret
from jsmpc._src.jaxprs import compat, tracing

MISFIT = (
    "a public operand is NaN, infinite or beyond the encoding's limit. Check or scale it before it "
    "meets a secret, or leave it out by jnp.where with a public condition"
)
"""What is said where it matters."""

_ELEMENTWISE = frozenset(
    (
        *(lax.add_p, P.add_jaxvals_p, lax.sub_p, lax.mul_p, lax.div_p, lax.max_p, lax.min_p),
        *(lax.neg_p, lax.abs_p, lax.sign_p, lax.square_p, lax.integer_pow_p, lax.pow_p),
        *(lax.sqrt_p, guarded_sqrt_p, lax.rsqrt_p, lax.cbrt_p, lax.exp_p, lax.exp2_p, lax.log_p),
        exp_below_p,
        *(lax.logistic_p, lax.tanh_p, lax.convert_element_type_p, lax.select_n_p, P.copy_p),
        *(lax.lt_p, lax.le_p, lax.gt_p, lax.ge_p, lax.eq_p, lax.ne_p, lax.clamp_p),
    )
)
_MOVED = frozenset(
    (
        *(lax.broadcast_in_dim_p, lax.reshape_p, lax.squeeze_p, lax.transpose_p, lax.slice_p),
        lax.rev_p,
    )
)


@dataclasses.dataclass(frozen=True)
class Misfits:
    """Elements that are of no use, as a public operand did not fit.

    Attributes:
      where: these, bool[...].
      error: of an operand that is known while the program is traced.
    """

    where: Any
    error: EncodingError | None = None

    def map(self, f: Callable[[Any], Any]) -> Misfits:
        return dataclasses.replace(self, where=f(self.where))


Found = Sequence[tuple[str, Misfits]]
"""Misfits by the equations where they began, as `Evaluator.place` names these."""


def passed_on(eqn: Any, operands: Sequence[Any], given: Sequence[Found], new: Found) -> Found:
    """What is of no use in the result of an equation that `keeps_apart` elements.

    Args:
      operands: the equation's.
      given: what is of no use in each of them.
      new: what did not fit in the equation itself.
    """
    shape = eqn.outvars[0].aval.shape
    passed = [(place, m.map(lambda w: _spread(w, shape))) for place, m in new]
    for i, found in enumerate(given):
        passed += [(place, m.map(lambda w: _passed(eqn, operands, i, w))) for place, m in found]
    return passed


def keeps_apart(eqn: Any) -> bool:
    """Whether each element of an equation's result depends on one of each operand, in a way that
    `passed_on` can tell."""
    return eqn.primitive in _ELEMENTWISE or eqn.primitive in _MOVED


def chosen(predicate: Any, i: int, x: Any) -> Any:
    """The elements of a case that a public predicate chooses, zero (or false) elsewhere."""
    is_known = not any(map(tracing.is_traced, (predicate, x)))
    np_or_jnp = np if is_known else jnp
    return np_or_jnp.where(np_or_jnp.asarray(predicate) == i, x, np.zeros((), x.dtype))


def _passed(eqn: Any, operands: Sequence[Any], i: int, where: Any) -> Any:
    if eqn.primitive in _MOVED:
        (moved,) = folding.fold(eqn, [where]) or compat.bind(eqn, [where])
        return moved.astype(bool)
    if eqn.primitive is lax.select_n_p and not is_secret(operands[0]):
        where = chosen(operands[0], i - 1, where)
    return _spread(where, eqn.outvars[0].aval.shape)


def _spread(where: Any, shape: tuple[int, ...]) -> Any:
    """Misfits among the elements of a shape; all of these if it is not clear which."""
    if np.shape(where) not in ((), shape):
        where = where.any()
    np_or_jnp = jnp if tracing.is_traced(where) else np
    return np_or_jnp.broadcast_to(where, shape)
