"""What a secure function discloses, as a mark in the program that calls it: the identity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jsmpc._src.jaxprs import compat, structure


class Disclosure(NamedTuple):
    """A disclosure: to whom, of how many numbers, at which line of the user's."""

    to: str
    elements: int
    line: str


disclosed_p = Primitive("disclosed")
disclosed_p.def_impl(lambda x, **_: x)
disclosed_p.def_abstract_eval(lambda x, **_: x)
mlir.register_lowering(disclosed_p, lambda ctx, x, **_: [x])
ad.deflinear2(disclosed_p, lambda ct, x, **_: [ct])


def _batch(operands: Any, axes: Any, disclosures: tuple[Disclosure, ...]) -> Any:
    (x,), (axis,) = operands, axes
    many = tuple(d._replace(elements=d.elements * x.shape[axis]) for d in disclosures)
    return disclosed_p.bind(x, disclosures=many), axis


batching.primitive_batchers[disclosed_p] = _batch


def marked(tree: Any, disclosures: Sequence[Disclosure]) -> Any:
    """A tree of arrays of a program, which so tells what computing them has disclosed."""
    leaves, treedef = jax.tree.flatten(tree)
    if not disclosures or not leaves:
        return tree
    first = disclosed_p.bind(leaves[0], disclosures=tuple(disclosures))
    return jax.tree.unflatten(treedef, [first, *leaves[1:]])


def disclosures(jaxpr: Any) -> Iterator[Disclosure]:
    """All that a program tells to disclose; what stands in a loop, once."""
    for eqn in compat.open_jaxpr(jaxpr)[0].eqns:
        if eqn.primitive is disclosed_p:
            yield from eqn.params["disclosures"]
        for body in structure.bodies(eqn):
            yield from disclosures(body)
