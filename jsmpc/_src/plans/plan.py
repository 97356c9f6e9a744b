"""Plans: functions that are traced once, and run by others who do not have their source."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jsmpc._src.api import forms
from jsmpc._src.api.files import replaced
from jsmpc._src.errors import PlanError
from jsmpc._src.jaxprs.disclosed import Disclosure
from jsmpc._src.plans import code, contents, specs
from jsmpc._src.plans.located import apart, place_of
from jsmpc._src.plans.whole import whole

NAME = re.compile(r"[A-Za-z0-9_<>.-]{1,128}")


@dataclasses.dataclass(frozen=True)
class Signature:
    """What goes into a plan and what comes out.

    Attributes:
      inputs, outputs: the leaves, as `jax.ShapeDtypeStruct`.
      paths: where each input stands among the arguments.
      form: the containers of (args, kwargs) as JSON; None for containers that have no such form.
      result: those of the result.
    """

    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    paths: tuple[str, ...]
    form: Any
    result: Any


class Plan:
    """A function as portable code; made by `jsmpc.plan`, or read by `Plan.load`.

    Called with arrays it runs here; called with pointers, at the worker that has the values.

    Attributes:
      name: the function's.
      hash: SHA-256 of all of it, by which owners permit it.
      signature: what goes in and comes out.
      reveals: what secure functions inside disclose, as whoever made the plan found it.
      wide: whether it computes in JAX's 64-bit mode.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> mean = jsmpc.plan(lambda x: x.mean(), "float32[n]")
      >>> mean(jnp.arange(5.0)), mean(jnp.ones(3))
      (Array(2., dtype=float32), Array(1., dtype=float32))
      >>> len(mean.hash)
      64
    """

    def __init__(self, data: bytes, result_tree: Any = None) -> None:
        """Reads a plan's bytes; `result_tree` is that of the function where it was traced."""
        header, body = contents.opened(data)
        self._data, self._tree = data, result_tree
        self._runnable: set[frozenset[str]] = set()
        self.hash = contents.hash_of(data)
        try:
            self.name, self.wide = _line(header["name"]), bool(header["wide"])
            self.reveals = tuple(
                Disclosure(_line(to), int(n), _line(at)) for to, n, at in header["reveals"]
            )
            with jax.enable_x64(self.wide):
                self._exported = export.deserialize(bytearray(body))
            paths = tuple(map(_line, header["paths"]))
            containers = header["form"], header["result"]
        except Exception as error:  # of flatbuffers and MLIR, which have many
            what = type(error).__name__
            raise PlanError(f"a plan cannot be read: {what}. Make it anew") from None
        self.signature = Signature(
            tuple(map(_spec, self._exported.in_avals)),
            tuple(map(_spec, self._exported.out_avals)),
            paths,
            *containers,
        )
        if len(paths) != len(self.signature.inputs) or not NAME.fullmatch(self.name):
            raise PlanError("a plan cannot be read: its parts do not belong together. Make it anew")

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The plan of `to_bytes`; PlanError if a bit of it was changed."""
        return cls(bytes(data))

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self._data)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
          PlanError: if the file is missing, damaged, or no plan.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise PlanError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
        return cls(data)

    def to_bytes(self) -> bytes:
        """All of it as bytes, with its hash."""
        return self._data

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to a file; the file's path."""
        file = Path(path)
        with replaced(file) as stream:
            stream.write(self._data)
        return file

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result; at a worker where arguments are pointers, whose results are too.

        Raises:
          PlanError: for arguments of other containers, shapes or dtypes, before anything runs.
        """
        leaves = self.leaves(*apart((args, kwargs)))
        place = place_of(leaves, f"plan {self.name}")
        if place is None:
            return self.result(self.run(leaves))
        self.check(leaves)
        return self.result(place.run(self, leaves))

    def leaves(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """The arguments' leaves; PlanError unless their containers are the plan's."""
        found, _ = jax.tree_util.tree_flatten_with_path((args, kwargs))
        paths = tuple(path_of(path) for path, _ in found)
        if paths != self.signature.paths:
            raise PlanError(
                f"plan {self.name} takes {_listed(self.signature.paths)}, and was called with "
                f"{_listed(paths)}"
            )
        pairs = zip(found, self.signature.inputs, strict=True)
        with jax.enable_x64(self.wide):
            return [as_array(leaf, spec) for (_, leaf), spec in pairs]

    def check(self, types: Sequence[Any]) -> None:
        """PlanError unless a plan can be called with leaves of these types."""
        if len(types) != len(self.signature.inputs):
            wanted = len(self.signature.inputs)
            raise PlanError(f"plan {self.name} takes {wanted} arrays, and was given {len(types)}")
        bound: dict[str, int] = {}
        for x, spec, path in zip(types, self.signature.inputs, self.signature.paths, strict=True):
            if not specs.fits(x, spec, bound):
                free = f", with {bound}" if bound else ""
                raise PlanError(
                    f"plan {self.name}: {path} is {specs.written(x)}, where {specs.written(spec)} "
                    f"is wanted{free}. Change its shape or dtype, or make a plan for it"
                )

    def run(self, leaves: Sequence[Any], more: frozenset[str] = frozenset()) -> list[Any]:
        """The result's leaves from the arguments' leaves, which are arrays.

        Args:
          more: names of native functions that it may call besides the usual ones.

        Raises:
          PlanError: for leaves that do not fit, or native functions that are unknown here, and
            where vmap or grad comes from outside.
        """
        self.check(leaves)
        self._require_runnable(more)
        with jax.enable_x64(self.wide):
            return jax.tree.leaves(self._compiled(*map(whole, leaves)))

    def results(self, leaves: Sequence[Any]) -> list[Any]:
        """The shapes and dtypes of the result's leaves, from arguments' leaves that fit."""
        with jax.enable_x64(self.wide):
            return jax.tree.leaves(self._compiled.eval_shape(*leaves))

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self._exported.call)

    def forget(self) -> None:
        """Lets go of what was compiled for the shapes that it was called with."""
        self.__dict__.pop("_compiled", None)

    def _require_runnable(self, more: frozenset[str]) -> None:
        if more in self._runnable:
            return
        code.require_known(self._exported, self.name, more)
        here = jax.default_backend()
        here = {"gpu": "cuda"}.get(here, here)
        if here not in self._exported.platforms:
            raise PlanError(
                f"plan {self.name} is for {', '.join(self._exported.platforms)}, and this is "
                f"{here}. Make it with platforms=('cpu', 'cuda')"
            )
        self._runnable.add(more)

    def result(self, leaves: Sequence[Any]) -> Any:
        """The leaves of a result in their containers."""
        if self._tree is not None:
            return jax.tree.unflatten(self._tree, leaves)
        if self.signature.result is None and len(leaves) != 1:
            return tuple(leaves)
        return forms.tree_of(self.signature.result, iter(leaves))

    def __repr__(self) -> str:
        inputs = ", ".join(map(specs.written, self.signature.inputs))
        outputs = ", ".join(map(specs.written, self.signature.outputs))
        return f"Plan({self.name}: {inputs} -> {outputs}; {self.hash[:12]}…)"

    def __str__(self) -> str:
        """What an owner reads before permitting it: inputs, outputs, reveals, equations."""
        lines = [f"plan {self.name}", f"hash {self.hash}", "inputs:"]
        for path, spec in zip(self.signature.paths, self.signature.inputs, strict=True):
            lines.append(f"  {path}: {specs.written(spec)}")
        lines += ["outputs:", *(f"  {specs.written(spec)}" for spec in self.signature.outputs)]
        said = "reveals" if self.reveals else "reveals nothing but its outputs"
        lines.append(f"{said}, as its maker says{':' if self.reveals else ''}")
        for to, elements, line in self.reveals:
            lines.append(f"  {elements:,} number{'s' if elements != 1 else ''} to {to}, at {line}")
        return "\n".join([*lines, "equations:", self.equations])

    @property
    def equations(self) -> str:
        """The operations that are run, in StableHLO, read from the code itself."""
        return code.text(self._exported)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and other.hash == self.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __reduce__(self) -> Any:
        return Plan, (self._data, self._tree)


def _spec(aval: Any) -> Any:
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def _line(text: Any) -> str:
    """A text of one line, which shows as what it is."""
    if type(text) is not str or not text.isprintable():
        raise ValueError("not a line of text")
    return text


def path_of(path: Any) -> str:
    """Where a leaf of (args, kwargs) stands: `args[0]['w']` or `x`."""
    first, *rest = path
    return ("args" if first.idx == 0 else "kwargs") + jax.tree_util.keystr(tuple(rest))


def as_array(x: Any, spec: Any) -> Any:
    """A leaf as an array, of the wanted dtype where it is a plain number."""
    if isinstance(x, bool | int | float | complex):
        return np.asarray(x, spec.dtype)
    return specs.taken(x) if hasattr(x, "dtype") else jnp.asarray(x)


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:8]) or "nothing"
    return shown if len(paths) <= 8 else f"{shown}, … ({len(paths)} in all)"
