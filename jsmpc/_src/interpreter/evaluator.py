"""The interpreter: evaluates a jaxpr in which some values are secret.

Values that depend on no secret stay ordinary arrays. An equation without secret operands is
bound as it is; one with secret operands is handed to the rule registered for its primitive.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jsmpc._src.errors import EncodingWarning, UnsupportedError
from jsmpc._src.functions import integers, overflow
from jsmpc._src.interpreter import (
    folding,
    layers,
    misfits,
    private,
    ranges,
    recognition,
    underflow,
)
from jsmpc._src.interpreter.encodings import Encodings
from jsmpc._src.interpreter.findings import Findings, Settled
from jsmpc._src.interpreter.misfits import Misfits
from jsmpc._src.interpreter.ranges import Modular, Range
from jsmpc._src.interpreter.registry import REFUSED, RULES, Rule
from jsmpc._src.interpreter.scales import digits_of
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat, lines, structure, tracing
from jsmpc._src.jaxprs.layer import layer_p
from jsmpc._src.protocols.base import Shared
from jsmpc._src.ring.bilinear import Bilinear
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.runtime.context import Context

Array = jax.Array


E = TypeVar("E", bound="Evaluator")


_RUNNING = "a public operand, known when the function runs"
_SUMS = (lax.reduce_sum_p, lax.cumsum_p, lax.reduce_window_sum_p)


@dataclasses.dataclass(frozen=True)
class Evaluator(Encodings):
    """One evaluation: the protocol, its run, and the equation at hand.

    `findings` collects what is found out about numbers on the way, loops and branches included.
    Equations of library functions that have no line are attributed to `caller`.
    """

    eqn: Any = None
    line: str = "an unknown line"
    findings: Findings = dataclasses.field(default_factory=Findings)
    caller: Any = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the result of the equation at hand."""
        return np.dtype(self.eqn.outvars[0].aval.dtype)

    @property
    def place(self) -> str:
        """The equation at hand, for messages; there is none where results are stored."""
        if self.eqn is None:
            return "a result of the function"
        return f"{self.eqn.primitive.name} at {self.line}"

    def enter(self, ctx: Context) -> Evaluator:
        """An evaluator for a sub-program with a context, and findings, of its own."""
        return dataclasses.replace(self, ctx=ctx, findings=self.findings.fresh())

    def found(self) -> Settled:
        """What was found out on the way, one bit a place."""
        return self.findings.settled(self.smpc, self.ctx)

    def unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(f"{self.place}: {reason}")

    def evaluate(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """The outputs of a (closed) jaxpr on operands that may be secret; all elements of them
        count."""
        return [self.relied_on(x) for x in self.inlined(jaxpr, args)]

    def inlined(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """The outputs of a (closed) jaxpr as a part of the program it is in."""

        def apply(number: int, eqn: Any, operands: list[Any]) -> list[Any]:
            if eqn.primitive is layer_p:
                return layers.evaluate(self, eqn, operands)
            with lines.at_line_of(eqn, self.caller), self._operation(eqn):
                return self.at(eqn).within(number).apply(operands)

        return recognition.evaluate(jaxpr, args, apply, in_layers=self.plan is None)

    def _operation(self, eqn: Any) -> AbstractContextManager[Any]:
        """Marks what computes an equation with its primitive; of a sub-program, that of each."""
        if structure.structure(eqn) is not None:
            return contextlib.nullcontext()
        return lines.in_operation(eqn.primitive.name)

    def call(self, f: Callable[..., Any], *operands: Any) -> list[Any]:
        """The results of a JAX function of operands that may be secret."""
        specs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in operands]
        return self.unplanned().evaluate(jax.make_jaxpr(f)(*specs), operands)

    def at(self: E, eqn: Any) -> E:
        """The evaluator of one equation."""
        if not (line := lines.user_line(eqn)):
            return dataclasses.replace(self, eqn=eqn)
        return dataclasses.replace(self, eqn=eqn, line=line, caller=eqn.source_info.traceback)

    def apply(self, operands: list[Any]) -> list[Any]:
        """The results of the equation at hand."""
        eqn = self.eqn
        if any(map(private.is_private, operands)):
            if not isinstance(structure.structure(eqn), structure.Call):
                return private.computed(self, operands)
        elif not any(map(is_secret, operands)):
            return folding.fold(eqn, operands) or compat.bind(eqn, operands)
        handler = RULES.get(eqn.primitive)
        if handler is None:
            reason = REFUSED.get(
                eqn.primitive,
                f"the primitive {eqn.primitive.name!r} cannot be computed on secrets. Reveal its "
                "operands first if they may be disclosed, or compute it in the clear beforehand",
            )
            raise self.unsupported(reason)
        if eqn.primitive in structure.CALLS:
            return self._computed(handler, operands)
        return self._computed_of_some(handler, operands)

    def _computed(self, handler: Rule, operands: Sequence[Any]) -> list[Any]:
        """The results of a rule."""
        eqn, given = self.eqn, self._given(handler.modular, operands)
        if handler.scaled:
            out = handler.apply(self, *given, **eqn.params)
        else:
            given = [self.recoded(x) for x in given]
            out = handler.apply(self.unplanned(), *given, **eqn.params)
        results = list(out) if isinstance(out, list | tuple) else [out]
        if self.checks_overflow:
            self._check_results(handler, given, results)
        results = [self._as_planned(x, i) for i, x in enumerate(results)]
        typed = [_typed(x, v.aval.dtype) for x, v in zip(results, eqn.outvars, strict=True)]
        if handler.modular is not None and handler.modular.result is not None:
            return [self._bounded(handler.modular.result, x, given) for x in typed]
        return typed

    # Elements of no use.

    def _computed_of_some(self, handler: Rule, operands: Sequence[Any]) -> list[Any]:
        """The results of a rule, of operands of which some elements may be of no use."""
        before = len(self.findings.misfits)
        if not misfits.keeps_apart(self.eqn):
            results = self._computed(handler, list(map(self.relied_on, operands)))
            self.findings.settle(before)
            return results
        given = [x.misfits if is_secret(x) else () for x in operands]
        operands = [_without_misfits(x) for x in operands]
        (result,) = self._computed(handler, operands)
        new = self.findings.taken(before)
        if not new and not any(given):
            return [result]
        found = misfits.passed_on(self.eqn, operands, given, new)
        if is_secret(result):
            return [dataclasses.replace(result, misfits=found)]
        self.findings.misfits += found
        self.findings.settle(before)
        return [result]

    def relied_on(self, x: Any) -> Any:
        """A value all of whose elements count: those of no use are faults."""
        if is_secret(x):
            self.findings.misfits += x.misfits
        return _without_misfits(x)

    # Overflows.

    def check_room(self, x: Secret, digits: int) -> None:
        """Finds out, where asked for, whether words leave the range where digits are added."""
        bound = self.smpc.ring.bound // self.smpc.encoding.base ** max(digits, 0)
        if digits > 0 and bound:
            self._check(x, bound)

    def _check(self, x: Secret, bound: int) -> None:
        """Finds out, where asked for, whether words reach a bound, unless they cannot."""
        if not self.checks_overflow or ranges.within(x.range, bound):
            return
        if math.prod(x.shape):
            bits = overflow.outside(self.smpc, self.ctx, x.value, bound)
            self.findings.overflow(self.place, bits)

    @property
    def checks_overflow(self) -> bool:
        return self.findings.overflows is not None

    def check_product(
        self, f: Bilinear, x: Shared | Array, y: Shared | Array, of_a_pair: Range
    ) -> Range:
        """Finds out, where asked for, whether a product of words leaves the range, unless it
        cannot.

        Args:
          x, y: secret, or public.
          of_a_pair: the range of products of one word each.

        Returns:
          that of f(x, y).
        """
        reached = ranges.times(of_a_pair, overflow.terms(f, x, y))
        if not self.checks_overflow or ranges.within(reached, self.smpc.ring.bound):
            return reached
        if math.prod(x.shape) and math.prod(y.shape):
            left, right = map(self._shared, (x, y))
            right = left if y is x else right
            for bits in overflow.of_product(self.smpc, self.ctx, f, left, right):
                self.findings.overflow(self.place, bits)
        return ranges.limited(reached, self.smpc.ring.bound - 1)

    def _shared(self, words: Shared | Array) -> Shared:
        return words if isinstance(words, Shared) else self.smpc.constant(self.ctx, words)

    def _check_results(self, handler: Rule, operands: list[Any], results: list[Any]) -> None:
        """Sums, and functions whose results are the largest number where they would be larger.

        A sum along an axis is computed a second time, of numbers so much smaller that no word
        wraps.
        """
        bound = self.smpc.ring.bound - 1
        results = [x for x in results if is_secret(x) and jnp.issubdtype(x.dtype, jnp.floating)]
        if all(ranges.within(x.range, bound) for x in results):
            return
        if self.eqn.primitive in _SUMS:
            (x,) = operands
            size = 2 * max(math.prod(x.shape), 1)
            shift = size.bit_length()
            fits = self.coded(min(digits_of(self.encoding_of(x)), self.finest))
            value = self.recoded(x, fits).value
            small = Secret(self.smpc.truncate(self.ctx, value, 1 << shift), x.dtype)
            results = [handler.apply(self.unplanned(), small, **self.eqn.params)]
            bound = (bound >> shift) - size
        elif handler.cost != "function" and self.eqn.primitive not in (lax.add_p, lax.sub_p):
            return
        for x in results:
            self._check(x, bound)

    # Integers that may have left their dtype.

    def _given(self, modular: Modular | None, operands: Sequence[Any]) -> list[Any]:
        """Operands as a rule takes them: integers that may have left their dtype are wrapped."""
        needed = {id(x): x for i, x in enumerate(operands) if not self._is_taken(modular, i, x)}
        ready = {name: self.wrapped(x) for name, x in needed.items()}
        return [ready.get(id(x), x) for x in operands]

    def _is_taken(self, modular: Modular | None, i: int, x: Any) -> bool:
        """Whether a rule takes an operand modulo 2^width."""
        if modular is None or i not in range(len(self.eqn.invars))[modular.operands]:
            return False
        if self.eqn.primitive.multiple_results:
            return True
        out = self.eqn.outvars[0].aval.dtype
        return ranges.is_integer(out) and jnp.iinfo(out).bits <= 8 * x.dtype.itemsize

    def _bounded(self, result: Callable[..., Range], x: Any, operands: Sequence[Any]) -> Any:
        """A result with the range that follows from those of the operands."""
        if not is_secret(x) or not ranges.is_integer(x.dtype):
            return x
        known = [ranges.of(v) for v in operands]
        fit = all(ranges.fits(v) for v in operands)
        reached = result(self.eqn, *known)
        bounds = ranges.after_arithmetic(x.dtype, self.smpc.bits, fit, reached)
        return dataclasses.replace(x, bounds=bounds)

    def wrapped(self, x: Any) -> Any:
        """An operand whose number is needed: a secret integer is wrapped if it may have left its
        dtype, unless that is as wide as the ring."""
        if not is_secret(x) or ranges.fits(x) or jnp.iinfo(x.dtype).bits >= self.smpc.bits:
            return x
        signed = jnp.issubdtype(x.dtype, jnp.signedinteger)
        width = jnp.iinfo(x.dtype).bits
        return Secret(integers.wrapped(self.smpc, self.ctx, x.value, width, signed), x.dtype)

    # Public operands.

    def words(self, x: Any, dtype: Any, encoding: FixedPoint | None = None) -> Array:
        """Ring elements for a public operand of the dtype `dtype`, checked."""
        encoding = encoding or self.smpc.encoding
        if tracing.is_traced(x):
            return self.smpc.encode(self._running(jnp.asarray(x, dtype), encoding), encoding)
        known = self.checked(np.asarray(x), encoding)
        if known.size and (known == known.flat[0]).all():
            known = known.flat[0].reshape(())
        words = self.smpc.encode(known.astype(dtype), encoding)
        return jnp.broadcast_to(words, np.shape(x))

    def saturated(self, x: Any, encoding: FixedPoint | None = None) -> Any:
        """A public operand with a quarter of the encoding's limit for what stands for infinity.

        That is ±inf, and numbers from half of the dtype's largest on if the encoding does not
        hold them: what attention masks and `jnp.nan_to_num` put in a place or add to a number.
        The differences of two such values, and of one and a moderate number, are still compared
        rightly.
        """
        finite, infinite = self.parts(x, encoding)
        return finite if infinite is None else finite + infinite

    def parts(self, x: Any, encoding: FixedPoint | None = None) -> tuple[Any, Any]:
        """An operand without what stands for infinity, and this, saturated, as whole numbers of
        the dtype; None if there is nothing such for sure. See `saturated`."""
        if is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
            return x, None
        limit = (encoding or self.smpc.encoding).limit(self.smpc.ring)
        extreme = min(float(jnp.finfo(d).max) for d in (x.dtype, np.float32)) / 2
        if extreme < limit:
            extreme = math.inf
        np_or_jnp = jnp if tracing.is_traced(x) else np
        x = np_or_jnp.asarray(x)
        unbounded = abs(x) >= np.asarray(extreme, x.dtype)
        if np_or_jnp is np and not unbounded.any():
            return x, None
        quarter, zero = np.asarray(limit / 4, x.dtype), np.zeros((), x.dtype)
        infinite = np_or_jnp.where(unbounded, np_or_jnp.sign(x) * quarter, zero)
        return np_or_jnp.where(unbounded, zero, x), infinite

    def fitting(
        self, x: Any, encoding: FixedPoint | None = None, what: str = "public constant"
    ) -> Any:
        """A public operand, 0 where it does not fit: a misfit."""
        encoding, ring = encoding or self.smpc.encoding, self.smpc.ring
        where, known = encoding.misfits(x, ring), not tracing.is_traced(x)
        if where is None or (known and not where.any()):
            return x
        error = encoding.error(x, ring, f"{self.place}: a {what}") if known else None
        self.findings.misfits.append((self.place, Misfits(where, error)))
        return (np if known else jnp).where(where, np.zeros((), x.dtype), x)

    def checked(self, x: np.ndarray, encoding: FixedPoint | None = None) -> np.ndarray:
        """A known public operand, 0 where it does not fit; warns of what is lost."""
        encoding = encoding or self.smpc.encoding
        x = self.fitting(x, encoding)
        if np.issubdtype(x.dtype, np.floating) and (lost := encoding.lost(x)).any():
            what = f"a public constant of {float(x[lost].flat[0]):g}"
            said = underflow.of_public(self.place, what, encoding)
            warnings.warn(said, EncodingWarning, stacklevel=2)
        return x

    def _running(self, x: Array, encoding: FixedPoint) -> Array:
        """A public operand known when the program runs, 0 where it does not fit; finds out whether
        all of it is lost, as small numbers beside larger ones are no rule."""
        x = self.fitting(x, encoding)
        if jnp.issubdtype(x.dtype, jnp.floating):
            said = underflow.of_public(self.place, f"{_RUNNING},", encoding)
            self.findings.lose(said, encoding.loses(x))
        return x

    def begun(self, x: Any, i: int) -> None:
        """Finds out whether a loop begins with a public number of few digits, as its result of a
        number; a plan tells by itself."""
        if self._kept(i) is not None or not jnp.issubdtype(x.dtype, jnp.floating):
            return
        encoding, known = self.smpc.encoding, not tracing.is_traced(x)
        x = np.asarray(x) if known else x
        few = encoding.keeps_few(x, underflow.FEW)
        if not known:
            self.findings.lose(underflow.of_beginning(self.place, _RUNNING, encoding), few)
        elif few:
            said = underflow.of_beginning(self.place, f"{np.abs(x).max():g}", encoding)
            warnings.warn(said, EncodingWarning, stacklevel=2)

    def secret(self, x: Any, dtype: Any = None, encoding: FixedPoint | None = None) -> Secret:
        """A secret as it is; a public operand, in a dtype and, if it is a number, in an encoding,
        as shares that hide nothing."""
        if is_secret(x):
            return x
        dtype = np.dtype(jnp.result_type(x) if dtype is None else dtype)
        encoding = encoding or self.smpc.encoding
        words = self.smpc.constant(self.ctx, self.words(x, dtype, encoding))
        if not jnp.issubdtype(dtype, jnp.floating):
            return Secret.of(words, dtype)
        bounds = self.range_of(x if tracing.is_traced(x) else np.asarray(x), encoding)
        return self.number(words, dtype, encoding, bounds)

    def settled(self, x: Any, encoding: FixedPoint | None = None) -> Secret:
        """A secret of which nothing but dtype and encoding is known, as loops and branches pass it
        on."""
        encoding = encoding or self.smpc.encoding
        x = self.recoded(self.secret(x, encoding=encoding), encoding)
        return dataclasses.replace(self.wrapped(x), bounds=None)

    def secrets(self, *operands: Any) -> list[Secret]:
        """All operands as secrets of one dtype and one encoding."""
        coded, dtype, encoding = self._alike(operands)
        return [self.secret(x, dtype, encoding) for x in coded]

    def cases(self, *operands: Any) -> list[Secret]:
        """Operands to choose from, as `secrets`; public ones may hold ±inf, see `saturated`."""
        coded, dtype, encoding = self._alike(operands)
        return [self.secret(self.saturated(x, encoding), dtype, encoding) for x in coded]

    def _alike(self, operands: Sequence[Any]) -> tuple[list[Any], Any, FixedPoint]:
        """Operands of one encoding, as far as they are secret; the dtype and the encoding of all.

        Without a secret among them, that of the first and the one wanted.
        """
        coded = self.of_one_encoding(*operands)
        example = next((x for x in coded if is_secret(x)), None)
        if example is None:
            return coded, jnp.result_type(coded[0]), self.wanted
        return coded, example.dtype, self.encoding_of(example)

    def divisor(self, dtype: Any) -> int | None:
        """By what the product of two encoded values of a dtype is to be divided."""
        return self.scale if jnp.issubdtype(dtype, jnp.floating) else None


def _without_misfits(x: Any) -> Any:
    return dataclasses.replace(x, misfits=()) if is_secret(x) and x.misfits else x


def _typed(x: Any, dtype: Any) -> Any:
    """A rule's result with the dtype that the equation has."""
    if x.dtype == dtype:
        return x
    return dataclasses.replace(x, dtype=np.dtype(dtype)) if is_secret(x) else x.astype(dtype)
