"""Which operations keep uniform words uniform, whatever their other operands are.

An operation is balanced in an operand if, for all values of the others, it takes every result of
its type equally often as the operand goes through all of its values: a uniform operand that is
independent of the others gives a uniform result, independent of them. So are sums and differences
in the ring, sums by xor, movements of elements, and what leaves bits or elements out. Not so are
products, shifts, masks of bits, comparisons, and copies of one element to many.

A uniform element of Z_m is not a uniform word: sums and differences modulo m alone are balanced in
it, with other operands that they reduce (`ranges`). Draws of it are, up to a statistical distance
of 2^-40, balanced in the words that they are made of.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jsmpc._src.kernels import positions
from jsmpc._src.readings.verification.graph import Node, is_words, largest
from jsmpc._src.ring.groups import digits

Rule = Callable[[Node, Node], bool]  # of a node and one of its operands

JOINED = frozenset({"concatenate", "stack"})  # balanced in all operands together


def _sum(node: Node, operand: Node) -> bool:
    """x ± y and x ^ y, of one shape; a word used for many elements would be a repeat."""
    return operand.shape == node.shape and operand.dtype == node.dtype


def _moved(node: Node, operand: Node) -> bool:
    """Every element at a place of its own."""
    return math.prod(operand.shape) == math.prod(node.shape)


def _left_out(node: Node, operand: Node) -> bool:
    """Some of the elements, each once."""
    return math.prod(operand.shape) >= math.prod(node.shape)


def _cast(node: Node, operand: Node) -> bool:
    """All bits, or the lowest; or elements of Z_m in words of another type."""
    return node.modulus is not None or operand.dtype.itemsize >= node.dtype.itemsize


def _odd(node: Node, operand: Node) -> bool:
    """A product with a known odd number."""
    if operand.shape != node.shape:
        return False
    others = [x for x in node.operands if x is not operand]
    return len(others) == 1 and others[0].content is not None and _all_odd(others[0].content)


def _all_odd(content: np.ndarray) -> bool:
    return bool(np.all(content % 2 == 1))


def _residue(node: Node, operand: Node) -> bool:
    """x ± y in Z_m, of one shape; or elements of Z_m made of uniform words."""
    m = node.params["modulus"]
    if node.params["operation"] == "draw":
        return operand.modulus is None and operand.dtype == np.uint64 and _digits_fit(node, operand)
    if operand.modulus != m or not _sum(node, operand):
        return False
    if node.operands[0] is node.operands[1]:
        return False
    (other,) = [x for x in node.operands if x is not operand]
    subtrahend = node.params["operation"] == "subtract" and operand is node.operands[1]
    return largest(other) <= m - subtrahend


def _digits_fit(node: Node, operand: Node) -> bool:
    """Whether no digit of the drawn words is in two of the elements."""
    each = digits(node.params["modulus"])
    return math.prod(operand.shape) * each >= math.prod(node.shape)


def _masked(node: Node, operand: Node) -> bool:
    """s·c + u in Z_67 for one party."""
    x, *_, factor, mask = node.operands
    m = positions.MODULUS
    reduced = x.modulus == mask.modulus == m and factor.modulus == m - 1
    return reduced and operand is mask


def _always(node: Node, operand: Node) -> bool:
    return True


RULES: dict[str, Rule] = {
    "add": _sum,
    "sub": _sum,
    "xor": _sum,
    "neg": _sum,
    "not": _sum,
    "mul": _odd,
    "reshape": _moved,
    "transpose": _moved,
    "rev": _moved,
    "squeeze": _moved,
    "expand_dims": _moved,
    "broadcast_in_dim": _moved,
    "copy": _moved,
    "slice": _left_out,
    "convert_element_type": _cast,
    "bitcast_convert_type": _always,
    "reduce_sum": _left_out,
    "reduce_xor": _left_out,
}

MODULAR: dict[str, Rule] = {"residue": _residue, "differences": _masked}  # in Z_m


def register_balanced(operation: str, rule: Rule) -> None:
    """Tells that an operation is balanced in an operand where a rule says so."""
    if RULES.setdefault(operation, rule) is not rule:
        raise ValueError(f"there is a rule for {operation} already")


def is_balanced(node: Node, operand: Node) -> bool:
    """Whether a uniform operand, used here alone, makes a node uniform."""
    if (rule := MODULAR.get(node.operation)) is not None:
        return rule(node, operand)
    rule = RULES.get(node.operation)
    if rule is None or operand.modulus != node.modulus:
        return False
    return is_words(node) and is_words(operand) and rule(node, operand)


def is_invertible(node: Node) -> bool:
    """Whether any of its operands follows from a node and the others."""
    if node.operation not in _INVERTIBLE or not is_words(node):
        return False
    return all(is_balanced(node, x) and _moved(node, x) for x in node.operands) and all(
        x.dtype.itemsize == node.dtype.itemsize for x in node.operands
    )


_INVERTIBLE = frozenset(RULES) - {"mul", "slice", "reduce_sum", "reduce_xor"}
