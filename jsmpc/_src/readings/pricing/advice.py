"""Where a function asks for something much dearer than what would do: a short table of hints.

Each one is found on the user's own program, and that its remedy is cheaper is measured in the
tests, under every protocol.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jsmpc._src.functions.sorting import BY_RANKS
from jsmpc._src.jaxprs import lines, walk
from jsmpc._src.jaxprs.reveal import reveal_p
from jsmpc._src.jaxprs.secrecy import carries
from jsmpc._src.jaxprs.structure import Branches, Call, Scan, While, structure
from jsmpc._src.readings.pricing.tables import place


@dataclasses.dataclass(frozen=True)
class Hint:
    """What to write instead.

    Attributes:
      line: the user's source line.
      operation: what is dear there.
      text: why, and what to write instead.
    """

    line: str
    operation: str
    text: str

    def __str__(self) -> str:
        return f"{place(self.line)}: {self.operation}: {self.text}"


@dataclasses.dataclass(eq=False)
class Node:
    """A value of the user's program: where it comes from, and what becomes of it."""

    shape: tuple[int, ...]
    dtype: Any
    secret: bool = False
    value: Any = None  # of a constant
    eqn: Any = None
    operands: Sequence[Node] = ()
    users: list[Node] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """The primitive that it is the result of."""
        return "" if self.eqn is None else str(self.eqn.primitive.name)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def floating(self) -> bool:
        return bool(jnp.issubdtype(self.dtype, jnp.floating))


_SAME = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy", "stop_gradient")


def source(node: Node) -> Node:
    """The value that a node shows, through broadcasts and reshapes."""
    while node.name in _SAME or (node.name == "convert_element_type" and not node.secret):
        node = node.operands[0]
    return node


def advise(jaxpr: Any, secret: Sequence[bool], caller: str) -> tuple[Hint, ...]:
    """The hints for a function.

    Args:
      jaxpr: the user's function.
      secret: which of its inputs are.
      caller: the line of equations that have none.
    """
    nodes: list[Node] = []
    _walk(jaxpr, secret, nodes)
    found: dict[Hint, None] = {}
    for node in nodes:
        if node.secret:
            line = lines.user_line(node.eqn) or caller
            for hint in _HINTS:
                if text := hint(node):
                    found[Hint(line, node.name, text)] = None
    return tuple(found)


def _walk(jaxpr: Any, secret: Sequence[bool], nodes: list[Node]) -> list[Node]:
    """Adds the nodes of a program that is given inputs of which nothing else is known."""
    inputs = [Node(tuple(a.shape), a.dtype, s) for a, s in zip(_types(jaxpr), secret, strict=True)]
    return _evaluate(jaxpr, inputs, nodes)


def _types(jaxpr: Any) -> list[Any]:
    return [v.aval for v in getattr(jaxpr, "jaxpr", jaxpr).invars]


def _evaluate(jaxpr: Any, inputs: Sequence[Node], nodes: list[Node]) -> list[Node]:
    def lift(x: Any) -> Node:
        return Node(np.shape(x), getattr(x, "dtype", None), value=x)

    def apply(eqn: Any, operands: list[Node]) -> list[Node]:
        form = structure(eqn)
        if isinstance(form, Call):
            return _evaluate(form.body, operands, nodes)
        secret = [x.secret for x in operands]
        if isinstance(form, Branches):
            for body in form.branches:
                _walk(body, secret[1:], nodes)
        elif isinstance(form, Scan | While):
            given = secret if isinstance(form, Scan) else secret[form.test_consts :]
            carried, _ = carries(form, given)
            rest = given[form.consts + len(carried) :]
            _walk(form.body, [*given[: form.consts], *carried, *rest], nodes)
        hidden = any(secret) and eqn.primitive is not reveal_p
        out = [
            Node(tuple(v.aval.shape), v.aval.dtype, hidden, None, eqn, operands)
            for v in eqn.outvars
        ]
        for operand in operands:
            operand.users += out[:1]
        nodes.extend(out[:1])
        return out

    return walk.evaluate(jaxpr, inputs, apply, lift)


# The hints: from a secret result of the user's program to what is to be said, or nothing.


def _same_divisor(x: Node) -> str | None:
    if x.name != "div" or not x.floating or not x.operands[1].secret:
        return None
    divisor = source(x.operands[1])
    if x.operands[0].secret and divisor.size < x.size and divisor.name != "sqrt":
        return (
            f"{x.size:,} numbers are divided by {divisor.size:,}, each by itself: x * (1 / y) with "
            "y as it is before its broadcast takes one reciprocal for each y (1 / y is rounded to "
            "the encoding's last place: keep y moderate)"
        )
    first = next(u for u in x.operands[1].users if u.name == "div")
    if first is not x and x.operands[0].secret:
        return "two quotients by the same y: x * r and z * r with r = 1 / y divide once"
    return None


def _quotient_of_quotient(x: Node) -> str | None:
    if x.name != "div" or not x.floating or x.operands[0].name != "div":
        return None
    if x.operands[1].secret and x.operands[0].operands[1].secret:
        return "x / y / z divides twice: x / (y * z) divides once"
    return None


def _root_as_divisor(x: Node) -> str | None:
    if x.name == "div" and source(x.operands[1]).name == "sqrt":
        return "x / jnp.sqrt(y) takes a root and a quotient: x * jax.lax.rsqrt(y) takes one"
    return None


def _root_of_square(x: Node) -> str | None:
    if x.name != "sqrt":
        return None
    inner = x.operands[0]
    square = inner.name == "square" or (inner.name == "integer_pow" and inner.eqn.params["y"] == 2)
    if square or (inner.name == "mul" and inner.operands[0] is inner.operands[1]):
        return "the root of a square is jnp.abs, a comparison"
    return None


def _is_softmax(x: Node) -> bool:
    if x.name != "div":
        return False
    total = source(x.operands[1])
    return total.name == "reduce_sum" and source(total.operands[0]) is source(x.operands[0])


def _argmax_of_monotone(x: Node) -> str | None:
    if x.name not in ("argmax", "argmin"):
        return None
    inner = source(x.operands[0])
    if inner.name in ("exp", "logistic", "tanh", "log", "sqrt") or _is_softmax(inner):
        what = "softmax or its like" if inner.name == "div" else inner.name
        return f"{x.name} of {what} is that of what it is taken of: compare that itself"
    return None


def _log_of_softmax(x: Node) -> str | None:
    if x.name == "log" and _is_softmax(x.operands[0]):
        return "the logarithm of softmax is jax.nn.log_softmax, which neither divides nor clips"
    return None


def _threshold_of_sigmoid(x: Node) -> str | None:
    if x.name in ("gt", "ge", "lt", "le"):
        for inner, other in (x.operands, x.operands[::-1]):
            if inner.name in ("logistic", "exp") and not other.secret:
                inverse = "logit" if inner.name == "logistic" else "log"
                return (
                    f"{inner.name} grows with its operand: compare that with the {inverse} of the "
                    "public threshold"
                )
    return None


def _end_of_sorted(x: Node) -> str | None:
    operands = [y for y in x.operands if y.name == "sort"]
    if x.name not in ("slice", "dynamic_slice", "gather") or not operands or len(x.operands) > 2:
        return None
    sort = operands[0]
    axis = sort.eqn.params["dimension"]
    if x.name != "slice" or len(sort.users) > 1:
        return None
    begin, end = (x.eqn.params[n][axis] for n in ("start_indices", "limit_indices"))
    length = sort.shape[axis]
    if end - begin == 1 and (begin == 0 or end == length) and length > BY_RANKS:
        what = ("min", "max")[begin > 0]
        indices = sort.eqn.params["num_keys"] < len(sort.operands)
        name = f"jnp.arg{what}" if indices else f"jnp.{what}"
        return (
            f"of {length:,} sorted values one is used: {name} takes a fraction of the comparisons"
        )
    return None


def _integer_quotient(x: Node) -> str | None:
    if x.name != "div" or not jnp.issubdtype(x.dtype, jnp.integer):
        return None
    divisor = source(x.operands[1])
    if divisor.secret:
        return (
            "division of secret integers goes bit by bit: where numbers stay small, "
            "jnp.floor(x.astype(float) / y) takes a fraction of it"
        )
    if divisor.value is not None and np.size(divisor.value) == 1:
        n = int(np.asarray(divisor.value).reshape(()))
        if n > 1 and n & (n - 1) == 0:
            return f"x // {n} is x >> {n.bit_length() - 1}, the bits moved"
    return None


def _order_of_products(x: Node) -> str | None:
    if x.name != "dot_general" or x.operands[0].name != "dot_general":
        return None
    inner, last = x.operands
    plain = (((1,), (0,)), ((), ()))
    shapes = [*(y.shape for y in inner.operands), last.shape]
    if any(_numbers(y) != plain for y in (x, inner)) or len(inner.users) > 1:
        return None
    if not all(len(s) in (1, 2) for s in shapes) or len(shapes[0]) != 2 or len(shapes[1]) != 2:
        return None
    (m, _), (k, n) = shapes[:2]
    p = last.shape[1] if len(last.shape) == 2 else 1
    if 2 * k * p < m * n and all(y.secret for y in (*inner.operands, last)):
        return (
            f"(A @ B) @ C makes {m:,}×{n:,} numbers on the way, A @ (B @ C) {k:,}×{p:,}: "
            "set the brackets so"
        )
    return None


def _numbers(x: Node) -> Any:
    (contract, batch) = x.eqn.params["dimension_numbers"]
    return tuple(map(tuple, contract)), tuple(map(tuple, batch))


_HINTS: tuple[Callable[[Node], str | None], ...] = (
    _same_divisor,
    _quotient_of_quotient,
    _root_as_divisor,
    _root_of_square,
    _argmax_of_monotone,
    _log_of_softmax,
    _threshold_of_sigmoid,
    _end_of_sorted,
    _integer_quotient,
    _order_of_products,
)
