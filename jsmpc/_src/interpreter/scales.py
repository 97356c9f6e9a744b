"""In which encoding each number of a program is kept: what rules ask, and what a plan says.

A number x is a word round(x·b^d) of an encoding of base b with d digits behind the point. Sums are
of words of one encoding; the encoding of a product is that of both factors together, before it is
truncated. What a plan says of a number has head-room in it: as long as |x| < b^top, a word of d
digits does not leave the ring if d <= room - top.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.ring.ring import Ring

Path = tuple[int, ...]
"""The place of an equation: its number, in the sub-programs that it lies in."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """How a result of an equation is kept.

    Attributes:
      digits: behind the point.
      top: the least whole number with |x| < base^top for all that it may be.
    """

    digits: int
    top: int


Plan = Mapping[Path, tuple[Kept | None, ...]]
"""What is said of the results of equations; None, and no entry, where nothing is."""


def room(base: int, ring: Ring) -> int:
    """The digits that a word has, before and behind the point together."""
    return math.floor(math.log(ring.bound, base) + 1e-9)


def finest(base: int, ring: Ring) -> int:
    """The most digits behind the point: more than a word has, as those in front of it may be
    zeros of which is known. Exponents of quotients and roots have a byte."""
    return room(base, ring) + math.floor(math.log(2**28, base))


def digits_of(encoding: FixedPoint) -> int:
    """Those behind the point, of an encoding that is resolved."""
    if encoding.precision_fractional is None:
        raise ValueError("the encoding is not resolved for a ring yet")
    return encoding.precision_fractional
