"""From what a program returns to what its caller gets: shares, arrays, or an error."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.api import poison
from jsmpc._src.api.words import is_words
from jsmpc._src.errors import EncodingError, EncodingWarning
from jsmpc._src.interpreter.findings import Verdict
from jsmpc._src.interpreter.misfits import MISFIT
from jsmpc._src.interpreter.private import is_private


def is_result(x: Any) -> bool:
    """Whether it is one of a program's results that are no array."""
    return is_words(x) or is_private(x)


def stacked(out: Any) -> Any:
    """Results as a simulation has them: the parties' rows in one array, and what one party alone
    knows as what it is."""

    def together(x: Any) -> Any:
        if is_private(x):
            return x.value
        return x.stacked() if is_words(x) else x

    return jax.tree.map(together, out, is_leaf=is_result)


def _shares(out: Any) -> Any:
    return jax.tree.map(lambda x: x.share() if is_words(x) else x, out, is_leaf=is_words)


def raised(out: Any, verdict: Verdict) -> Any:
    """The results; EncodingError if a public operand did not fit, or a product overflowed. Warns of
    public operands that were lost."""
    for where, bad in verdict.faults.items():
        if bool(bad):
            raise EncodingError(f"{where}: {MISFIT}")
    for message, lost in verdict.losses.items():
        if bool(lost):
            warnings.warn(message, EncodingWarning, stacklevel=4)
    for where, bad in verdict.overflows.items():
        if bool(bad):
            raise EncodingError(
                f"{where}: a number leaves the range here, and the result is wrong. Scale "
                "the operands down, or lower precision_fractional; jsmpc.diagnose shows by how much"
            )
    return _shares(out)


def poisoned(out: Any, verdict: Verdict, leaves: list[Any]) -> Any:
    """The results, poisoned if there is anything to be raised or a share is poisoned."""
    wrong = [*verdict.faults.values(), *verdict.overflows.values()]
    checks = [*wrong, *(poison.is_poisoned(x) for x in leaves if is_words(x))]
    bad = jnp.any(jnp.stack(checks))

    def marked(x: Any) -> Any:
        if is_words(x):
            components = tuple(poison.poisoned_where(bad, c) for c in x.components)
            return dataclasses.replace(x, components=components).share()
        if jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.where(bad, jnp.asarray(np.nan, x.dtype), x)
        return x

    return jax.tree.map(marked, out, is_leaf=is_words)
