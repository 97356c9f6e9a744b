"""The local work of an equation: how much of what an endpoint does between exchanges."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

from jax.extend.core import Literal

from jsmpc._src.jaxprs import lines
from jsmpc._src.kernels.fusion.region import Region, fused_p
from jsmpc._src.kernels.products import layouts_of, matmul_p
from jsmpc._src.kernels.stream import draw_p, keystream_p
from jsmpc._src.readings.cost import Label, label

# What is counted, and in what: each has a speed of its own.
UNITS = {
    "runs": "programs that are started",
    "calls": "kernels that are called",
    "instructions": "instructions on up to 1,024 elements",
    "elementwise": "bytes of results of additions, logic, shifts and the like",
    "multiplied": "bytes of results of elementwise products",
    "divided": "bytes of results of elementwise quotients",
    "drawn": "bytes of keystream",
    "moved": "bytes that kernels read and write",
    "transposed": "bytes that change their order",
    "products32": "multiplications and additions of products of matrices, 32 bits",
    "products64": "the same, 64 bits",
}
_BLOCK = 1024  # elements that an instruction works on at once
_VIEWS = {"reshape", "squeeze", "expand_dims", "bitcast_convert_type", "copy", "stop_gradient"}
_DEAR = {"mul": "multiplied", "div": "divided", "rem": "divided"}

_SERIAL_ELEMENTS = 8 * _BLOCK  # up to which a kernel runs on one core
_SERIAL_PRODUCTS = 2**17

Amounts = Counter[str]
Done = dict[Label, Amounts]


@dataclasses.dataclass
class Work:
    """What an endpoint computes between two exchanges: on one core, and on all that it has."""

    serial: Done = dataclasses.field(default_factory=dict)
    wide: Done = dataclasses.field(default_factory=dict)

    def add(self, eqn: Any) -> None:
        """Adds what one equation of an endpoint's own program takes."""
        done = self.wide if _is_wide(eqn) else self.serial
        for name, amounts in _of_equation(eqn).items():
            done.setdefault(name, Counter()).update(amounts)

    def total(self) -> Amounts:
        """All together."""
        return sum((*self.serial.values(), *self.wide.values()), Counter())


def nbytes(v: Any) -> int:
    """The bytes of a variable; none for a key of `jax.random` or a token."""
    aval = v.aval
    size = math.prod(getattr(aval, "shape", ()))
    return size * getattr(getattr(aval, "dtype", None), "itemsize", 0)


def _is_wide(eqn: Any) -> bool:
    """Whether an equation runs on several cores."""
    if eqn.primitive is fused_p:
        return bool(eqn.params["region"].size > _SERIAL_ELEMENTS)
    return eqn.primitive is matmul_p and _multiply_adds(eqn) > _SERIAL_PRODUCTS


def _of_equation(eqn: Any) -> Done:
    if eqn.primitive is fused_p:
        return _of_region(eqn.params["region"])
    if eqn.primitive.name in _VIEWS:
        return {}
    amounts: Amounts = Counter(calls=1)
    operands = sum(nbytes(v) for v in eqn.invars if not isinstance(v, Literal))
    results = sum(map(nbytes, eqn.outvars))
    if eqn.primitive is matmul_p:
        width = eqn.invars[0].aval.dtype.itemsize
        operands = width * sum(math.prod(at.shape) for at in layouts_of(eqn))
        amounts[f"products{8 * width}"] = _multiply_adds(eqn)
        amounts["moved"] = operands + results
    elif eqn.primitive in (draw_p, keystream_p):
        amounts["drawn"] = results
    elif eqn.primitive.name == "transpose":
        amounts["transposed"] = results
    elif eqn.primitive.name in _DEAR:
        amounts[_DEAR[eqn.primitive.name]] = results
    elif eqn.primitive.name == "slice":
        amounts["moved"] = 2 * results
    else:
        amounts["moved"] = operands + results
    return {_label_of(eqn): amounts}


def _label_of(eqn: Any) -> Label:
    return label(lines.user_line(eqn), lines.operation(eqn))


def _multiply_adds(eqn: Any) -> int:
    pairs = len(eqn.invars) // 2
    x, y = (at.shape for at in layouts_of(eqn)[:2])
    return int(pairs * max(x[0], y[0]) * x[1] * x[2] * y[2])


def _of_region(region: Region) -> Done:
    """Of equations that run as one pass: what is between them is not written to memory."""
    work: Done = {}
    blocks = -(-region.size // _BLOCK)
    waiting = set(region.operands)
    exported = region.slots
    for eqn in region.equations:
        amounts = work.setdefault(_label_of(eqn), Counter())
        result = nbytes(eqn.outvars[0])
        amounts["instructions"] += blocks
        if eqn.primitive is draw_p:
            amounts["drawn"] += result
        else:
            amounts[_DEAR.get(eqn.primitive.name, "elementwise")] += result
        if eqn.outvars[0] in exported:
            amounts["moved"] += result
        for v in eqn.invars:
            seen = None if isinstance(v, Literal) else region.root[v][0]
            if seen in waiting:
                waiting.remove(seen)
                amounts["moved"] += nbytes(v)
    next(iter(work.values()), Counter())["calls"] += 1
    return work
