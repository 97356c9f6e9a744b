"""Functions of what lies at a worker, computed there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from jsmpc._src.errors import JsmpcError, PlanError, PointerError
from jsmpc._src.jaxprs import compat
from jsmpc._src.plans import specs, trace
from jsmpc._src.plans.located import Located, Place, apart, place_of
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
    found = _prepared(f, args, kwargs)
    if found is None:
        return f(*args, **kwargs)
    made, place, leaves = found
    numbers = zip(leaves, made.signature.inputs, strict=True)
    return made.result(place.run(made, [as_array(x, spec) for x, spec in numbers]))


def planned(f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Plan:
    """The plan that `run` sends, for a worker's owner to read and permit; nothing runs.

    Raises:
      PlanError, PointerError: as of `run`; and where no argument is a pointer.
    """
    found = _prepared(f, args, kwargs)
    if found is None:
        raise PointerError(f"planned {_called(f)}: no argument is a pointer to a worker's value")
    return found[0]


def _prepared(f: Any, args: Any, kwargs: Any) -> tuple[Plan, Place, list[Any]] | None:
    """The plan of a function, where it runs, and its leaves; None where nothing is elsewhere."""
    leaves, treedef = jax.tree.flatten(apart((args, kwargs)))
    place = place_of(leaves, f"run {_called(f)}")
    if place is None:
        return None
    types = tuple(map(_type, leaves))
    there = any(specs.is_wide(x.dtype) for x in leaves if isinstance(x, Located))
    made = _planned(f, treedef, types, there or compat.x64_enabled(), place.name)
    return made, place, leaves


def _called(f: Any) -> str:
    return str(getattr(f, "__name__", type(f).__name__))


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
