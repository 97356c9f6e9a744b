"""The errors of jsmpc: each names the operation and says what to do instead."""


class JsmpcError(Exception):
    """Base of every error that jsmpc raises on purpose."""


class EncodingError(JsmpcError, ValueError):
    """A value that the fixed-point encoding cannot hold: NaN, infinite or out of range."""


class KeyFormatError(JsmpcError, TypeError):
    """Something that is not a key was passed as one."""


class ProtocolError(JsmpcError, ValueError):
    """Shares of two protocols, rings or encodings, or the wrong number of parties."""


class MaterialError(JsmpcError, ValueError):
    """Offline material of another function, of other shapes, or used twice."""


class UnsupportedError(JsmpcError, NotImplementedError):
    """A JAX primitive, or a use of one, that cannot be computed on secrets."""


class SecretError(JsmpcError, TypeError):
    """A secret used as if it were public: as a Python bool, a number or a NumPy array."""


class EncodingWarning(UserWarning):
    """A public constant that the fixed-point encoding rounds to zero."""
