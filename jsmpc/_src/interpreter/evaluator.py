"""The interpreter: evaluates a jaxpr in which some values are secret.

Values that depend on no secret stay ordinary arrays. An equation without secret operands is
bound as it is; one with secret operands is handed to the rule registered for its primitive.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import EncodingWarning, UnsupportedError
from jsmpc._src.interpreter import folding, patterns
from jsmpc._src.interpreter.registry import REFUSED, RULES
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import compat, lines, walk
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime.context import Context

Array = jax.Array


E = TypeVar("E", bound="Evaluator")


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """One evaluation: the protocol, its run, and the equation at hand.

    `unfit` collects, by equation, whether a public operand known only when the program runs did
    not fit the encoding; it is None in loops and branches, from which it could not come out.
    Equations of library functions that have no line are attributed to `caller`.
    """

    smpc: Protocol
    ctx: Context
    eqn: Any = None
    line: str = "an unknown line"
    unfit: dict[str, Array] | None = None
    caller: Any = None

    @property
    def scale(self) -> int:
        return self.smpc.encoding.scale

    def enter(self, ctx: Context) -> Evaluator:
        """An evaluator for a sub-program with a context of its own."""
        return Evaluator(self.smpc, ctx, self.eqn, self.line, caller=self.caller)

    def unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(f"{self.eqn.primitive.name} at {self.line}: {reason}")

    def evaluate(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """The outputs of a (closed) jaxpr on operands that may be secret."""
        jaxpr, consts = compat.open_jaxpr(jaxpr)

        def apply(eqn: Any, operands: list[Any]) -> list[Any]:
            with lines.at_line_of(eqn, self.caller):
                return self.at(eqn).apply(operands)

        return walk.evaluate(patterns.recognize(jaxpr), args, apply, consts=consts)

    def at(self: E, eqn: Any) -> E:
        """The evaluator of one equation."""
        return dataclasses.replace(self, eqn=eqn, line=lines.user_line(eqn) or self.line)

    def apply(self, operands: list[Any]) -> list[Any]:
        """The results of the equation at hand."""
        eqn = self.eqn
        if not any(map(is_secret, operands)):
            return folding.fold(eqn, operands) or compat.bind(eqn, operands)
        handler = RULES.get(eqn.primitive)
        if handler is None:
            reason = REFUSED.get(
                eqn.primitive,
                f"the primitive {eqn.primitive.name!r} cannot be computed on secrets. Reveal its "
                "operands first if they may be disclosed, or compute it in the clear beforehand",
            )
            raise self.unsupported(reason)
        out = handler.apply(self, *operands, **eqn.params)
        return list(out) if isinstance(out, list | tuple) else [out]

    # Public operands.

    def words(self, x: Any, dtype: Any) -> Array:
        """Ring elements for a public operand of the dtype `dtype`, checked where known."""
        if isinstance(x, jax.core.Tracer):
            if self.unfit is not None and jnp.issubdtype(dtype, jnp.floating):
                limit = self.smpc.encoding.limit(self.smpc.ring)
                self.unfit[f"{self.eqn.primitive.name} at {self.line}"] = ~jnp.all(abs(x) <= limit)
            return self.smpc.encode(jnp.asarray(x, dtype))
        known = np.asarray(x)
        self.check_constant(known)
        if known.size and (known == known.flat[0]).all():
            known = known.flat[0].reshape(())
        words = self.smpc.encode(known.astype(dtype))
        return jnp.broadcast_to(words, np.shape(x))

    def check_constant(self, x: np.ndarray) -> None:
        """Raises or warns if a known public operand does not fit the encoding."""
        what = f"{self.eqn.primitive.name} at {self.line}: a public constant"
        self.smpc.encoding.check(x, self.smpc.ring, what)
        if np.issubdtype(x.dtype, np.floating) and x.size:
            lost = (x != 0) & (np.abs(x.astype(np.float64)) * self.scale < 0.5)
            if lost.any():
                value = float(x[lost].flat[0])
                warnings.warn(
                    f"{what} of {value:g} is rounded to zero by the encoding; the smallest one "
                    f"that works is {0.5 / self.scale:.3g}",
                    EncodingWarning,
                    stacklevel=2,
                )

    def secret(self, x: Any, like: Secret | None = None) -> Secret:
        """A secret as it is; a public operand as shares that hide nothing."""
        if is_secret(x):
            return x
        dtype = np.dtype(jnp.result_type(x)) if like is None else like.dtype
        return Secret(self.smpc.constant(self.ctx, self.words(x, dtype)), dtype)

    def secrets(self, *operands: Any) -> list[Secret]:
        """All operands as secrets of one dtype."""
        example = next(x for x in operands if is_secret(x))
        return [self.secret(x, example) for x in operands]

    def divisor(self, dtype: Any) -> int | None:
        """By what the product of two encoded values of a dtype is to be divided."""
        return self.scale if jnp.issubdtype(dtype, jnp.floating) else None
