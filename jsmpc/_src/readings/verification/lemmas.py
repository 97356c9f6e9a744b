"""What is known of whole steps of protocols: words that tell nothing, seen together, for a reason.

A lemma is of one operation. It says of which values, seen together, the joint distribution is the
same whatever their other operands are, if some of these are uniform, independent of all else, and
occur in them alone. They are then leaves of whoever makes up the view, though not masks of others.
Each lemma looks into the program for all that it supposes.

Private compare (`kernels.differences`; SecureNN, PoPETs 2019, Algorithm 3). A helper sees

    d_0 = s·c_0 + u and d_1 = -s·c_1 + u, positions moved by π, in Z_67,

c = c_0 + c_1 being the vector that tells whether x >= r, for bits x = x_0 + x_1, by a zero, at a
public bit β: there is one zero if β ⊕ [x >= r], and none otherwise, see `kernels.positions`.

1. u occurs in both alone: d_0 is uniform, and independent of d_0 - d_1 = s·c, moved.
2. s_i is uniform and not zero: s_i·c_i is uniform and not zero where c_i is not, and zero where it
   is, each independent of all others.
3. i ⊕ π is uniform for a uniform π: the zero, if there is one, is anywhere alike.
4. β is uniform: there is a zero in one half of all cases, whatever x and r are.

Function keys (`kernels.function_keys`; E. Boyle, N. Gilboa, Y. Ishai, CCS 2016, theorem 3.3;
EUROCRYPT 2021, theorem 2). The corrections are pseudorandom for a party that knows its own root,
whatever the function is, if the other's root is uniform and is not used but for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from jsmpc._src.kernels import positions
from jsmpc._src.readings.verification.graph import Node, largest


class Occurrences(Protocol):
    """Where values occur in what is seen, as far as it is not proved yet to tell nothing."""

    def users(self, node: Node) -> Sequence[Node]:
        """What is made of it, once for each use; nothing where it is seen itself."""

    def is_uniform(self, node: Node) -> bool:
        """Whether it is uniform, independent of all else, and not seen itself."""


Lemma = Callable[[Node, Occurrences], Sequence[Node]]


def private_compare(node: Node, where: Occurrences) -> Sequence[Node]:
    """Both parties' messages of one comparison, given that of the first."""
    x, v, how, place, s, u = node.operands
    users = where.users(u)
    if not node.params["first"] or len(users) != 2 or node not in users:
        return ()
    other = users[users[0] is node]
    shared = v, how, place, s, u
    if other.operation != "differences" or other.params["first"] or other.operands[1:] != shared:
        return ()
    pair = {node, other}
    if not all(_only(y, pair, where) for y in shared):
        return ()
    if not (_of_bits(x, other.operands[0]) and _sought(v, how, where)):
        return ()
    elements = (u, positions.MODULUS), (s, positions.MODULUS - 1)  # a factor is 1 more
    if not all(_is_element(y, modulus, x, where) for y, modulus in elements):
        return ()
    count = x.shape[0]
    alike = x.shape == (count, *v.shape) and v.shape == how.shape == place.shape
    return (node, other) if alike and _low_bits(place, count, where) else ()


def function_keys(node: Node, where: Occurrences) -> Sequence[Node]:
    """The corrections, by the root that the receiver does not know."""
    roots = node.operands[:2]
    hidden = [r for r in roots if where.is_uniform(r) and list(where.users(r)) == [node]]
    return (node,) if any(r.modulus is None for r in hidden) else ()


LEMMAS: dict[str, Lemma] = {"differences": private_compare, "function_keys": function_keys}


# What private compare supposes.


def _only(node: Node, users: set[Node], where: Occurrences) -> bool:
    found = where.users(node)
    return len(found) == len(users) and set(found) == users


def _of_bits(first: Node, second: Node) -> bool:
    """Whether two values sum to bits in Z_67."""
    if first.operation != "residue" or first.params["operation"] != "subtract":
        return False
    bits, subtracted = first.operands
    return (
        subtracted is second
        and largest(bits) <= 1
        and first.modulus == second.modulus == positions.MODULUS
    )


def _is_element(node: Node, modulus: int, like: Node, where: Occurrences) -> bool:
    return node.modulus == modulus and node.shape == like.shape and where.is_uniform(node)


def _low_bits(node: Node, count: int, where: Occurrences) -> bool:
    """Whether a byte is uniform below `count`, a power of two: the lowest bits of a draw."""
    if (drawn := _beside(node, "and", count - 1)) is None or count & (count - 1) or count > 256:
        return False
    whole = drawn.dtype == np.uint8 and drawn.shape == node.shape and drawn.modulus is None
    return whole and where.is_uniform(drawn) and list(where.users(drawn)) == [node]


def _sought(v: Node, how: Node, where: Occurrences) -> bool:
    """Whether v = r - 1 + β and how = β | 3·[r = 0], for a uniform bit β that occurs here alone."""
    if v.operation != "add" or how.operation != "or":
        return False
    for below, converted in _orders(v):
        for beta, zero in _orders(how):
            r = below.operands[0] if below.operation == "sub" else None
            if r is None or not _is_constant(below.operands[1], 1) or not _is_zero(zero, r):
                continue
            if converted.operation != "convert_element_type" or converted.operands != (beta,):
                continue
            used = _only(beta, {converted, how}, where) and _only(converted, {v}, where)
            if used and beta.shape == v.shape and _low_bits(beta, 2, where):
                return True
    return False


def _is_zero(node: Node, r: Node) -> bool:
    """3·[r = 0]"""
    flag = _beside(node, "mul", 3)
    if flag is None or flag.operation != "convert_element_type":
        return False
    return _beside(flag.operands[0], "eq", 0) is r


def _orders(node: Node) -> list[tuple[Node, Node]]:
    x, y = node.operands
    return [(x, y), (y, x)]


def _beside(node: Node, operation: str, value: int) -> Node | None:
    """The operand of an operation whose other one is a constant."""
    if node.operation != operation:
        return None
    return next((x for x, y in _orders(node) if _is_constant(y, value)), None)


def _is_constant(node: Node, value: Any) -> bool:
    return node.content is not None and bool(np.all(node.content == value))
