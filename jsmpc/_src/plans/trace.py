"""From a function to a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax import export

from jsmpc._src.api import forms
from jsmpc._src.errors import PlanError
from jsmpc._src.jaxprs import compat, disclosed
from jsmpc._src.jaxprs.disclosed import Disclosure
from jsmpc._src.kernels import native
from jsmpc._src.plans import contents, specs
from jsmpc._src.plans.plan import NAME, Plan, path_of


def plan(
    f: Any, /, *args: Any, name: str | None = None, platforms: Any = None, **kwargs: Any
) -> Any:
    """Trace a function into a `Plan`, or decorate one with the shapes of its arguments.

    Args:
      f: a function of pytrees of arrays, a Flax module (its `apply`), or what `jsmpc.secure` made.
        As a decorator: the shape of the first argument.
      *args, **kwargs: the arguments' shapes: arrays, `jax.ShapeDtypeStruct`, or strings such as
        `"float32[batch,784]"`, in which names are free dimensions.
      name: the plan's; that of the function by default.
      platforms: on which it will run, such as ("cpu", "cuda"); by default where it was made.

    Raises:
      PlanError: if it cannot be exported: host callbacks, shapes that do not fit.

    Guarantee: a plan has the function's constants and no source; its hash covers all of it. What it
      computes can be read from its text; that it means no harm, nobody but a reader can tell.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> @jsmpc.plan("float32[batch,2]", "float32[2]")
      ... def predict(x, w):
      ...     return x @ w
      >>> predict.name, predict.signature.outputs[0].shape
      ('predict', (batch,))
      >>> predict(jnp.ones((3, 2)), jnp.ones(2))
      Array([2., 2., 2.], dtype=float32)
    """
    if not callable(f):
        return lambda g: plan(g, f, *args, name=name, platforms=platforms, **kwargs)
    if hasattr(f, "apply") and hasattr(f, "init"):
        name, f = name or type(f).__name__, f.apply
    given = specs.read((args, kwargs))
    return traced(f, given, name or name_of(f), platforms)


def name_of(f: Any) -> str:
    """What a function is called, if that can be the name of a plan."""
    return name_from(getattr(f, "__name__", type(f).__name__))


def name_from(text: str) -> str:
    """A text, if it can be the name of a plan."""
    return text if NAME.fullmatch(text) else "plan"


def traced(
    f: Callable[..., Any],
    given: Any,
    name: str,
    platforms: Any = None,
    calls: Iterable[str] = (),
    reveals: Iterable[Disclosure] = (),
) -> Plan:
    """The plan of a function of (args, kwargs) of these types.

    Args:
      calls: native functions that it may call besides the usual ones.
      reveals: what it discloses besides what secure functions inside do.
    """
    types, treedef = jax.tree.flatten(given)
    trees: list[Any] = []

    def flat(*leaves: Any) -> list[Any]:
        args, kwargs = jax.tree.unflatten(treedef, leaves)
        out, tree = jax.tree.flatten(f(*args, **kwargs))
        trees[:] = [tree]
        return out

    checks = [
        export.DisabledSafetyCheck.custom_call(target) for target in (*native.TARGETS, *calls)
    ]
    program = jax.jit(flat)
    try:
        with compat.unlocated():
            found = program.trace(*types)
            exported = export.export(program, platforms=platforms, disabled_checks=checks)(*types)
            body = bytes(exported.serialize())
    except (NotImplementedError, ValueError) as error:
        if not any(word in str(error) for word in ("custom call", "effect", "callback")):
            raise
        raise PlanError(
            f"plan {name} cannot be exported: {str(error).splitlines()[0][:300]}. Leave callbacks "
            "and effects out of what travels"
        ) from None
    paths = [path_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(given)[0]]
    header = {
        "name": name,
        "wide": compat.x64_enabled(),
        "paths": paths,
        "form": _form(jax.tree.unflatten(treedef, [0] * len(types))),
        "result": _form(jax.tree.unflatten(trees[0], [0] * trees[0].num_leaves)),
        "reveals": sorted({*disclosed.disclosures(found.jaxpr), *reveals}),
    }
    return Plan(contents.joined(header, body), trees[0])


def _form(tree: Any) -> Any:
    try:
        return forms.form_of(tree, [], lambda x: type(x) is int)
    except TypeError:
        return None
