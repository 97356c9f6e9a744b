"""From a region's equations to instructions and registers of the elementwise machine."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.extend.core import Literal

from jsmpc._src.jaxprs import compat
from jsmpc._src.kernels import program, stream
from jsmpc._src.kernels.fusion.equations import BINARY, UNARY, size_of

if TYPE_CHECKING:
    from jsmpc._src.kernels.fusion.region import Region


class Assembler:
    """Instructions and registers for a region; a register is reused once its value is dead."""

    def __init__(self, region: Region):
        self.region = region
        self.program = program.Program(region.size)
        self.place: dict[Any, int] = {}
        self.free: dict[Any, list[int]] = collections.defaultdict(list)
        self.last = {
            region.root[v][0]: i
            for i, e in enumerate(region.equations)
            if e.primitive is not stream.draw_p
            for v in self.variables(e)
        }
        for i, eqn in enumerate(region.equations):
            self._emit(eqn)
            for v in dict.fromkeys(region.root[v][0] for v in self.variables(eqn)):
                if self.last.get(v) == i and v in region.inside and v not in region.slots:
                    self.free[v.aval.dtype].append(self.place[v])

    def variables(self, eqn: Any) -> list[Any]:
        if eqn.primitive is stream.draw_p:
            return []
        return [v for v in eqn.invars if not isinstance(v, Literal) and v not in self.region.known]

    def _constant(self, v: Any) -> int | None:
        if isinstance(v, Literal):
            return int(compat.literal_value(v)) % (1 << 64)
        return self.region.known.get(v)

    def _source(self, v: Any) -> int:
        constant = self._constant(v)
        if constant is not None:
            register = self._scratch(v.aval.dtype)
            self.program.emit("constant", v.aval.dtype, register, constant=constant)
            return register
        seen, offset = self.region.root[v]
        if seen in self.region.inside:
            return self.place[seen]
        place = program.SCALAR if size_of(v) == 1 < self.region.size else program.OPERAND
        if size_of(seen) == 1:
            place = program.SCALAR
        if (seen, offset, place) not in self.place:
            index = self.region.operands[seen]
            self.place[seen, offset, place] = self.program.register(
                place, v.aval.dtype, index, offset
            )
        return self.place[seen, offset, place]

    def _scratch(self, dtype: Any) -> int:
        return self.program.register(program.SCRATCH, dtype)

    def _target(self, v: Any) -> int:
        if v in self.region.slots:
            slot = self.region.slots[v]
            self.place[v] = self.program.register(program.RESULT, v.aval.dtype, *slot)
        else:
            pool = self.free[v.aval.dtype]
            self.place[v] = pool.pop() if pool else self._scratch(v.aval.dtype)
        return self.place[v]

    def _emit(self, eqn: Any) -> None:
        out, dtype = eqn.outvars[0], eqn.outvars[0].aval.dtype
        emit, name = self.program.emit, eqn.primitive.name
        if eqn.primitive is stream.draw_p:
            key, offset = self.region.root[eqn.invars[0]]
            index = self.region.operands[key]
            emit("draw", dtype, self._target(out), index, offset, eqn.params["number"])
        elif name == "broadcast_in_dim":
            emit("constant", dtype, self._target(out), constant=self._constant(eqn.invars[0]) or 0)
        elif name in UNARY:
            source = self._source(eqn.invars[0])
            kind = program.type_code(eqn.invars[0].aval.dtype)
            emit(UNARY[name], dtype, self._target(out), a=source, constant=kind)
        else:
            x, y = eqn.invars
            self._binary(BINARY[name], x, y, out)

    def _binary(self, op: str, x: Any, y: Any, out: Any) -> None:
        emit, dtype = self.program.emit, out.aval.dtype
        if op in ("add", "mul", "and", "or", "xor") and self._constant(x) is not None:
            x, y = y, x
        constant = self._constant(y)
        width = 8 * np.dtype(dtype).itemsize
        usable = constant is not None and self._constant(x) is None
        if usable and op.startswith("shift") and constant >= width:
            usable = False
        if usable and op == "div" and constant == 0:
            usable = False
        if not usable:
            a, b = self._source(x), self._source(y)
            emit(op, dtype, self._target(out), a=a, b=b)
            return
        assert constant is not None
        if op == "sub":
            op, constant = "add", -constant % (1 << width)
        a = self._source(x)
        emit(f"{op}_constant", dtype, self._target(out), a=a, constant=constant)
