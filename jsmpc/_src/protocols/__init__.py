"""The protocols: one file each, the same operations in all."""

from jsmpc._src.protocols.additive import Additive
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.plain import Plain
from jsmpc._src.protocols.replicated import Replicated3

__all__ = ["Additive", "Plain", "Protocol", "Replicated3"]
