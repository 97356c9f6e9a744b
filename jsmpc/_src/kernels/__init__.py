"""The one door to the heavy loops: ring matrix products, convolutions, the PRF stream, and the
functions that two parties share.

Each is a JAX primitive that is lowered to native code where that exists and to pure XLA
elsewhere, with bit-identical results.
"""

from jsmpc._src.kernels.fss import function_keys, function_values
from jsmpc._src.kernels.fusion.equations import transparent
from jsmpc._src.kernels.fusion.optimize import evaluate, optimize
from jsmpc._src.kernels.positions import bits, differences
from jsmpc._src.kernels.products import convolution, dot_general
from jsmpc._src.kernels.stream import draw, keystream

__all__ = [
    "bits",
    "convolution",
    "differences",
    "dot_general",
    "draw",
    "evaluate",
    "function_keys",
    "function_values",
    "keystream",
    "optimize",
    "transparent",
]
