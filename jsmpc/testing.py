"""For tests: what computes as the protocols do, but hides nothing."""

from jsmpc._src.protocols import InsecurePlain

__all__ = ["InsecurePlain"]
