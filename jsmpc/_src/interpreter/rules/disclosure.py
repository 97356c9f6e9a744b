"""The rule for `reveal`, the only thing that discloses."""

from __future__ import annotations

from typing import Any

from jsmpc._src.errors import ProtocolError
from jsmpc._src.functions import disclosure
from jsmpc._src.interpreter.evaluator import Evaluator
from jsmpc._src.interpreter.private import Private
from jsmpc._src.interpreter.ranges import Modular
from jsmpc._src.interpreter.registry import rule
from jsmpc._src.interpreter.secret import Secret
from jsmpc._src.jaxprs.reveal import reveal_p


@rule(reveal_p, cost="opening", modular=Modular(), scaled=True)
def _reveal(ev: Evaluator, x: Secret, *, to: str | int | None) -> Any:
    if to is None:
        return disclosure.reveal(ev.smpc, ev.ctx, x.shares, x.dtype, x.encoding)
    try:
        rank = ev.smpc.rank(to)
    except ProtocolError as error:
        raise ProtocolError(f"{ev.place}: {error}") from None
    value = disclosure.reveal_to(ev.smpc, ev.ctx, x.shares, x.dtype, rank, x.encoding)
    return Private(value, rank)
