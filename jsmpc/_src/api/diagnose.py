"""`jsmpc.diagnose`: what fixed-point arithmetic does to a function, equation by equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jsmpc._src.api.share import is_share
from jsmpc._src.errors import (
    SecretError,
)
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols import InsecurePlain, Protocol, Replicated3
from jsmpc._src.readings.diagnosis.exact import Value, as_value
from jsmpc._src.readings.diagnosis.examiner import Examiner, context
from jsmpc._src.readings.diagnosis.report import Diagnosis


def diagnose(
    f: Callable[..., Any],
    protocol: Protocol | None = None,
    *,
    public_argnums: int | Sequence[int] = (),
    static_argnums: int | Sequence[int] = (),
) -> Callable[..., Diagnosis]:
    """Run `f` in fixed point beside 64-bit floating point and report where they part.

    The fixed-point side goes through the rules of `jsmpc.secure`, in the clear. Equations that
    cannot be computed on secrets are reported and replaced by their plain results, so that one
    call finds them all. Loops run iteration by iteration; both branches of a secret condition run.

    Args:
      f: a function as for `jsmpc.secure`.
      protocol: its ring and encoding are diagnosed, and what one of its parties alone learns; by
        default `Replicated3()`.
      public_argnums: positions of arguments that will not be shared.
      static_argnums: positions of arguments that are no arrays.

    Returns:
      a function of plain arguments of `f` that returns a `Diagnosis`.

    Raises (when called):
      SecretError: for a `Share` among the arguments: the values themselves are needed.

    Guarantee: none; everything is computed in the clear where it is called.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> found = jsmpc.diagnose(lambda x: 1.0 / (x * x))(jnp.array([0.5, 0.001]))
      >>> found.first_underflow.primitive, found.first_overflow
      ('mul', None)
    """
    protocol = Replicated3() if protocol is None else protocol
    smpc = InsecurePlain(bits=protocol.bits, encoding=protocol.encoding)
    public, static = _positions(public_argnums), _positions(static_argnums)

    def run(*args: Any, **kwargs: Any) -> Diagnosis:
        dynamic = [() if i in static else a for i, a in enumerate(args)]
        leaves, treedef = jax.tree.flatten((dynamic, kwargs), is_leaf=is_share)
        if any(map(is_share, leaves)):
            raise SecretError(
                "diagnose computes in the clear and needs the values, not shares. Pass what was "
                "shared, or jsmpc.reveal the share first if it may be disclosed"
            )

        def flat(*values: Any) -> Any:
            given, named = jax.tree.unflatten(treedef, values)
            for i in static:
                given[i] = args[i]
            return f(*given, **named)

        arrays = [jnp.asarray(x) for x in leaves]
        jaxpr, out_shape = jax.make_jaxpr(flat, return_shape=True)(*arrays)
        names = [("argument", *n) for n in _names(dynamic, kwargs)]
        with compat.protocol_mode():
            examiner = Examiner(smpc, context(smpc), audience=protocol)
            inputs = [
                Value(x) if name[1] in public else examiner.input(name, x)
                for name, x in zip(names, arrays, strict=True)
            ]
            outputs = [as_value(v) for v in examiner.evaluate(jaxpr, inputs)]
            results = [examiner.result(v) for v in outputs]
            truths = [v.truth for v in outputs]
        structure = jax.tree.structure(out_shape)
        return Diagnosis(
            tuple(t.equation(i, smpc) for i, t in enumerate(examiner.tallies.values())),
            smpc.bits,
            smpc.encoding.base,
            smpc.encoding.precision_fractional or 0,
            jax.tree.unflatten(structure, results),
            jax.tree.unflatten(structure, truths),
        )

    return run


def _positions(argnums: int | Sequence[int]) -> tuple[int, ...]:
    return (argnums,) if isinstance(argnums, int) else tuple(argnums)


def _names(args: list[Any], kwargs: dict[str, Any]) -> list[tuple[Any, str]]:
    """For each leaf, the position or name of its argument, and its path."""
    paths = jax.tree_util.tree_flatten_with_path((args, kwargs))[0]
    return [
        (getattr(path[1], "idx", getattr(path[1], "key", None)), jax.tree_util.keystr(path[1:]))
        for path, _ in paths
    ]


# Values on both sides.


# The secure side.
