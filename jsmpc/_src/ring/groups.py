"""The two groups that shares are drawn from: words under addition, words under xor."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Group:
    """A group operation on words and its inverse."""

    name: str
    add: Callable[[Any, Any], Any]
    subtract: Callable[[Any, Any], Any]

    def sum(self, terms: Iterable[Any]) -> Any:
        return functools.reduce(self.add, terms)


ARITHMETIC = Group("arithmetic", operator.add, operator.sub)
BOOLEAN = Group("boolean", operator.xor, operator.xor)
