"""Programs of all parties in which a mask is spoilt, or something sent that should not be.

A mutant is a traced program rewritten in one place. Each kind of mutation is a function from a
program to its mutants, each with a name that tells the place.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Var

from harness import A
from jsmpc._src.api import ports
from jsmpc._src.jaxprs import compat, routine
from jsmpc._src.kernels.stream import draw_p
from jsmpc._src.network.messages import message_p
from jsmpc._src.network.network import Network
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Port
from jsmpc._src.readings.verification.report import Verification
from jsmpc._src.readings.verification.verification import verify
from jsmpc._src.ring.residues import residue_p
from jsmpc._src.runtime.context import Context

SHAPE = (4, 100)


@dataclasses.dataclass(frozen=True)
class Traced:
    """A step of a protocol: its program, flat, and who gives its inputs."""

    smpc: Protocol
    jaxpr: Any
    consts: Sequence[Any]
    inputs: Sequence[Port]

    @classmethod
    def of(
        cls,
        smpc: Protocol,
        f: Callable[..., Any],
        kinds: Sequence[type],
        shape: tuple[int, ...] = SHAPE,
    ) -> Traced:
        """Of a function of a context and shares, words (`A`) or bits (`B`)."""

        def program(keys: Any, rows: Any) -> Any:
            net = Network(smpc.size)
            ctx = Context(net, smpc.setup(net, keys))
            f(ctx, *(smpc.unpack(net, (r,)) for r in rows))
            return ()

        def words(kind: type) -> Any:
            return jax.ShapeDtypeStruct(shape, smpc.ring.dtype if kind is A else np.uint8)

        with jax.enable_x64(True):
            keys = [jax.ShapeDtypeStruct((8,), np.uint32)] * len(smpc.endpoints)
            rows = [[words(kind)] * smpc.size for kind in kinds]
            jaxpr, consts = compat.open_jaxpr(jax.make_jaxpr(program)(keys, rows))
        row_ports = [Port(ports.holders(smpc, i)) for i in range(smpc.size)]
        inputs = [*ports.of_keys(smpc), *row_ports * len(kinds)]
        return cls(smpc, routine.inlined(jaxpr), consts, inputs)

    def proof(self, corrupt: Sequence[tuple[int, ...]] | None = None) -> Verification:
        """Whether its views are proved."""
        sets = self.smpc.corrupt_sets if corrupt is None else corrupt
        dealer = self.smpc.dealer is not None
        return verify(self.closed, self.inputs, self.smpc.endpoints, dealer, sets)

    @property
    def closed(self) -> Any:
        return ClosedJaxpr(self.jaxpr, list(self.consts))

    def places(self, primitive: Any) -> list[int]:
        """The numbers of a primitive's equations."""
        return [i for i, e in enumerate(self.jaxpr.eqns) if e.primitive is primitive]

    def replaced(self, number: int, *eqns: Any) -> Traced:
        """The program with other equations in the place of one."""
        own = self.jaxpr.eqns
        written = [*own[:number], *eqns, *own[number + 1 :]]
        return dataclasses.replace(self, jaxpr=self.jaxpr.replace(eqns=written))


def _applied(f: Callable[[Any], Any], eqn: Any) -> tuple[Any, Any]:
    """An equation, and one that makes its result by a function of what it was."""
    (result,) = eqn.outvars
    with jax.enable_x64(True):
        closed = jax.make_jaxpr(jax.jit(f))(jax.ShapeDtypeStruct(*_type(result)))
    (call,) = compat.open_jaxpr(closed)[0].eqns
    before = Var(result.aval)
    return eqn.replace(outvars=[before]), call.replace(invars=[before], outvars=[result])


def _type(v: Any) -> tuple[Any, Any]:
    return v.aval.shape, v.aval.dtype


def _message(variable: Any, like: Any, source: int | str, target: int, phase: str) -> Any:
    """An equation that sends a value."""
    params = {**like.params, "source": source, "target": target, "phase": phase}
    return like.replace(invars=[variable], outvars=[Var(variable.aval)], params=params)


Mutants = Iterator[tuple[str, Traced]]


def _draws(program: Traced) -> list[int]:
    """The draws that something which is sent depends on."""
    needed: set[Any] = set()
    for eqn in reversed(program.jaxpr.eqns):
        if eqn.primitive is message_p or not needed.isdisjoint(eqn.outvars):
            needed.update(v for v in eqn.invars if not isinstance(v, Literal))
    eqns = program.jaxpr.eqns
    return [i for i in program.places(draw_p) if eqns[i].outvars[0] in needed]


def _of_draws(name: str, f: Callable[[Any], Any]) -> Callable[[Traced], Mutants]:
    """Every draw in turn, changed by a function of words."""

    def mutants(program: Traced) -> Mutants:
        for number in _draws(program):
            if f is _a_row_for_all and program.jaxpr.eqns[number].outvars[0].aval.shape[0] == 1:
                continue  # it has one row
            eqns = _applied(f, program.jaxpr.eqns[number])
            yield f"{name}, draw {number}", program.replaced(number, *eqns)

    return mutants


def _half(words: Any) -> Any:
    narrow = {1: np.uint8, 2: np.uint8, 4: np.uint16, 8: np.uint32}[words.dtype.itemsize]
    if words.dtype.itemsize == 1:
        return words & np.uint8(15)
    return lax.convert_element_type(lax.convert_element_type(words, narrow), words.dtype)


def _one_for_all(words: Any) -> Any:
    return lax.broadcast_in_dim(words[(0,) * words.ndim], words.shape, ())


def _a_row_for_all(words: Any) -> Any:
    return lax.broadcast_in_dim(words[:1], words.shape, tuple(range(words.ndim)))


def another_draw(program: Traced) -> Mutants:
    """A draw has the number of an earlier one of the same seed."""
    eqns = program.jaxpr.eqns
    for number in _draws(program):
        eqn = eqns[number]
        for before in _draws(program):
            other = eqns[before]
            same = other.invars == eqn.invars and other.outvars[0].aval == eqn.outvars[0].aval
            if before < number and same:
                again = eqn.replace(params=other.params)
                yield f"drawn again, draw {number}", program.replaced(number, again)
                break


def another_seed(program: Traced) -> Mutants:
    """A draw is of another party's seed, with a number of its own."""
    eqns = program.jaxpr.eqns
    seeds = list(dict.fromkeys(eqns[i].invars[0] for i in _draws(program)))
    for number in _draws(program):
        for seed in seeds:
            if seed is not eqns[number].invars[0]:
                params = {**eqns[number].params, "number": 1000 + number}
                changed = eqns[number].replace(invars=[seed], params=params)
                yield f"of another seed, draw {number}", program.replaced(number, changed)


def sent_in_clear(program: Traced) -> Mutants:
    """A draw is sent to a party that does not have its seed."""
    smpc, knows = program.smpc, _seeds(program)
    like = program.jaxpr.eqns[program.places(message_p)[0]]
    for number in _draws(program):
        eqn = program.jaxpr.eqns[number]
        for target in set(range(smpc.size)) - knows[eqn.invars[0]]:
            source = (target + 1) % smpc.size if smpc.dealer is None else "dealer"
            message = _message(eqn.outvars[0], like, source, target, "offline")
            yield f"sent to {target}, draw {number}", program.replaced(number, eqn, message)


def _seeds(program: Traced) -> dict[Any, set[Any]]:
    """Which parties know a seed: who are sent it, and those who have it."""
    found: dict[Any, set[Any]] = collections.defaultdict(set)
    for eqn in program.jaxpr.eqns:
        if eqn.primitive is message_p and eqn.params["phase"] == "setup":
            ends = {eqn.params["source"], eqn.params["target"]}
            found[eqn.outvars[0]] |= ends
    return found


def _secret(program: Traced) -> set[Any]:
    """All values that depend on an operand's share."""
    found = set(program.jaxpr.invars[len(program.smpc.endpoints) :])
    for eqn in program.jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in found for v in eqn.invars):
            found.update(eqn.outvars)
    return found


def _public(eqn: Any) -> bool:
    """Whether one of an equation's operands is a constant."""
    return any(isinstance(v, Literal) for v in eqn.invars)


def unmasked(program: Traced) -> Mutants:
    """A message is sent before its last addition: one of the addends alone. Where that is the mask
    itself, nothing secret is sent."""
    secret = _secret(program)
    makers = {v: e for e in program.jaxpr.eqns for v in e.outvars}
    for number in program.places(message_p):
        (value,) = program.jaxpr.eqns[number].invars
        maker = makers.get(value)
        sums = ("add", "sub", "xor", "residue")
        if maker is None or maker.primitive.name not in sums or _public(maker):
            continue
        addends = maker.invars[maker.primitive is residue_p :]
        for i, addend in enumerate(addends):
            if addend in secret:
                message = program.jaxpr.eqns[number].replace(invars=[addend])
                yield f"addend {i} alone, message {number}", program.replaced(number, message)


def shifted_after(program: Traced) -> Mutants:
    """A mask is added on the wrong side of a shift: what is added to it is shifted, it is not, or
    the other way round; either is one bit short."""
    yield from _of_draws("shifted left", lambda w: w << np.asarray(1, w.dtype))(program)
    yield from _of_draws("shifted right", lambda w: w >> np.asarray(1, w.dtype))(program)


def passed_on(program: Traced) -> Mutants:
    """A share is sent to a party that lacks it, as it is."""
    smpc, last = program.smpc, program.places(message_p)[-1]
    like = program.jaxpr.eqns[last]
    pairs = zip(program.jaxpr.invars, program.inputs, strict=True)
    for row, (variable, port) in enumerate(list(pairs)[len(smpc.endpoints) :]):
        for target in set(range(smpc.size)) - port.endpoints:
            message = _message(variable, like, min(port.endpoints), target, "online")
            yield f"row {row} passed to {target}", program.replaced(last, like, message)


def _is_message(eqn: Any) -> bool:
    return eqn.primitive is message_p


def misdirected(program: Traced) -> Mutants:
    """A message goes to another party, which is not sent the same anyway."""
    sent = {(e.invars[0], e.params["target"]) for e in program.jaxpr.eqns if _is_message(e)}
    for number in program.places(message_p):
        eqn = program.jaxpr.eqns[number]
        if eqn.params["phase"] == "setup":
            continue
        for target in range(program.smpc.size):
            if target != eqn.params["source"] and (eqn.invars[0], target) not in sent:
                message = eqn.replace(params={**eqn.params, "target": target})
                yield f"message {number} to {target}", program.replaced(number, message)


KINDS: dict[str, Callable[[Traced], Mutants]] = {
    "a mask left out": _of_draws("zero", lambda w: w ^ w),
    "a mask used twice": another_draw,
    "a mask of a seed that others know": another_seed,
    "a mask of half the width": _of_draws("half", _half),
    "a mask without its lowest bit": _of_draws("even", lambda w: w & ~np.asarray(1, w.dtype)),
    "one word for all elements": _of_draws("one word", _one_for_all),
    "one row for all rows": _of_draws("one row", _a_row_for_all),
    "a mask multiplied": _of_draws("squared", lambda w: w * w),
    "a mask on the wrong side of a shift": shifted_after,
    "a word sent in the clear": sent_in_clear,
    "a message without its mask": unmasked,
    "a share passed on": passed_on,
    "a message to another party": misdirected,
}
