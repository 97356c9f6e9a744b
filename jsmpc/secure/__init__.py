"""The secure interpreter and its rules, a module a kind of primitive."""

from jsmpc.secure import (
    arithmetic,
    control,
    indexing,
    integers,
    nonlinear,
    ordering,
    refusals,
    rounding,
    sequences,
    structure,
)
from jsmpc.secure.api import SecureFunction, secure

__all__ = [
    "SecureFunction",
    "arithmetic",
    "control",
    "indexing",
    "integers",
    "nonlinear",
    "ordering",
    "refusals",
    "rounding",
    "secure",
    "sequences",
    "structure",
]
