"""Jaxprs written from the equations of others, which takes a tenth of the time of tracing these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal, Var

from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.rewrite import renamed

Operand = Any  # a variable of the jaxpr, or an array that is known


class Writer:
    """A jaxpr in the making.

    Args:
      avals: the types of its inputs.

    Attributes:
      inputs: their variables.
    """

    def __init__(self, avals: Sequence[Any]) -> None:
        types = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
        self._empty, _ = compat.open_jaxpr(jax.make_jaxpr(lambda *xs: xs)(*types))
        self.inputs: list[Operand] = list(self._empty.invars)
        self._eqns: list[Any] = []
        self._constants: dict[Any, Any] = {}

    def copy(self, eqn: Any, operands: Sequence[Operand]) -> list[Operand]:
        """An equation once more, of other operands."""
        results = [Var(v.aval) for v in eqn.outvars]
        self._eqns.append(eqn.replace(invars=self._atoms(operands), outvars=results))
        return list(results)

    def call(self, f: Callable[..., Any], *operands: Any) -> Any:
        """The results of a function of trees of operands, whose equations are traced."""
        leaves, tree = jax.tree.flatten(operands)
        atoms = self._atoms(leaves)
        types = [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype) for a in atoms]
        make = jax.make_jaxpr(f, return_shape=True)
        traced, shape = make(*jax.tree.unflatten(tree, types))
        jaxpr, constants = compat.open_jaxpr(traced)
        self._constants.update(zip(jaxpr.constvars, constants, strict=True))
        atom_of = dict(zip(jaxpr.invars, atoms, strict=True))
        self._eqns += [eqn.replace(invars=renamed(eqn.invars, atom_of)) for eqn in jaxpr.eqns]
        results = [
            compat.literal_value(v) if isinstance(v, Literal) else v
            for v in renamed(jaxpr.outvars, atom_of)
        ]
        return jax.tree.unflatten(jax.tree.structure(shape), results)

    def written(self, outputs: Sequence[Operand]) -> tuple[Any, list[Any]]:
        """The jaxpr with these outputs, and the constants that it takes before its inputs."""
        outvars = self._atoms(outputs)
        invars = [*self._constants, *self.inputs]
        jaxpr = self._empty.replace(invars=invars, eqns=self._eqns, outvars=outvars)
        return jaxpr, list(self._constants.values())

    def _atoms(self, operands: Sequence[Operand]) -> list[Any]:
        return [x if isinstance(x, Var) else self._constant(x) for x in operands]

    def _constant(self, x: Any) -> Any:
        aval = jax.core.ShapedArray(np.shape(x), x.dtype)
        if not aval.shape:
            return Literal(x, aval)
        variable = Var(aval)
        self._constants[variable] = x
        return variable
