"""Secure multi-party computation as a JAX function transformation."""

from jsmpc._src.api.diagnose import diagnose
from jsmpc._src.api.material import Material
from jsmpc._src.api.secure import SecureFunction, secure
from jsmpc._src.api.share import Share
from jsmpc._src.api.sharing import reveal, share
from jsmpc._src.errors import (
    EncodingError,
    EncodingWarning,
    JsmpcError,
    KeyFormatError,
    MaterialError,
    ProtocolError,
    SecretError,
    UnsupportedError,
)
from jsmpc._src.interpreter.support import supported
from jsmpc._src.protocols import Additive, Plain, Protocol, Replicated3
from jsmpc._src.readings.cost import Cost
from jsmpc._src.readings.diagnosis.report import Diagnosis
from jsmpc._src.ring.fixedpoint import FixedPoint
from jsmpc._src.runtime.prf import random_key
from jsmpc._version import __version__

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


def __dir__() -> list[str]:
    return __all__
