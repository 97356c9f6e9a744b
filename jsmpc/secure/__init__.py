"""The secure interpreter and its rules, a module a kind of primitive."""

from jsmpc.secure import arithmetic, control, ordering, structure
from jsmpc.secure.api import SecureFunction, secure

__all__ = ["SecureFunction", "arithmetic", "control", "ordering", "secure", "structure"]
