"""The groups that words are compared in, position by position: see `kernels.positions`."""

from __future__ import annotations

from jsmpc._src.kernels.positions import MODULUS
from jsmpc._src.ring.groups import modulo

FIELD = modulo(MODULUS)
FACTORS = modulo(MODULUS - 1)  # 0, …, 65, each one below an invertible element of the field
