"""The one door to the heavy loops: ring matrix products, convolutions and the PRF stream.

Each is a JAX primitive that is lowered to native code where that exists and to pure XLA
elsewhere, with bit-identical results.
"""

from jsmpc.kernels.fusion import optimize
from jsmpc.kernels.products import convolution, dot_general
from jsmpc.kernels.stream import draw, keystream

__all__ = [
    "convolution",
    "dot_general",
    "draw",
    "keystream",
    "optimize",
]
