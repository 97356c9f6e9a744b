"""The protocols: one file each, the same operations in all."""

from jsmpc.protocols.additive import Additive
from jsmpc.protocols.base import Protocol
from jsmpc.protocols.plain import Plain
from jsmpc.protocols.replicated import Replicated3

__all__ = ["Additive", "Plain", "Protocol", "Replicated3"]
