"""What `jsmpc.diagnose` found, as a record, a table and a plot."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from jsmpc._src.errors import UnsupportedError
from jsmpc._src.protocols.plain import InsecurePlain
from jsmpc._src.readings.diagnosis.exact import difference, largest

_LITTLE_ROOM = 0.01  # an error of the result beyond this share of it calls for more precision


@dataclasses.dataclass(frozen=True)
class Equation:
    """What one equation of the function does, over all its iterations.

    Attributes:
      primitive: its name; `input` for a secret argument.
      line: the user's source line, or the argument.
      index: its place in program order.
      iterations: how often it ran.
      max_error: the largest error of its results, with all that came before.
      added_error: the largest error that it adds itself, to operands that are exactly encoded.
      largest: the largest part of the range that it uses; products use most before truncation.
      smallest: the smallest non-zero result without error, in units in the last place.
      lost: the share of the non-zero results that the encoding rounds to zero.
      overflow: whether the range is exceeded.
      underflow: whether a large share of the results is lost.
      nan: whether some results are NaN in plain JAX, which no secret can be.
      failed: the name of the error that it raises under secrecy; empty if it raises none.
      note: what else is to be said: errors, warnings, in which iteration trouble begins.
      ulp: the encoding's unit in the last place; 1 for integers and booleans.
    """

    primitive: str
    line: str
    index: int
    iterations: int
    max_error: float
    added_error: float
    largest: float
    smallest: float | None
    lost: float
    overflow: bool
    underflow: bool
    nan: bool
    failed: str
    note: str
    ulp: float

    @property
    def max_error_ulp(self) -> float:
        """`max_error` in units in the last place."""
        return self.max_error / self.ulp

    @property
    def added_error_ulp(self) -> float:
        """`added_error` in units in the last place."""
        return self.added_error / self.ulp

    @property
    def trouble(self) -> bool:
        """Whether it fails, overflows, underflows or has no number as its result."""
        return bool(self.failed or self.overflow or self.underflow or self.nan)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found.

    Attributes:
      equations: all equations with secret operands in program order, those of loops once.
      bits, base, precision_fractional: the ring and the encoding.
      result: what `jsmpc.secure` would reveal, up to the truncation's last unit.
      expected: the same in 64-bit floating point.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> found = jsmpc.diagnose(lambda x: x * x)(jnp.array([1.5, 20000.0]))
      >>> found.first_overflow.primitive, found.first_underflow, found.unsupported
      ('mul', None, [])
    """

    equations: tuple[Equation, ...]
    bits: int
    base: int
    precision_fractional: int
    result: Any = dataclasses.field(repr=False)
    expected: Any = dataclasses.field(repr=False)

    def worst(self, n: int = 5, by: str = "max_error") -> list[Equation]:
        """The n equations of the largest `max_error` or `added_error`, largest first."""
        return sorted(self.equations, key=lambda e: -getattr(e, by))[:n]

    @property
    def first_overflow(self) -> Equation | None:
        """Where values leave the range first."""
        return next((e for e in self.equations if e.overflow), None)

    @property
    def first_underflow(self) -> Equation | None:
        """Where values become too small for the encoding first."""
        return next((e for e in self.equations if e.underflow), None)

    @property
    def first_nan(self) -> Equation | None:
        """Where plain JAX has NaN first."""
        return next((e for e in self.equations if e.nan), None)

    @property
    def unsupported(self) -> list[Equation]:
        """All equations that cannot be computed on secrets."""
        return [e for e in self.equations if e.failed == UnsupportedError.__name__]

    @property
    def ulp(self) -> float:
        """The unit in the last place of the encoding."""
        return self.base**-self.precision_fractional

    @property
    def result_error(self) -> float:
        """The largest error of the function's results."""
        pairs = zip(jax.tree.leaves(self.result), jax.tree.leaves(self.expected), strict=True)
        return max((difference(a, b) for a, b in pairs), default=0.0)

    @property
    def verdict(self) -> str:
        """One line: the first trouble, or how exact the result is, and what to do."""
        finest = InsecurePlain(bits=self.bits).ring.bound
        can_refine = self.base ** (2 * self.precision_fractional + 2) < finest
        wider = ", or use the 64-bit ring" if self.bits == 32 else ""
        now = f"now {self.precision_fractional} in base {self.base}"
        refine = f"raise precision_fractional ({now}) or scale up" if can_refine else "scale up"
        plan = "let a plan of jsmpc.calibrate find the digits of each number"
        failed = [e for e in self.equations if e.failed]
        if failed:
            others = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            return f"Fails on secrets: {_where(failed[0])}{others}; see the notes."
        if e := self.first_nan:
            return (
                f"NaN begins at {_where(e)}, and no secret can hold it: clean the input, e.g. with "
                "jnp.nan_to_num, or keep the operation to its domain."
            )
        if e := self.first_overflow:
            return (
                f"Overflow begins at {_where(e)}, which uses {e.largest:.2g} times the range: "
                f"{plan}, scale the input down or lower precision_fractional ({now}){wider}."
            )
        if e := self.first_underflow:
            return (
                f"Underflow begins at {_where(e)}, which loses {e.lost:.0%} of its results: "
                f"{plan}, {refine} what is computed there{wider}."
            )
        error = self.result_error
        verdict = f"Fits; the result's error is {error:.2g} ({error / self.ulp:.3g} ulp)"
        if not self.equations:
            return f"{verdict}: nothing is secret."
        verdict += f", most is added at {_where(self.worst(1, 'added_error')[0])}."
        size = max((largest(x) for x in jax.tree.leaves(self.expected)), default=0.0)
        if error > _LITTLE_ROOM * size:
            verdict += (
                f" That is much beside a result of {size:.2g}: {plan}, {refine} the input{wider}."
            )
        return verdict

    def __str__(self) -> str:
        shown = {e.index for e in self.equations if e.trouble or e.note}
        shown |= {e.index for by in ("max_error", "added_error") for e in self.worst(8, by)}
        head = (
            *("", "primitive", "times", "error", "ulp", "added ulp", "range", "smallest"),
            *("trouble", "line"),
        )
        rows = [head, *(_row(e) for e in self.equations if e.index in shown)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = [self.verdict, _line(head, widths)]
        for row, e in zip(rows[1:], (e for e in self.equations if e.index in shown), strict=True):
            lines.append(_line(row, widths))
            lines += [f"{'':{widths[0]}}  - {text}" for text in e.note.splitlines()]
        hidden = len(self.equations) - len(shown)
        if hidden:
            lines.append(f"({hidden} equations of less error are not shown)")
        return "\n".join(lines)

    def plot(self, ax: Any = None) -> Any:
        """Draw the errors against the program's depth; returns the (Matplotlib) axes.

        The scale is logarithmic above a tenth of an ulp, and linear below it down to zero.
        """
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1] if ax is None else ax
        depth = [e.index for e in self.equations]
        ax.plot(depth, [e.max_error for e in self.equations], label="error")
        added = [e.added_error for e in self.equations]
        ax.plot(depth, added, ".", label="added by the equation")
        for kind, marker in (("overflow", "^"), ("underflow", "v"), ("failed", "x")):
            marked = [e for e in self.equations if getattr(e, kind)]
            if marked:
                heights = [e.max_error for e in marked]
                ax.plot([e.index for e in marked], heights, marker, linestyle="none", label=kind)
        ax.axhline(self.ulp, color="gray", linestyle=":", label="one ulp")
        ax.set_yscale("symlog", linthresh=self.ulp / 10)
        ax.set(xlabel="equation, in program order", ylabel="largest absolute error")
        ax.legend()
        return ax


def _where(e: Equation) -> str:
    return f"{e.primitive} at {_short(e.line)}"


def _short(line: str) -> str:
    return line.rsplit("/", 1)[-1]


def _row(e: Equation) -> tuple[str, ...]:
    troubles = [n for n in ("overflow", "underflow", "nan") if getattr(e, n)]
    smallest = "" if e.smallest is None else f"{e.smallest:.2g} ulp"
    return (
        str(e.index),
        e.primitive,
        str(e.iterations),
        f"{e.max_error:.2g}",
        f"{e.max_error_ulp:.3g}",
        f"{e.added_error_ulp:.3g}",
        f"{e.largest:.1e}",
        smallest,
        ", ".join(["fails"] * bool(e.failed) + troubles),
        _short(e.line),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
