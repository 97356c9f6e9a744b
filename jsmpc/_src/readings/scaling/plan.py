"""A plan of encodings for a function: made by `jsmpc.calibrate`, followed by `jsmpc.secure`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path as File
from typing import Any

from jsmpc._src.errors import ProtocolError
from jsmpc._src.interpreter import underflow
from jsmpc._src.interpreter.recognition import recognized
from jsmpc._src.interpreter.scales import Kept, Path
from jsmpc._src.jaxprs import compat, lines, structure
from jsmpc._src.jaxprs.printing import stable
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.scaling.assignment import Coarse

_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Row:
    """Of one equation: its primitive, its line, and how each of its results is kept."""

    primitive: str
    line: str
    kept: tuple[Kept | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Scales:
    """How many digits behind the point each number of a function has, from `jsmpc.calibrate`.

    It belongs to the function's jaxpr: shapes and dtypes included. Prints as a table.

    Attributes:
      program: the fingerprint of the jaxpr.
      bits: the ring's.
      base, precision_fractional: those of the encoding of all that the plan does not speak of.
      headroom: the digits by which numbers may be larger than they were.
      rows: by the equation's place in the program.
      needed: the digits that each argument needs, if it is a number: see `losses`.

    Example:
      >>> import jax.numpy as jnp, jsmpc
      >>> scales = jsmpc.calibrate(lambda x: x * x, (jnp.array([1e-4, 3e-4]),))
      >>> print(scales)
      digits  |x| <  equation
          61  2^-21  mul at <doctest jsmpc.Scales[1]>:1 (<lambda>)
    """

    program: str
    bits: int
    base: int
    precision_fractional: int
    headroom: float
    rows: Mapping[Path, Row]
    needed: tuple[int | None, ...] = ()

    @property
    def plan(self) -> dict[Path, tuple[Kept | None, ...]]:
        return {path: row.kept for path, row in self.rows.items()}

    def require(self, protocol: Protocol, jaxpr: Any) -> None:
        """Raises ProtocolError unless this is the plan of a program, ring and encoding."""
        found = dict(zip(("bits", "base", "precision_fractional"), _ring(protocol), strict=True))
        for name, value in found.items():
            if value != getattr(self, name):
                raise ProtocolError(
                    f"the scales are for {name}={getattr(self, name)}, and the shares have "
                    f"{value}. Calibrate with protocol=… as that of the shares"
                )
        if fingerprint(jaxpr) != self.program:
            raise ProtocolError(
                "the scales are of another function, or of arguments of other shapes or dtypes. "
                "Calibrate this function on samples of these shapes"
            )

    def losses(self, names: Sequence[str], digits: Sequence[int | None]) -> Iterator[str]:
        """What is to be said of arguments of which little is left, by how they are named, and how
        many digits behind the point each has: None for those that are no shares."""
        for name, needed, found in zip(names, self.needed, digits, strict=False):
            if needed is not None and found is not None and found < needed:
                yield underflow.of_argument(name, found, needed)

    def __str__(self) -> str:
        cells = [("digits", "|x| <", "equation")]
        for row in self.rows.values():
            for kept in row.kept:
                if kept is not None:
                    bound = f"{self.base}^{kept.top}"
                    cells.append((str(kept.digits), bound, f"{row.primitive} at {row.line}"))
        widths = [max(len(c[i]) for c in cells) for i in (0, 1)]
        return "\n".join(f"{a:>{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in cells)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the plan as JSON; it tells magnitudes of the samples, and no value."""
        rows = [
            {
                "path": list(path),
                "primitive": row.primitive,
                "line": row.line,
                "kept": [None if k is None else [k.digits, k.top] for k in row.kept],
            }
            for path, row in self.rows.items()
        ]
        header = {
            "jsmpc scales": _VERSION,
            **dataclasses.asdict(dataclasses.replace(self, rows={})),
        }
        File(path).write_text(json.dumps({**header, "rows": rows}, indent=1) + "\n")

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Scales:
        """The plan that `save` wrote.

        Raises:
          ProtocolError: if the file holds none.
        """
        try:
            data = json.loads(File(path).read_text())
            if data.pop("jsmpc scales") != _VERSION:
                raise ValueError
            rows = {
                tuple(map(int, row["path"])): Row(
                    str(row["primitive"]),
                    str(row["line"]),
                    tuple(None if k is None else Kept(*map(int, k)) for k in row["kept"]),
                )
                for row in data.pop("rows")
            }
            needed = (None if n is None else int(n) for n in data.pop("needed", ()))
            return Scales(**data, rows=rows, needed=tuple(needed))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ProtocolError(f"{path} holds no scales of this version of jsmpc") from None


def _ring(protocol: Protocol) -> tuple[int, int, int]:
    encoding = protocol.encoding
    return protocol.bits, encoding.base, encoding.precision_fractional or 0


def make(
    protocol: Protocol,
    jaxpr: Any,
    headroom: float,
    kept: Mapping[Path, tuple[Kept | None, ...]],
    needed: tuple[int | None, ...],
) -> Scales:
    """The plan of a program from how each result is kept, and what its arguments need."""
    rows = {
        path: Row(eqn.primitive.name, lines.short(eqn.source_info.traceback), kept[path])
        for path, eqn in _equations(jaxpr, ())
        if any(kept.get(path, ()))
    }
    return Scales(fingerprint(jaxpr), *_ring(protocol), headroom, rows, needed)


def loss(jaxpr: Any, coarse: Sequence[Coarse]) -> str:
    """What is to be said of numbers of which little is left: where, why, and what to do.

    Of a loop and what it carries, it names the equation inside.
    """
    eqns = dict(_equations(jaxpr, ()))
    made = [c for c in coarse if structure.structure(eqns[c.path]) is None] or coarse
    found, more = made[0], len({c.path for c in made}) - 1
    eqn = eqns[found.path]
    place = f"{eqn.primitive.name} at {lines.user_line(eqn) or 'an unknown line'}"
    others = f" (so it is in {more} more equations)" if more else ""
    largest, least = found.extent.largest, found.extent.least
    if found.taken:
        return (
            f"{place}: it takes numbers with {found.digits} digits behind the point, and these, of "
            f"{largest:.2g} at most, are lost or have a large error{others}. Scale them up before, "
            "or write the function with others that a plan keeps: sums, products, quotients, "
            "roots, exponentials"
        )
    return (
        f"{place}: these numbers are as large as {largest:.2g} at one time and {least:.2g} at "
        f"another, and the ring has no room for both: with the {found.digits} digits behind the "
        f"point that are left, the small ones have a large error, and so may the results{others}. "
        "Calibrate parts, such as fewer iterations, each with a plan of its own; or begin nearer "
        "to the size that the numbers will have"
    )


def _equations(jaxpr: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """All equations as they are evaluated, with their places."""
    for i, eqn in enumerate(recognized(compat.open_jaxpr(jaxpr)[0]).eqns):
        yield (*path, i), eqn
        for j, body in enumerate(structure.bodies(eqn)):
            yield from _equations(body, (*path, i, j))


def fingerprint(jaxpr: Any) -> str:
    """SHA-256 of a program as it prints, in hexadecimal digits."""
    return hashlib.sha256(stable(jaxpr).encode()).hexdigest()
