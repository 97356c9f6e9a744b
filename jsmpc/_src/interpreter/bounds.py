"""Error bounds of rules, as numbers.

Outside of a function's domain the argument is moved to its nearest end, and results beyond the
range are the largest number. Relative parts are those of the 64-bit ring.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Growth:
    """A part of a bound that depends on result and operands, and how it is written."""

    text: str
    size: Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Bound:
    """|error| <= ulps units in the last place + relative·|result| + growth.

    Attributes:
      ulps: counted for each step, if there are any.
      relative: to the exact result.
      growth: of the exact result and the operands, in absolute terms.
      step: what the ulps are counted for: "product"; empty for the whole.
      inner: whether it is the bound of a sub-program.
    """

    ulps: float = 0
    relative: float = 0
    growth: Growth | None = None
    step: str = ""
    inner: bool = False

    def allowed(self, result: Any, operands: Any, unit: float, steps: int = 1) -> Any:
        """The largest error of a result.

        Args:
          result: the exact one.
          operands: those of the primitive.
          unit: the value of a unit in the last place.
          steps: how often the ulps are counted.
        """
        growth = self.growth.size(result, *operands) if self.growth else 0
        return self.ulps * unit * steps + self.relative * np.abs(result) + growth

    def __str__(self) -> str:
        if self.inner:
            return "that of the sub-program"
        ulps = f"{self.ulps:g} ulp" + (f" a {self.step}" if self.step else "")
        parts = [ulps] if self.ulps else []
        parts += [f"2^{np.log2(self.relative):.0f}"] if self.relative else []
        parts += [self.growth.text] if self.growth else []
        return " + ".join(parts) or "exact"


EXACT = Bound()
INNER = Bound(inner=True)
ROUNDED = Bound(ulps=1)
ONE_ULP = Bound(ulps=1, relative=2**-21)
TWO_ULP = Bound(ulps=2, relative=2**-21)
A_PRODUCT = Bound(ulps=1, step="product")
