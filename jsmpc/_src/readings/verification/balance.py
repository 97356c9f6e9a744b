"""Which operations keep uniform words uniform, whatever their other operands are.

An operation is balanced in an operand if, for all values of the others, it takes every result of
its type equally often as the operand goes through all of its values: a uniform operand that is
independent of the others gives a uniform result, independent of them. So are sums and differences
in the ring, sums by xor, movements of elements, and what leaves bits or elements out. Not so are
products, shifts, masks of bits, comparisons, and copies of one element to many.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from jsmpc._src.readings.verification.graph import Node, is_words

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
    """All bits, or the lowest."""
    return operand.dtype.itemsize >= node.dtype.itemsize


def _odd(node: Node, operand: Node) -> bool:
    """A product with a known odd number."""
    if operand.shape != node.shape:
        return False
    others = [x for x in node.operands if x is not operand]
    return len(others) == 1 and others[0].content is not None and _all_odd(others[0].content)


def _all_odd(content: np.ndarray) -> bool:
    return bool(np.all(content % 2 == 1))


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


def register_balanced(operation: str, rule: Rule) -> None:
    """Tells that an operation is balanced in an operand where a rule says so."""
    if RULES.setdefault(operation, rule) is not rule:
        raise ValueError(f"there is a rule for {operation} already")


def is_balanced(node: Node, operand: Node) -> bool:
    """Whether a uniform operand, used here alone, makes a node uniform."""
    rule = RULES.get(node.operation)
    return rule is not None and is_words(node) and is_words(operand) and rule(node, operand)


def is_invertible(node: Node) -> bool:
    """Whether any of its operands follows from a node and the others."""
    if node.operation not in _INVERTIBLE or not is_words(node):
        return False
    return all(is_balanced(node, x) and _moved(node, x) for x in node.operands) and all(
        x.dtype.itemsize == node.dtype.itemsize for x in node.operands
    )


_INVERTIBLE = frozenset(RULES) - {"mul", "slice", "reduce_sum", "reduce_xor"}
