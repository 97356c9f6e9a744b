"""Secure multi-party computation as a JAX function transformation."""

from jsmpc._version import __version__
from jsmpc.cost import Cost
from jsmpc.errors import (
    EncodingError,
    EncodingWarning,
    JsmpcError,
    KeyFormatError,
    MaterialError,
    ProtocolError,
    SecretError,
    UnsupportedError,
)
from jsmpc.fixedpoint import FixedPoint
from jsmpc.material import Material
from jsmpc.prf import random_key
from jsmpc.protocols import Additive, Plain, Protocol, Replicated3
from jsmpc.secure import SecureFunction, secure
from jsmpc.sharing import Share, reveal, share

__all__ = [
    "Additive",
    "Cost",
    "EncodingError",
    "EncodingWarning",
    "FixedPoint",
    "JsmpcError",
    "KeyFormatError",
    "Material",
    "MaterialError",
    "Plain",
    "Protocol",
    "ProtocolError",
    "Replicated3",
    "SecretError",
    "SecureFunction",
    "Share",
    "UnsupportedError",
    "__version__",
    "random_key",
    "reveal",
    "secure",
    "share",
]
