"""Layers in a program that is made fast: each of them once, however often it is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Literal, Var

from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.layer import layer_p
from jsmpc._src.jaxprs.rewrite import renamed
from jsmpc._src.kernels.fusion.equations import VIEWS

NAME = "layer"  # of the functions that a program calls for its layers


def taking_whole_values(jaxpr: Any) -> Any:
    """The jaxpr with layers that take values whole, and take apart inside what only shows elements
    of one, as a party's row of a stacked share: where that is read, it need not be copied."""
    calls: dict[Any, list[Any]] = defaultdict(list)
    for eqn in jaxpr.eqns:
        if eqn.primitive is layer_p:
            calls[eqn.params["jaxpr"]].append(eqn)
    if not calls:
        return jaxpr
    maker = {v: eqn for eqn in jaxpr.eqns if _is_view(eqn) for v in eqn.outvars}
    whole = {id(eqn): new for body in calls for eqn, new in _whole(body, calls[body], maker)}
    return jaxpr.replace(eqns=[whole.get(id(eqn), eqn) for eqn in jaxpr.eqns])


def _is_view(eqn: Any) -> bool:
    shows = eqn.primitive.name in VIEWS or eqn.primitive.name == "transpose"
    return shows and len(eqn.invars) == 1 and not isinstance(eqn.invars[0], Literal)


def _whole(body: Any, calls: Sequence[Any], maker: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """The calls of a layer, and what they become. What is not a view of one kind in all of them is
    taken as it is."""
    views = [[_views(v, maker) for v in eqn.invars] for eqn in calls]
    alike = [
        len({tuple(map(_static, chain)) for chain in chains}) == 1
        for chains in zip(*views, strict=True)
    ]
    bodies: dict[Hashable, Any] = {}
    found = []
    for eqn, chains in zip(calls, views, strict=True):
        chains = [chain if same else [] for chain, same in zip(chains, alike, strict=True)]
        sources = [c[0].invars[0] if c else v for c, v in zip(chains, eqn.invars, strict=True)]
        operands: list[Any] = []
        for v in sources:
            if v not in operands:
                operands.append(v)
        places = tuple(map(operands.index, sources))
        if places not in bodies:
            bodies[places] = _taken_apart(body, operands, places, chains)
        found.append((eqn, eqn.replace(invars=operands, params={"jaxpr": bodies[places]})))
    return found


def _views(v: Any, maker: dict[Any, Any]) -> list[Any]:
    """The equations by which a variable shows another one's elements, in order."""
    chain: list[Any] = []
    while not isinstance(v, Literal) and v in maker:
        chain.insert(0, maker[v])
        (v,) = maker[v].invars
    return chain


def _static(eqn: Any) -> Hashable:
    return eqn.primitive, str(eqn.params), eqn.invars[0].aval.shape


def _taken_apart(
    body: Any, operands: Sequence[Any], places: Sequence[int], views: Sequence[Sequence[Any]]
) -> Any:
    """A layer that begins with views of its operands."""
    opened, consts = compat.open_jaxpr(body)
    given = [Var(v.aval) for v in operands]
    names: dict[Any, Any] = {}
    eqns = []
    for parameter, place, chain in zip(opened.invars, places, views, strict=True):
        v = given[place]
        for eqn in chain:
            out = Var(eqn.outvars[0].aval)
            eqns.append(eqn.replace(invars=[v], outvars=[out]))
            v = out
        names[parameter] = v
    eqns += [eqn.replace(invars=renamed(eqn.invars, names)) for eqn in opened.eqns]
    outvars = renamed(opened.outvars, names)
    debug_info = opened.debug_info.with_unknown_names()
    apart = opened.replace(invars=given, eqns=eqns, outvars=outvars, debug_info=debug_info)
    return ClosedJaxpr(apart, consts)


class Layers:
    """The functions that a program calls for its layers, one each."""

    def __init__(self, evaluate: Callable[..., list[Any]]):
        self._evaluate = evaluate
        self._functions: dict[Any, Callable[..., list[Any]]] = {}

    def __call__(self, eqn: Any, operands: list[Any]) -> list[Any]:
        body = eqn.params["jaxpr"]
        if body not in self._functions:

            def layer(*operands: Any) -> list[Any]:
                return self._evaluate(*compat.open_jaxpr(body), operands)

            layer.__name__ = layer.__qualname__ = NAME
            self._functions[body] = jax.jit(layer)
        return self._functions[body](*operands)
