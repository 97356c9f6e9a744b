"""Which values words can have at most, whatever was computed, and which are equally likely.

An element of Z_m is a word below m. What operations modulo m give is one only if their operands are
small enough, and is uniform in Z_m, not among all words, if a uniform element hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jsmpc._src.readings.verification.graph import Node, largest

MOVES = frozenset(
    {
        "reshape",
        "transpose",
        "rev",
        "squeeze",
        "expand_dims",
        "broadcast_in_dim",
        "copy",
        "slice",
        "concatenate",
        "stack",
    }
)


def most(operation: str, operands: Sequence[Node], params: Any, dtype: Any) -> int | None:
    """What no value is above; None where the type alone tells it."""
    if np.dtype(dtype).kind != "u" or any(np.dtype(x.dtype).kind not in "ub" for x in operands):
        return None
    limit, values = int(np.iinfo(dtype).max), [largest(x) for x in operands]
    found = limit
    if operation == "residue":
        found = params["modulus"] - 1 if _is_reduced(values, **params) else limit
    elif operation in MOVES or operation == "convert_element_type":
        found = max(values)
    elif operation == "select_n":
        found = max(values[1:])
    elif operation == "and":
        found = min(values)
    elif operation == "bits":
        found = 1
    return found if found < limit else None


def _is_reduced(values: Sequence[int], operation: str, modulus: int) -> bool:
    """Whether an operation's result is below the modulus."""
    if operation == "draw":
        return True
    x, y = values
    if operation == "add":
        return x + y < 2 * modulus
    return operation == "subtract" and x < modulus and y <= modulus


def modulus(operation: str, operands: Sequence[Node], params: Any, most: int | None) -> int | None:
    """The m of which a value is an element by construction; None for all words."""
    if operation == "residue":
        return params["modulus"] if most == params["modulus"] - 1 else None
    if operation in MOVES or operation == "convert_element_type":
        found = {x.modulus for x in operands}
        if len(found) == 1 and most is not None:
            (m,) = found
            return m
    return None
