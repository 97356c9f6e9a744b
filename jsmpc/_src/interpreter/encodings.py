"""The encodings of numbers in an evaluation: which they have, and how they change them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np

from jsmpc._src.interpreter import ranges, scales
from jsmpc._src.interpreter.ranges import Range
from jsmpc._src.interpreter.scales import Kept, Path, Plan
from jsmpc._src.interpreter.secret import Secret, is_secret
from jsmpc._src.jaxprs import tracing
from jsmpc._src.protocols.base import Protocol, Shared
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.runtime.context import Context

E = TypeVar("E", bound="Encodings")


@dataclasses.dataclass(frozen=True)
class Encodings:
    """The protocol with its run; and a plan of how the results of equations are kept, which it
    knows by their path."""

    smpc: Protocol
    ctx: Context
    plan: Plan | None = dataclasses.field(default=None, kw_only=True)
    path: Path = dataclasses.field(default=(), kw_only=True)

    def within(self: E, number: int) -> E:
        """For a numbered equation of a program, or a numbered sub-program of an equation."""
        return dataclasses.replace(self, path=(*self.path, number))

    def unplanned(self: E) -> E:
        """For what no plan says anything of."""
        return dataclasses.replace(self, plan=None)

    @property
    def scale(self) -> int:
        """The word that stands for 1 in the protocol's encoding."""
        return self.smpc.encoding.scale

    def encoding_of(self, x: Secret) -> FixedPoint:
        """That of a number."""
        return x.encoding or self.smpc.encoding

    def scale_of(self, x: Secret) -> int:
        """The word that stands for 1 in a number; 1 for an integer."""
        return self.encoding_of(x).scale if jnp.issubdtype(x.dtype, jnp.floating) else 1

    def coded(self, digits: int) -> FixedPoint:
        """The encoding of the protocol's base with so many digits behind the point."""
        return self.smpc.encoding.with_digits(digits)

    @property
    def kept(self) -> Kept | None:
        """What the plan says of the first result of the equation at hand."""
        return self._kept(0)

    def _kept(self, i: int) -> Kept | None:
        entries = self.plan.get(self.path) if self.plan is not None else None
        return entries[i] if entries else None

    @property
    def wanted(self) -> FixedPoint:
        """The encoding in which the first result of the equation at hand is kept."""
        return self.kept_as(0)

    def kept_as(self, i: int) -> FixedPoint:
        """The encoding in which a result of the equation at hand is kept."""
        kept = self._kept(i)
        return self.smpc.encoding if kept is None else self.coded(kept.digits)

    def spare(self, digits: int = 0) -> int | None:
        """How many digits behind the point the operands of a result may have together, besides
        some; None where no plan says how large the result is."""
        if self.kept is None:
            return None
        base, ring = self.smpc.encoding.base, self.smpc.ring
        return max(scales.room(base, ring) - self.kept.top - digits, 0)

    @property
    def finest(self) -> int:
        """The most digits that an operand of a sum may have behind the point."""
        spare = self.spare()
        return scales.finest(self.smpc.encoding.base, self.smpc.ring) if spare is None else spare

    def number(
        self, value: Shared, dtype: Any, encoding: FixedPoint, bounds: Range | None = None
    ) -> Secret:
        """A secret number in an encoding, whose words are between bounds, or zero."""
        own = None if encoding == self.smpc.encoding else encoding
        if bounds is not None:
            bounds = ranges.told(ranges.union(None, bounds, (0, 0)), self.smpc.ring)
        return Secret(value, np.dtype(dtype), bounds, own)

    def between(self, low: float, high: float, encoding: FixedPoint | None = None) -> Range:
        """Between which words a function's values lie, with a sixteenth of them and four words
        more for its errors."""
        scale = (encoding or self.smpc.encoding).scale
        more = math.ceil(max(-low, high) * scale / 16) + 4
        return math.floor(low * scale) - more, math.ceil(high * scale) + more

    def range_of(self, x: Any, encoding: FixedPoint) -> Range:
        """Between which words an operand lies, a public number in an encoding."""
        if is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
            return ranges.of(x)
        bound = self.smpc.ring.bound
        if tracing.is_traced(x):
            return -bound, bound
        if not np.size(x):
            return 0, 0
        low, high = (float(end) * encoding.scale for end in (np.min(x), np.max(x)))
        return (round(low), round(high)) if -bound < low <= high < bound else (-bound, bound)

    def recoded(self, x: Any, encoding: FixedPoint | None = None) -> Any:
        """A secret number in an encoding, by default the protocol's: local, or a truncation.

        Others are returned as they are.
        """
        if not is_secret(x) or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        encoding = encoding or self.smpc.encoding
        if (given := self.encoding_of(x)) == encoding:
            return x
        digits = scales.digits_of(encoding) - scales.digits_of(given)
        self.check_room(x, digits)
        bounds = ranges.shifted(x.range, encoding.base, digits, self.smpc.ring)
        return self.number(self.shifted(x.value, digits), x.dtype, encoding, bounds)

    def check_room(self, x: Secret, digits: int) -> None:
        """What an evaluation does before digits are added to words: by default nothing."""

    def fine_enough(self, x: Secret) -> Secret:
        """A secret number in an encoding as fine as the result's, where this has a fraction though
        x may have no digits for one."""
        coarse = self.encoding_of(x).scale < self.wanted.scale
        return self.recoded(x, self.wanted) if coarse else x

    def shifted(self, value: Shared, digits: int) -> Shared:
        """[x·b^digits] of words, truncated where that is no whole number."""
        factor = self.smpc.encoding.base ** abs(digits)
        if digits >= 0:
            return value if digits == 0 else value * self.smpc.ring.constant(factor)
        if factor >= self.smpc.ring.bound:
            return value - value
        return self.smpc.truncate(self.ctx, value, factor)

    def of_one_encoding(self, *operands: Any) -> list[Any]:
        """Secret numbers among operands of one dtype in one encoding, which need not be that of
        the result: the finest, or the coarsest that is at least as fine as the result's.

        Beside a public number, which may have a fraction or stand for infinity, none is coarser
        than the result.
        """
        numbers = [x for x in operands if jnp.issubdtype(x.dtype, jnp.floating)]
        digits = {scales.digits_of(self.encoding_of(x)) for x in numbers if is_secret(x)}
        wanted, spare = scales.digits_of(self.wanted), self.spare()
        least = 0 if all(map(is_secret, numbers)) else wanted
        if not digits or (len(digits) == 1 and min(digits) >= least):
            return list(operands)
        common = max(*digits, least)
        if spare is not None:
            common = min(max(min(digits), wanted), spare)
        return [self.recoded(x, self.coded(common)) for x in operands]

    def _as_planned(self, x: Any, i: int) -> Any:
        kept = self._kept(i)
        return x if kept is None else self.recoded(x, self.coded(kept.digits))
