"""The protocols: one file each, the same operations in all, and a line here."""

from jsmpc._src.protocols.additive import Additive
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.fss import FSS2
from jsmpc._src.protocols.plain import InsecurePlain
from jsmpc._src.protocols.registry import register_protocol
from jsmpc._src.protocols.replicated import Replicated3
from jsmpc._src.protocols.securenn import SecureNN

register_protocol("replicated", Replicated3)
register_protocol("additive", Additive)
register_protocol("fss2", FSS2)
register_protocol("securenn", SecureNN)
register_protocol("insecure-plain", InsecurePlain)

__all__ = ["FSS2", "Additive", "InsecurePlain", "Protocol", "Replicated3", "SecureNN"]
