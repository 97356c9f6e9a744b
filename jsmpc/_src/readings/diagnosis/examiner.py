"""A program in fixed point and in 64-bit floating point, equation by equation."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.errors import EncodingError, JsmpcError, ProtocolError
from jsmpc._src.interpreter import private
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.misfits import MISFIT, Misfits
from jsmpc._src.interpreter.private import Private
from jsmpc._src.interpreter.registry import RULES
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat
from jsmpc._src.jaxprs.reveal import reveal_p
from jsmpc._src.jaxprs.secrecy import carries, secrecy
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.plain import InsecurePlain
from jsmpc._src.readings.diagnosis.exact import (
    Value,
    as_value,
    bounded,
    difference,
    encodable,
    exactly,
    host,
    is_float,
    largest,
    wide,
)
from jsmpc._src.readings.diagnosis.report import Equation
from jsmpc._src.ring.division import Divisor, integers
from jsmpc._src.runtime.context import Context

_LOST_SHARE = 0.25  # an equation underflows if it loses at least this share of its results


def context(smpc: Protocol) -> Context:
    network = Network(1)
    return Context(network, smpc.setup(network, [jnp.zeros(8, jnp.uint32)]))


@dataclasses.dataclass(frozen=True)
class _Watched(InsecurePlain):
    """The oracle, keeping what it divides by: so much larger are products before truncation."""

    divisors: list[int] = dataclasses.field(default_factory=list, compare=False)

    def truncate(self, ctx: Context, x: Local, divisor: Divisor) -> Local:
        self.divisors.append(int(np.max(integers(divisor))))
        return super().truncate(ctx, x, divisor)


class _Rule:
    """The rule of one equation as a compiled function of the operands not known beforehand."""

    def __init__(self, evaluator: Evaluator, values: list[Value]):
        smpc = _Watched(bits=evaluator.smpc.bits, encoding=evaluator.smpc.encoding)
        eqn, line = evaluator.eqn, evaluator.line
        known = {i: v.fixed for i, v in enumerate(values) if v.known and not v.secret}
        self.given = [i for i in range(len(values)) if i not in known]
        self.divisors = smpc.divisors

        def program(given: list[Any], misfits: list[dict[str, Any]]) -> Any:
            inner = Evaluator(smpc, context(smpc), eqn, line)
            operands = {**known, **dict(zip(self.given, given, strict=True))}
            results = inner.apply([_marked(operands[i], m) for i, m in enumerate(misfits)])
            inner.findings.settle()
            return (
                [_marked(x, {}) for x in results],
                list(map(_misfits, results)),
                inner.findings.faults,
            )

        self._run = jax.jit(kernels.optimize(program))

    def __call__(
        self, operands: list[Any], misfits: list[dict[str, Any]]
    ) -> tuple[list[Any], list[dict[str, Any]]]:
        """The results, with the misfits among their elements.

        Raises:
          EncodingError: for a public operand that does not fit the encoding, and counts.
        """
        out, among, faults = self._run([operands[i] for i in self.given], misfits)
        for place, found in faults.items():
            if found:
                raise EncodingError(f"{place}: {MISFIT}")
        return out, among


def _marked(x: Any, misfits: dict[str, Any]) -> Any:
    """A value with these misfits, if it is secret; what is known of a number's range, which
    nothing depends on here, would have its rules compiled once more in every iteration."""
    if not is_secret(x):
        return x
    found = tuple((place, Misfits(where)) for place, where in misfits.items())
    bounds = None if is_float(x.dtype) else x.bounds
    return dataclasses.replace(x, misfits=found, bounds=bounds)


def _misfits(x: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, misfits in x.misfits if is_secret(x) else ():
        found[place] = found.get(place, False) | misfits.where
    return found


@dataclasses.dataclass
class _Tally:
    """An equation's record while it is made."""

    primitive: str
    line: str
    iterations: int = 0
    max_error: float = 0.0
    added_error: float = 0.0
    largest: float = 0.0
    smallest: float = math.inf
    lost: float = 0.0
    failed: str = ""
    is_float: bool = False
    began: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    @property
    def place(self) -> str:
        return f"{self.primitive} at {self.line}"

    def begins(self, trouble: str) -> None:
        self.began.setdefault(trouble, self.iterations)

    def reason(self, message: Exception | str) -> str:
        return str(message).removeprefix(f"{self.place}: ")

    def fail(self, error: Exception) -> None:
        self.failed, text = type(error).__name__, self.reason(error)
        self.note(text if isinstance(error, JsmpcError) else f"{self.failed}: {text}")
        self.begins("failure")

    def equation(self, index: int, smpc: Protocol) -> Equation:
        notes = [
            *self.notes,
            *(f"{t} from iteration {n} on" for t, n in self.began.items() if self.iterations > 1),
        ]
        return Equation(
            self.primitive,
            self.line,
            index,
            max(self.iterations, 1),
            self.max_error,
            self.added_error,
            self.largest,
            None if math.isinf(self.smallest) else self.smallest,
            self.lost,
            "overflow" in self.began,
            "underflow" in self.began,
            "nan" in self.began,
            self.failed,
            "\n".join(notes),
            1 / smpc.encoding.scale if self.is_float else 1.0,
        )


@dataclasses.dataclass(frozen=True)
class Examiner(Evaluator):
    """Evaluates a jaxpr on `Value`s, an equation at a time, and keeps a tally of each.

    `path` leads to the equation at hand through the calls and loops around it: equations of a
    sub-program that is called twice are told apart. Of the `audience`, the protocol that would run,
    are the parties to whom values are revealed.
    """

    path: tuple[Any, ...] = ()
    tallies: dict[Any, _Tally] = dataclasses.field(default_factory=dict)
    rules: dict[Any, _Rule] = dataclasses.field(default_factory=dict)
    audience: Protocol = dataclasses.field(default_factory=InsecurePlain)

    # From arrays to values and back.

    def input(self, name: tuple[Any, ...], x: Any) -> Value:
        """A secret argument; a key of `jax.random` cannot be one."""
        if not encodable(x.dtype):
            return Value(x)
        tally = self.tallies[name] = _Tally("input", f"argument {name[-1]}")
        exact = wide(np.asarray(x))
        value = Value(self._encoded(exact, x.dtype), exact)
        self._judge(tally, exact, value.fixed)
        tally.iterations += 1
        return value

    def result(self, value: Value) -> Any:
        """What is revealed of a value."""
        if not value.secret:
            return value.fixed
        if not encodable(value.fixed.dtype):
            return value.exact
        return self.smpc.decode(value.fixed.words.example, value.fixed.dtype)

    def _bound(self, dtype: Any) -> float:
        """The magnitude below which values of a dtype can be encoded."""
        ring = self.smpc.ring
        return self.smpc.encoding.limit(ring) if is_float(dtype) else float(ring.bound)

    def _encoded(self, exact: Any, dtype: Any) -> Secret:
        """The nearest secret that there is: without NaN and within the range."""
        dtype, bound = np.dtype(dtype), self._bound(dtype)
        if not encodable(dtype):  # complex: kept as it is, and refused by the next rule
            return Secret(self.ctx.network.hosted([exact]), dtype)
        x = np.asarray(exact)
        if is_float(dtype):  # a quarter of the bound for infinity, as by `Evaluator.saturated`
            x = np.where(bounded(x), x, np.nan_to_num(np.sign(x)) * (bound / 4))
            x = np.clip(x, -bound, bound)
        return Secret.of(self.smpc.constant(self.ctx, self.smpc.encode(x)), dtype)

    def _decoded(self, x: Any) -> Any:
        if not is_secret(x):
            return wide(host(x))
        if not encodable(x.dtype):
            return x.value.example
        words = np.asarray(x.words.example)
        if x.dtype == np.dtype(bool):
            return (words & 1).astype(bool)
        signed = words.view(self.smpc.ring.signed)
        return signed / self.smpc.encoding.scale if is_float(x.dtype) else signed.astype(x.dtype)

    def _representable(self, value: Value) -> Any:
        """A value without error as an operand of a rule."""
        if value.secret:
            return self._encoded(value.truth, value.fixed.dtype)
        dtype = value.fixed.dtype
        return value.truth.astype(dtype) if is_float(dtype) else value.fixed

    # Equations.

    def _tally(self) -> _Tally:
        return self.tallies.setdefault(self.path, _Tally(self.eqn.primitive.name, self.line))

    def _judge(
        self,
        tally: _Tally,
        exact: Any,
        fixed: Any,
        added: float = 0.0,
        used: float = 0.0,
        masked: bool = False,
    ) -> None:
        """Enter one result of an equation: its values, its error, and its use of the range.

        Infinity is an overflow unless it was there before, as a mask.
        """
        dtype = exact.dtype
        if not encodable(dtype) or not np.size(exact):
            return
        decoded = self._decoded(fixed)
        tally.max_error = max(tally.max_error, difference(decoded, exact))
        tally.added_error = max(tally.added_error, added)
        if dtype == np.dtype(bool):
            wrong = int((decoded != exact).sum())
            if wrong:
                tally.note(f"{wrong} of {np.size(exact)} decisions differ from plain JAX")
            return
        finite = bounded(exact)
        unbounded = not (masked or np.all(finite | np.isnan(exact)))
        magnitude = math.inf if unbounded else largest(exact)
        share = magnitude / self._bound(dtype)
        tally.largest = max(tally.largest, share, used)
        # Products before truncation that wrap around are wrong by a multiple of this and more.
        wrapped = self._bound(dtype) / self.smpc.encoding.scale
        if share >= 1 or used > 1 or (added >= wrapped and 2 * added > magnitude):
            tally.begins("overflow")
        if not is_float(dtype):
            return
        tally.is_float = True
        if not np.isfinite(exact).all():
            tally.note("NaN or infinity in plain JAX")
        if np.isnan(exact).any():
            tally.begins("nan")
        ulps = np.abs(exact[finite & (exact != 0)]) * self.smpc.encoding.scale
        if ulps.size:
            lost = float((ulps < 0.5).mean())
            tally.smallest = min(tally.smallest, float(ulps.min()))
            tally.lost = max(tally.lost, lost)
            if lost >= _LOST_SHARE:
                tally.begins("underflow")

    def apply(self, operands: list[Any]) -> list[Any]:
        values = [as_value(v) for v in operands]
        form = structure(self.eqn)
        inner = dataclasses.replace(self, path=(*self.path, id(self.eqn)))
        if any(v.owner is not None for v in values) and not isinstance(form, Call):
            return inner._private(values)
        if not any(v.secret or v.owner is not None for v in values):
            return self._public(self.eqn, values)
        if self.eqn.primitive is reveal_p:
            return inner._revealed(values)
        match form:
            case Call(body):
                return inner.inlined(body, values)
            case None:
                return inner._rule(values)
        values = list(map(self.relied_on, values))
        match form:
            case Scan() as loop:
                return inner._scan(loop, values)
            case While() as loop:
                return inner._while(loop, values)
            case Branches(branches):
                return inner._cond(branches, values)

    def relied_on(self, x: Any) -> Any:
        """A value all of whose elements count: misfits are failures where they began."""
        if not isinstance(x, Value) or not x.misfits:
            return x
        for place, where in x.misfits.items():
            if np.any(where):
                next(t for t in self.tallies.values() if t.place == place).fail(
                    EncodingError(MISFIT)
                )
        return dataclasses.replace(x, misfits={})

    def _public(self, eqn: Any, values: list[Value]) -> list[Value]:
        fixed = compat.bind(eqn, [v.fixed for v in values])
        if all(v.exact is None for v in values):
            return [Value(x) for x in fixed]
        exact = exactly(eqn, [v.truth for v in values])
        return [Value(x, y) for x, y in zip(fixed, exact, strict=True)]

    def _revealed(self, values: list[Value]) -> list[Value]:
        """A value that is revealed: to whom makes no difference to the number."""
        to = self.eqn.params["to"]
        everyone = dataclasses.replace(self, eqn=self.eqn.replace(params={"to": None}))
        results = everyone._rule(values)
        if to is None:
            return results
        try:
            rank = self.audience.rank(to)
        except ProtocolError as error:
            hint = "Give diagnose the protocol of the shares: jsmpc.diagnose(f, protocol)"
            self._tally().fail(ProtocolError(f"{error}. {hint}"))
            return results
        self._tally().note(f"revealed to {self.audience.parties[rank]} alone")
        return [dataclasses.replace(v, owner=rank) for v in results]

    def _private(self, values: list[Value]) -> list[Value]:
        """An equation that one party computes by itself, on what it alone knows."""
        exact = exactly(self.eqn, [v.truth for v in values])
        operands = [v.fixed if v.owner is None else Private(v.fixed, v.owner) for v in values]
        try:
            named = dataclasses.replace(self, smpc=self.audience)
            results = private.computed(named, operands)
        except JsmpcError as error:
            self._tally().fail(error)
            return [Value(x, y) for x, y in zip(self._given_up(exact), exact, strict=True)]
        return [Value(x.value, y, owner=x.rank) for x, y in zip(results, exact, strict=True)]

    def _rule(self, values: list[Value], exact: list[Any] | None = None) -> list[Value]:
        """An equation by its rule: on the operands at hand, and on those without error."""
        eqn, tally = self.eqn, self._tally()
        exact = exactly(eqn, [v.truth for v in values]) if exact is None else exact
        operands, used = [self._representable(v) for v in values], 0.0
        given = [v.misfits for v in values]
        among: list[dict[str, Any]] = [{} for _ in exact]
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", EncodingWarning)
                rule = self._compiled(values)
                local, _ = rule(operands, given)
                fixed, among = rule([v.fixed for v in values], given)
        except Exception as failure:  # it is the diagnosis; the rest is still examined
            tally.fail(failure)
            fixed, added = self._given_up(exact), [0.0] * len(exact)
        else:
            for warning in caught:
                tally.note(tally.reason(warning.message))
            wanted = exactly(eqn, [self._decoded(x) for x in operands])
            added = [difference(self._decoded(x), y) for x, y in zip(local, wanted, strict=True)]
            if rule.divisors and RULES[eqn.primitive].cost == "product":
                before = rule.divisors[-1] / self._bound(np.float64)
                used = max(map(largest, wanted)) * before
        masked = any(is_float(v.truth.dtype) and not bounded(v.truth).all() for v in values)
        for x, y, error, found in zip(exact, fixed, added, among, strict=True):
            self._judge(tally, self._fitting(x, y, found), y, error, used, masked)
        tally.iterations += 1
        results = zip(exact, fixed, among, strict=True)
        return [Value(y, x, misfits=found) for x, y, found in results]

    def _fitting(self, exact: Any, fixed: Any, misfits: dict[str, Any]) -> Any:
        """A value without error, but for elements of which it is open whether they count."""
        for where in misfits.values():
            exact = np.where(where, self._decoded(fixed), exact)
        return exact

    def _compiled(self, values: list[Value]) -> _Rule:
        for v in values:
            if v.secret and not encodable(v.fixed.dtype):
                raise self.unsupported(f"secrets of dtype {v.fixed.dtype} cannot be computed on")
        if self.path not in self.rules:
            self.rules[self.path] = _Rule(self, values)
        return self.rules[self.path]

    def _given_up(self, exact: list[Any]) -> list[Secret]:
        """In the place of what a rule cannot compute: the results without error, encoded."""
        return [
            self._encoded(x, v.aval.dtype) for x, v in zip(exact, self.eqn.outvars, strict=True)
        ]

    # Loops and conditions, as in the rules for control flow but one iteration after the other.

    def _settled(self, values: Sequence[Any], secret: Sequence[bool]) -> list[Value]:
        """Values that leave or enter a loop or a branch: as secrets where they may be some."""
        return [self._carried(v, s) for v, s in zip(map(as_value, values), secret, strict=True)]

    def _carried(self, value: Value, secret: bool) -> Value:
        if value.owner is not None:
            named = dataclasses.replace(self, smpc=self.audience)
            why = "would be carried on by a loop, or returned by a branch"
            self._tally().fail(private.refused(named, value.owner, why))
        return self._secret(value) if secret else Value(value.fixed, value.exact)

    def _secret(self, value: Value) -> Value:
        if value.secret:
            return value
        try:
            evaluator = Evaluator(self.smpc, self.ctx, self.eqn, self.line)
            fixed = evaluator.secret(host(value.fixed))
            evaluator.findings.settle()
        except JsmpcError as error:
            self._tally().fail(error)
            fixed = self._encoded(value.truth, value.fixed.dtype)
        return Value(fixed, value.truth)

    def _scan(self, loop: Scan, values: list[Value]) -> list[Value]:
        secret, _ = carries(loop, [v.secret for v in values])
        constants, init, xs = loop.split(values)
        carry = self._settled(init, secret)
        rows = []
        for i in loop.steps:
            out = self.evaluate(loop.body, [*constants, *carry, *(x.row(i) for x in xs)])
            carry = self._settled(out[: loop.carried], secret)
            rows.append([as_value(v) for v in out[loop.carried :]])
        if loop.reverse:
            rows.reverse()
        if not rows:
            empty = (v.aval for v in self.eqn.outvars[loop.carried :])
            return [*carry, *(Value(np.zeros(a.shape, a.dtype)) for a in empty)]
        return [*carry, *(self._stacked(column) for column in zip(*rows, strict=True))]

    def _stacked(self, column: Sequence[Value]) -> Value:
        if not any(v.secret for v in column):
            exact = None
            if any(v.exact is not None for v in column):
                exact = np.stack([v.truth for v in column])
            return Value(jnp.stack([v.fixed for v in column]), exact, owner=column[0].owner)
        first, *others = (self._secret(v) for v in column)
        fixed = first.fixed.map(lambda *w: np.stack(w), *(v.fixed for v in others))
        exact = np.stack([v.truth for v in (first, *others)])
        return Value(fixed, exact)

    def _while(self, loop: While, values: list[Value]) -> list[Value]:
        test, constants, init = loop.split(values)
        secret, _ = carries(loop, [v.secret for v in (*constants, *init)])
        if any(secrecy(loop.condition, [*(v.secret for v in test), *secret])):
            return self._rule(values)
        carry = self._settled(init, secret)
        while as_value(self.evaluate(loop.condition, [*test, *carry])[0]).fixed:
            carry = self._settled(self.evaluate(loop.body, [*constants, *carry]), secret)
        return carry

    def _cond(self, branches: Sequence[Any], values: list[Value]) -> list[Value]:
        index, operands = values[0], values[1:]
        which = int(np.clip(index.truth, 0, len(branches) - 1))
        if not index.secret:
            secrecies = [secrecy(b, [v.secret for v in operands]) for b in branches]
            either = [any(column) for column in zip(*secrecies, strict=True)]
            unknown = [Value(v.fixed, v.exact) for v in operands]
            return self._settled(self.evaluate(branches[which], unknown), either)
        outs = [[as_value(v) for v in self.evaluate(b, operands)] for b in branches]
        exact = [v.truth for v in outs[which]]
        inside = [t for p, t in self.tallies.items() if p[: len(self.path)] == self.path]
        if any(t.failed for t in inside):
            given = self._given_up(exact)
            return [Value(x, y) for x, y in zip(given, exact, strict=True)]
        return self._rule(values, exact)
