"""`jsmpc.supported`: what of JAX can be computed on secrets, from the registered rules.

`jsmpc supported --write README.md` writes the table into the README.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

from jax.extend.core import Primitive

from jsmpc._src.interpreter import rules  # noqa: F401 (registers the rules)
from jsmpc._src.interpreter.marked import rewritten
from jsmpc._src.interpreter.registry import COSTS, REFUSED, RULES

BEGIN = "<!-- supported: written by `jsmpc supported --write README.md` -->"
END = "<!-- end of supported -->"


@dataclasses.dataclass(frozen=True)
class Support:
    """What happens to a primitive with secret operands.

    Attributes:
      primitive: its name.
      status: `supported`; `refused` for a reason of secrecy; `unsupported`: an error so far.
      cost: the class of its cost, one of `registry.COSTS`; empty if it has no rule.
      error: the bound of its error; empty if it has no rule.
      reason: why it is refused, and what to do instead; empty otherwise.
    """

    primitive: str
    status: str
    cost: str = ""
    error: str = ""
    reason: str = ""


class SupportTable(list[Support]):
    """Records by primitive; prints as a table."""

    def __str__(self) -> str:
        width = max((len(r.primitive) for r in self), default=0)
        lines = [
            f"{r.primitive:<{width}}  {r.status:<9}  "
            + (f"{r.cost:<10}  {r.error}" if r.status == "supported" else r.reason)
            for r in self
            if r.status != "unsupported"
        ]
        rest = ", ".join(r.primitive for r in self if r.status == "unsupported")
        return "\n".join([*lines, *textwrap.wrap(f"unsupported: {rest}", 100)])

    def markdown(self) -> str:
        """A compact table: a row for each class of cost and bound, and for each reason."""
        supported = [r for r in self if r.status == "supported"]
        costs = list(COSTS)
        supported.sort(key=lambda r: (costs.index(r.cost), r.error != "exact", r.error))
        lines = ["| cost | error | primitives |", "|---|---|---|"]
        for (cost, error), rows in itertools.groupby(supported, lambda r: (r.cost, r.error)):
            lines.append(f"| {cost} | {_cell(error)} | {_listed(rows)} |")
        refused = sorted((r for r in self if r.status == "refused"), key=lambda r: r.reason)
        if refused:
            lines += ["", "| refused | why, and what to do instead |", "|---|---|"]
        for reason, rows in itertools.groupby(refused, lambda r: r.reason):
            lines.append(f"| {_listed(rows)} | {_cell(reason)} |")
        return "\n".join([*lines, "", *(f"- *{name}*: {text}" for name, text in COSTS.items())])


def _listed(records: Iterable[Support]) -> str:
    return ", ".join(f"`{r.primitive}`" for r in records)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def supported() -> SupportTable:
    """Every primitive of this version of JAX, by name, and what happens to it on secrets.

    Returns:
      a list of `Support` records that prints as a table; `.markdown()` is the README's.

    Example:
      >>> import jsmpc
      >>> {record.primitive: record.cost for record in jsmpc.supported()}["dot_general"]
      'product'
    """
    known = {p.name: Support(p.name, "unsupported") for p in _primitives()}
    known |= {p.name: Support(p.name, "refused", reason=why) for p, why in REFUSED.items()}
    known |= {p.name: Support(p.name, "supported", r.cost, str(r.error)) for p, r in RULES.items()}
    return SupportTable(known[name] for name in sorted(known))


def _primitives() -> list[Any]:
    """All primitives that the loaded modules of JAX name."""
    modules = [m for name, m in sys.modules.items() if name.split(".")[0] == "jax"]
    return [x for m in modules for x in list(vars(m).values()) if isinstance(x, Primitive)]


def written(readme: str) -> str:
    """A README with the table between the markers as it should be.

    Raises:
      ValueError: if it does not hold the markers.
    """
    return rewritten(readme, BEGIN, END, supported().markdown())
