"""The interpreter: evaluates a jaxpr in which some values are secret.

Values that depend on no secret stay ordinary arrays. An equation without secret operands is
bound as it is; one with secret operands is handed to the rule registered for its primitive.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive

from jsmpc import compat
from jsmpc.context import Context
from jsmpc.errors import EncodingWarning, UnsupportedError
from jsmpc.groups import ARITHMETIC, BOOLEAN, Group
from jsmpc.protocols.base import Protocol, Shared
from jsmpc.secure import folding, patterns
from jsmpc.sharing import to_words

Array = jax.Array


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Secret:
    """A secret array while it is computed on: a protocol's shares and the plain dtype.

    Floating-point numbers are in the protocol's encoding, integers are ring elements, booleans
    are Boolean shares of bytes.
    """

    value: Shared
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def group(self) -> Group:
        return BOOLEAN if self.dtype == bool else ARITHMETIC

    def map(self, f: Callable[[Array], Array], dtype: Any = None) -> Secret:
        """The same, with a linear function applied to every share."""
        return Secret(self.value.map(f), self.dtype if dtype is None else np.dtype(dtype))

    def tree_flatten(self) -> tuple[tuple[Shared], np.dtype[Any]]:
        return (self.value,), self.dtype

    @classmethod
    def tree_unflatten(cls, dtype: np.dtype[Any], children: Any) -> Secret:
        return cls(children[0], dtype)


COSTS = {
    "local": "no message",
    "product": "one product and its truncation",
    "comparison": "one or several comparisons",
    "function": "a bit decomposition or range reduction, and a short polynomial",
    "order": "comparisons in log² rounds, or products with one-hot vectors",
    "program": "that of the sub-program",
}


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a primitive is computed on secrets.

    Attributes:
      apply: f(evaluator, *operands, **parameters) -> result or list of results.
      cost: one of `COSTS`.
      error: the bound of the result's error, in units in the last place (ulp) or relative.
    """

    apply: Callable[..., Any]
    cost: str
    error: str


RULES: dict[Primitive, Rule] = {}
REFUSED: dict[Primitive, str] = {}

F = TypeVar("F", bound=Callable[..., Any])


def rule(*primitives: Primitive, cost: str, error: str = "exact") -> Callable[[F], F]:
    """Register a rule for primitives; see `Rule`."""
    assert cost in COSTS, cost

    def register(f: F) -> F:
        RULES.update(dict.fromkeys(primitives, Rule(f, cost, error)))
        return f

    return register


def refuse(*primitives: Primitive, reason: str) -> None:
    """Register why primitives cannot be computed on secrets, and what to do instead."""
    REFUSED.update(dict.fromkeys(primitives, reason))


def is_secret(x: Any) -> bool:
    return isinstance(x, Secret)


@dataclasses.dataclass
class Evaluator:
    """One evaluation: the protocol, its run, and the equation at hand.

    `unfit` collects, by equation, whether a public operand known only when the program runs did
    not fit the encoding; it is None in loops and branches, from which it could not come out.
    """

    smpc: Protocol
    ctx: Context
    eqn: Any = None
    line: str = "an unknown line"
    unfit: dict[str, Array] | None = None

    @property
    def scale(self) -> int:
        return self.smpc.encoding.scale

    def enter(self, ctx: Context) -> Evaluator:
        """An evaluator for a sub-program with a context of its own."""
        return Evaluator(self.smpc, ctx, self.eqn, self.line)

    def unsupported(self, reason: str) -> UnsupportedError:
        return UnsupportedError(f"{self.eqn.primitive.name} at {self.line}: {reason}")

    def evaluate(self, jaxpr: Any, args: Sequence[Any]) -> list[Any]:
        """The outputs of a (closed) jaxpr on operands that may be secret."""
        jaxpr, consts = compat.open_jaxpr(jaxpr)
        env: dict[Any, Any] = {}

        def read(v: Any) -> Any:
            return compat.literal_value(v) if isinstance(v, Literal) else env[v]

        env.update(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))
        outer = self.eqn
        for eqn in patterns.recognize(jaxpr).eqns:
            operands = [read(v) for v in eqn.invars]
            self.eqn, self.line = eqn, compat.user_line(eqn) or self.line
            with compat.at_line_of(eqn):
                env.update(zip(eqn.outvars, self._apply(eqn, operands), strict=True))
        self.eqn = outer
        return [read(v) for v in jaxpr.outvars]

    def _apply(self, eqn: Any, operands: list[Any]) -> list[Any]:
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
            return to_words(self.smpc, jnp.asarray(x, dtype))
        known = np.asarray(x)
        self.check_constant(known)
        if known.size and (known == known.flat[0]).all():
            known = known.flat[0].reshape(())
        words = to_words(self.smpc, known.astype(dtype))
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
