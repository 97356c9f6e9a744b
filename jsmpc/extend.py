"""What a protocol, or a rule for a primitive, is written with outside of this package.

A protocol is a frozen dataclass that derives from `Protocol[Local]` or `Protocol[Replica]`, defines
the operations that have no fallback, and is made known by `register_protocol`. One with a dealer
names in `dealt_by` the argument that names it; one whose dealer computes too is `helped`, and its
seeds are `Pairwise`. Bits, and words of them, are shared by xor as `Bits`, whose machine words are
`words_of(bits)`. A rule is a function f(evaluator, *operands, **parameters) of `Secret` and public
operands, made known by `rule`.
"""

from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.registry import refuse, rule, rule_from, unary
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.network.network import Network
from jsmpc._src.network.values import Local, Pairwise, PerParty, Replica
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.bits import Bits, words_of
from jsmpc._src.protocols.registry import (
    PROTOCOLS,
    make_protocol,
    protocol_table,
    register_protocol,
)
from jsmpc._src.ring.bilinear import AND, MULTIPLY, Bilinear
from jsmpc._src.ring.groups import ARITHMETIC, BOOLEAN, Group, modulo
from jsmpc._src.ring.ring import Ring
from jsmpc._src.runtime.context import Context
from jsmpc._src.runtime.correlations import Correlation, Words
from jsmpc._src.runtime.prf import derive, iterate

__all__ = [
    "AND",
    "ARITHMETIC",
    "BOOLEAN",
    "MULTIPLY",
    "PROTOCOLS",
    "Bilinear",
    "Bits",
    "Context",
    "Correlation",
    "Evaluator",
    "Group",
    "Local",
    "Network",
    "Pairwise",
    "PerParty",
    "Protocol",
    "Replica",
    "Ring",
    "Secret",
    "Words",
    "derive",
    "iterate",
    "make_protocol",
    "modulo",
    "protocol_table",
    "refuse",
    "register_protocol",
    "rule",
    "rule_from",
    "unary",
    "words_of",
]
