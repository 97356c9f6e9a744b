"""`jsmpc.calibrate`: how many digits the numbers of a function need, found on samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api.share import is_share
from jsmpc._src.errors import EncodingWarning, SecretError
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols import Protocol, Replicated3
from jsmpc._src.readings.scaling import magnitudes, plan
from jsmpc._src.readings.scaling.assignment import Assignment
from jsmpc._src.readings.scaling.plan import Scales


def calibrate(
    f: Callable[..., Any],
    *samples: tuple[Any, ...],
    protocol: Protocol | None = None,
    headroom: float = 2.0,
) -> Scales:
    """A plan of scales for `f`, from how large its numbers become on samples, in the clear.

    Numbers that are small throughout, as the squares of gradients, get more digits behind the
    point; large ones get the room that they need. `jsmpc.secure(f, scales=plan)` follows the plan.

    Args:
      f: a function as for `jsmpc.secure`, of positional arguments that are arrays.
      *samples: tuples of arguments, of the shapes and dtypes that `f` will be called with on
        shares: numbers that are typical, such as public or synthetic data of that kind.
      protocol: its ring and encoding; by default those of `Replicated3()`.
      headroom: the digits (bits in base 2) by which numbers may be larger than in the samples.

    Returns:
      `Scales`, which print as a table, and can be saved.

    Warns:
      EncodingWarning: where numbers of the samples are so large at one time and so small at another
        that the ring has no room for the digits of both; it names the first such equation's line.

    Raises:
      SecretError: for a `Share` among the samples: the values themselves are needed.
      ValueError: without a sample, or for samples of several shapes.

    Guarantee: none; everything is computed in the clear where it is called. The plan tells
    magnitudes of the samples: make it from data that may be known to whoever gets it. A number
    beyond its head-room leaves the range, as any does: see `check` of `jsmpc.secure`.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> def f(x):
      ...     small = x * 1e-6  # its squares vanish in 18 bits
      ...     return 1e6 * jnp.sqrt(jnp.mean(small * small))
      >>> plan = jsmpc.calibrate(f, (jnp.array([1.0, 2.0]),))
      >>> x = jsmpc.share(jax.random.key(0), jnp.array([1.0, -3.0]), jsmpc.Replicated3())
      >>> found = jsmpc.reveal(jsmpc.secure(f, scales=plan)(jax.random.key(1), x))
      >>> round(float(found), 3)  # without the plan, 0
      2.236
    """
    smpc = Replicated3() if protocol is None else protocol
    if not samples:
        raise ValueError("calibrate needs a sample: calibrate(f, (x, y)) for arguments x and y")
    arguments = [_arrays(sample) for sample in samples]
    avals = [jax.tree.map(_aval, a) for a in arguments]
    if any(a != avals[0] for a in avals):
        raise ValueError(
            "samples are of several structures, shapes or dtypes: a plan belongs to one. Calibrate "
            "for each of them"
        )
    jaxpr = jax.make_jaxpr(f)(*arguments[0])
    run = jax.jit(lambda *leaves: magnitudes.of_program(jaxpr, leaves))
    found = magnitudes.extents([run(*jax.tree.leaves(a)) for a in arguments])
    assignment = Assignment(smpc, found, headroom)
    opened, _ = compat.open_jaxpr(jaxpr)
    assignment.run(jaxpr, [assignment.given(v.aval) for v in opened.invars])
    made = plan.make(smpc, jaxpr, headroom, assignment.plan(), assignment.needed())
    if coarse := assignment.coarse():
        warnings.warn(plan.loss(jaxpr, coarse), EncodingWarning, stacklevel=2)
    return made


def _arrays(sample: Any) -> tuple[Any, ...]:
    if not isinstance(sample, tuple):
        raise ValueError(
            f"a sample is a tuple of arguments, not {type(sample).__name__}: calibrate(f, (x, y)) "
            "for arguments x and y"
        )
    if any(map(is_share, jax.tree.leaves(sample, is_leaf=is_share))):
        raise SecretError(
            "calibrate computes in the clear and needs values, not shares. Pass samples that may "
            "be known: public or synthetic data of the same kind"
        )
    return jax.tree.map(_array, sample)


def _array(x: Any) -> Any:
    """An array as a share's is, of a dtype of its own; a Python number is left to promotion."""
    return jnp.asarray(x) if np.isscalar(x) else jnp.asarray(x, jnp.result_type(x))


def _aval(x: Any) -> Any:
    return tuple(x.shape), x.dtype
