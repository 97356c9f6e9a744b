"""What is said of numbers that an encoding rounds to zero, or keeps too few digits of."""

from __future__ import annotations

from jsmpc._src.ring.fixedpoint import FixedPoint

FEW = 32
"""So few units in the last place that their rounding is a large error, of more than 1/64."""

_PLAN = "a plan: jsmpc.secure(f, scales=jsmpc.calibrate(f, samples))"
_FINER = (
    "Scale it up, or share it in an encoding of more digits (precision_fractional); or, if it may "
    "be known, as the first state of an optimizer may, do not share it: compute it in the "
    "function, or pass it as it is,"
)


def of_public(place: str, what: str, encoding: FixedPoint) -> str:
    """Of a public operand of an equation."""
    return (
        f"{place}: {what} is rounded to zero by the encoding; the smallest one that works is "
        f"{encoding.least:.3g}. If it guards a quotient against zero, a divisor that underflows "
        "counts as one unit in the last place (under a root, of what is rooted), and the quotient "
        f"is wrong: use a guard above {encoding.scale**-0.5:.2g}, or give small numbers more "
        f"digits by {_PLAN}"
    )


def of_beginning(place: str, what: str, encoding: FixedPoint) -> str:
    """Of a public number with which a loop begins."""
    return (
        f"{place}: the loop begins with {what}, less than {FEW} units in the last place, of which "
        "the encoding keeps few digits: what grows from it may have a large error. Begin with "
        f"{FEW / encoding.scale:.2g} or more, or give small numbers more digits by {_PLAN}"
    )


def of_shared(name: str, encoding: FixedPoint) -> str:
    """Of an array of secrets."""
    return (
        f"{name} is rounded to zero by the encoding: all its numbers are below {encoding.least:.3g}"
        f". {_FINER} under {_PLAN}"
    )


def of_argument(name: str, digits: int, needed: int) -> str:
    """Of an argument that is shared with so many digits behind the point, where a plan knows
    samples."""
    return (
        f"{name} is shared with {digits} digits behind the point, and the plan's samples of it are "
        f"so small that it needs {needed}: its digits are few or none, and the results may have a "
        f"large error. {_FINER} under this plan; results under a plan keep their digits"
    )
