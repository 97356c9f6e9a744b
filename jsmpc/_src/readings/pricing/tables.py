"""Numbers and rows as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from jsmpc._src.jaxprs.lines import without_folder


def amount(number: float) -> str:
    """A number in at most four digits, with the prefix of its unit."""
    prefixes = iter(("", "k", "M", "G", "T"))
    prefix = next(prefixes)
    while number >= 999.5 and prefix != "T":
        number, prefix = number / 1000, next(prefixes)
    return f"{number:.3g} {prefix}"


def duration(seconds: float) -> str:
    """Seconds, milliseconds or microseconds, in three digits."""
    for unit, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= 0.9995 * unit:
            return f"{seconds / unit:.3g} {name}" if seconds < 999.5 else f"{seconds:,.0f} s"
    return f"{seconds * 1e6:.3g} µs"


def place(line: str) -> str:
    """A source line without its folder."""
    return without_folder(line) or "-"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> list[str]:
    """Lines with their columns below each other, the first so many of them flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            f"{cell:>{w}}" if i < right else f"{cell:<{w}}"
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
