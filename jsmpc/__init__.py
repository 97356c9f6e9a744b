"""Secure multi-party computation as a JAX function transformation."""

from typing import Any

from jsmpc._version import __version__
from jsmpc.cost import Cost
from jsmpc.diagnose import Diagnosis, diagnose
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
    "Diagnosis",
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
    "diagnose",
    "random_key",
    "reveal",
    "secure",
    "share",
    "supported",
]


def __getattr__(name: str) -> Any:
    if name == "supported":  # on demand: it is also the program `python -m jsmpc.secure.support`
        from jsmpc.secure.support import supported

        return supported
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
