"""Functions of what lies at a worker, computed there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from jsmpc._src.errors import JsmpcError, PlanError
from jsmpc._src.jaxprs import compat
from jsmpc._src.plans import specs, trace
from jsmpc._src.plans.located import Located, apart, place_of
from jsmpc._src.plans.plan import Plan, as_array


def run(f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """A function of values that lie at a worker, computed there.

    It is traced here, once for each kind of arguments, and sent as a plan; in JAX's 64-bit mode
    where values there have 64 bits.

    Args:
      f: any JAX function, or a `Plan`.
      *args, **kwargs: pytrees of pointers, which are all to the same worker, and of arrays, which
        are sent along.

    Returns:
      the function's result with a pointer in the place of each array; without any pointer among
      the arguments, the result itself.

    Raises:
      PointerError: for pointers to two workers, or to what is not there any more.
      PlanError: for shapes that do not fit each other; nothing has run then.
      PolicyError: if the worker's owner does not permit it.

    Example:
      >>> import jax, jax.numpy as jnp, jsmpc
      >>> bob = jsmpc.Worker("bob")
      >>> w, x = bob.send({"w": jnp.ones(2)}), bob.send(jnp.arange(4.0).reshape(2, 2))
      >>> gradient = jsmpc.run(jax.grad(lambda p, x: (x @ p["w"]).sum()), w, x)
      >>> gradient["w"].get()
      Array([2., 4.], dtype=float32)
    """
    if isinstance(f, Plan):
        return f(*args, **kwargs)
    given = apart((args, kwargs))
    leaves, treedef = jax.tree.flatten(given)
    name = getattr(f, "__name__", type(f).__name__)
    place = place_of(leaves, f"run {name}")
    if place is None:
        return f(*args, **kwargs)
    types = tuple(map(_type, leaves))
    there = any(specs.is_wide(x.dtype) for x in leaves if isinstance(x, Located))
    made = _planned(f, treedef, types, there or compat.x64_enabled(), place.name)
    numbers = zip(leaves, made.signature.inputs, strict=True)
    return made.result(place.run(made, [as_array(x, spec) for x, spec in numbers]))


def _type(x: Any) -> Any:
    if isinstance(x, Located):
        return x.shape, x.dtype, False
    spec = specs.read(x)
    return spec.shape, spec.dtype, bool(spec.weak_type)


@functools.lru_cache(maxsize=1024)
def _planned(f: Any, treedef: Any, types: tuple[Any, ...], wide: bool, place: str) -> Plan:
    """The plan of a function of arguments of these types, in 64-bit mode or not."""
    leaves = [jax.ShapeDtypeStruct(s, d, weak_type=w) for s, d, w in types]
    name = trace.name_of(f)
    try:
        with jax.enable_x64(wide):
            return trace.traced(f, jax.tree.unflatten(treedef, leaves), name)
    except JsmpcError:
        raise
    except (TypeError, ValueError, IndexError) as error:
        listed = ", ".join(specs.written(x) for x in leaves)
        raise PlanError(
            f"run {name} at {place}: it cannot be computed on {listed}: "
            f"{str(error).splitlines()[0][:300].rstrip('.')}. Change the shapes or the function"
        ) from error
