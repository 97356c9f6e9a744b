"""Programs for the native elementwise machine: instructions, registers and how to call it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jsmpc._src.kernels import native

Array = jax.Array

# The order is that of native/program.h.
OPS = (
    "add",
    "sub",
    "mul",
    "and",
    "or",
    "xor",
    "shift_left",
    "shift_right",
    "div",
    "add_constant",
    "mul_constant",
    "and_constant",
    "or_constant",
    "xor_constant",
    "shift_left_constant",
    "shift_right_constant",
    "div_constant",
    "negate",
    "not",
    "convert",
    "constant",
    "draw",
)
SCRATCH, OPERAND, SCALAR, RESULT = range(4)


def type_code(dtype: Any) -> int:
    """log2 of a word's bytes."""
    return np.dtype(dtype).itemsize.bit_length() - 1


@dataclasses.dataclass
class Program:
    """A straight-line program over arrays of one length.

    Attributes:
      elements: the length.
      instructions: (op, type, result, a, b, constant) each.
      registers: (place, index, offset, type) each.
    """

    elements: int
    instructions: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    registers: list[tuple[int, int, int, int]] = dataclasses.field(default_factory=list)

    def register(self, place: int, dtype: Any, index: int = 0, offset: int = 0) -> int:
        self.registers.append((place, index, offset, type_code(dtype)))
        return len(self.registers) - 1

    def emit(
        self, op: str, dtype: Any, result: int, a: int = 0, b: int = 0, constant: int = 0
    ) -> None:
        signed = constant - (1 << 64) if constant >= 1 << 63 else constant
        self.instructions.append((OPS.index(op), type_code(dtype), result, a, b, signed))

    def __call__(
        self,
        operands: Sequence[Array],
        results: Sequence[Any],
        continued: Mapping[int, int] | None = None,
    ) -> list[Array]:
        """Run on operands; `results` are their shapes and dtypes.

        Operands that are `continued` become results, by their positions, where nothing is written.
        """
        call = native.call("jsmpc_program", list(results), input_output_aliases=continued)
        return call(
            *operands,
            instructions=np.asarray(self.instructions, np.int64).reshape(-1),
            registers=np.asarray(self.registers, np.int64).reshape(-1),
            elements=np.int64(self.elements),
        )


def draw(key: Array, number: int, shape: tuple[int, ...], dtype: Any) -> Array:
    """`kernels.draw` by a program of one instruction."""
    program = Program(int(np.prod(shape, dtype=np.int64)))
    program.emit("draw", dtype, program.register(RESULT, dtype), constant=number)
    return program([key], [jax.ShapeDtypeStruct(shape, dtype)])[0]
