"""What the protocols cost, from the cost of programs of one element.

`jsmpc protocols --write README.md` writes the table into the README.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api.function import SecureFunction
from jsmpc._src.api.words import Words
from jsmpc._src.interpreter.marked import rewritten
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.registry import PROTOCOLS
from jsmpc._src.readings.cost import Cost

BEGIN = "<!-- protocols: written by `jsmpc protocols --write README.md` -->"
END = "<!-- end of protocols -->"

OPERATIONS: dict[str, tuple[Callable[..., Any], Any]] = {
    "product": (jnp.multiply, np.int32),
    "comparison": (jnp.less, np.float32),
    "equality": (jnp.equal, np.float32),
    "ReLU": (lambda x, _: jax.nn.relu(x), np.float32),
}


def table() -> str:
    """A row for each protocol, of the fewest parties that it takes, and 64 bits: how many may be
    corrupt, and of one element of each operation the rounds, the bytes that a party sends, and
    those that a helper sends meanwhile, or a dealer beforehand."""
    heads = ("protocol", "parties", "corrupt", *OPERATIONS)
    rows = [_row(cls()) for cls in PROTOCOLS.values()]
    lines = [heads, ["---"] * len(heads), *(row for row in rows if row)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def written(readme: str) -> str:
    """A README with the table between the markers as it should be.

    Raises:
      ValueError: if it does not hold the markers.
    """
    return rewritten(readme, BEGIN, END, table())


def _row(smpc: Protocol[Any]) -> list[str]:
    """Its cells; none for a protocol that hides nothing."""
    if not smpc.corruptions:
        return []
    costs = [_cost(smpc, *operation) for operation in OPERATIONS.values()]
    name = f"`{type(smpc).__name__}()`"
    cells = [_cell(cost, smpc.size) for cost in costs]
    return [name, str(smpc.size), str(smpc.corruptions), *cells]


def _cost(smpc: Protocol[Any], f: Callable[..., Any], dtype: Any) -> Cost:
    x = Words.of(smpc, (), np.dtype(dtype)).share()
    secure: SecureFunction[..., Any] = SecureFunction(f)
    return secure.cost(x, x)


def _cell(cost: Cost, parties: int) -> str:
    rounds = f"{cost.rounds} round{'s' if cost.rounds != 1 else ''}"
    own, others = cost.bytes_sent[:parties], sum(cost.bytes_sent[parties:])
    helped = f", {others} B of the helper" if others else ""
    dealt = f", {cost.dealer_bytes} B dealt" if cost.dealer_bytes else ""
    return f"{rounds}, {round(sum(own) / parties, 1):g} B{helped}{dealt}"
