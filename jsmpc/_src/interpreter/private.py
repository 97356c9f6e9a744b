"""A value that one party alone knows, while a program is evaluated.

It was revealed to that party, or computed by it from such values and public ones. It leaves the
program as a result of that party's, and meets nothing that the others take part in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax

from jsmpc._src.errors import UnsupportedError
from jsmpc._src.interpreter.secret import is_secret
from jsmpc._src.jaxprs import compat, structure
from jsmpc._src.jaxprs.reveal import reveal_p

if TYPE_CHECKING:
    from jsmpc._src.interpreter.evaluator import Evaluator


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Private:
    """A plain array that the party `rank` alone knows."""

    value: Any
    rank: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    @property
    def dtype(self) -> Any:
        return self.value.dtype


def is_private(x: Any) -> bool:
    return isinstance(x, Private)


def computed(ev: Evaluator, operands: Sequence[Any]) -> list[Any]:
    """The results of the equation at hand, an operand of which one party alone knows: it computes
    them by itself."""
    first, *others = dict.fromkeys(x.rank for x in operands if is_private(x))
    if others:
        raise refused(ev, first, f"and what {ev.smpc.parties[others[0]]} alone knows meet here")
    if structure.structure(ev.eqn) is not None:
        raise refused(ev, first, "enters a loop or a branch, which all parties run")
    if any(map(is_secret, operands)):
        raise refused(ev, first, "meets a secret, on which all parties compute")
    if ev.eqn.primitive is reveal_p and ev.eqn.params["to"] not in (first, ev.smpc.parties[first]):
        raise refused(ev, first, "cannot be revealed further")
    given = [x.value if is_private(x) else x for x in operands]
    return [Private(x, first) for x in compat.bind(ev.eqn, given)]


def refused(ev: Evaluator, rank: int, why: str) -> UnsupportedError:
    """The error for a use of a party's own value in the equation at hand."""
    name = ev.smpc.parties[rank]
    return ev.unsupported(
        f"what {name} alone knows {why}. Return it, and compute on it where {name} does or share "
        f"it anew (jsmpc.input, owner={name!r}); compute on the secret itself; or reveal it to all"
    )
