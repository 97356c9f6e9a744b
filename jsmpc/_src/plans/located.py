"""What lies at somebody else's, as a plan meets it among its arguments."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any


class Located(abc.ABC):
    """A value that is elsewhere: plans that are called with it run there."""

    @abc.abstractmethod
    def run(self, plan: Any, leaves: Sequence[Any]) -> Any:
        """The result of a plan where the value is.

        Args:
          plan: a `Plan`; leaves: those of its arguments, this value among them.
        """


def located(leaves: Sequence[Any]) -> Located | None:
    """The first value among some that is elsewhere."""
    return next((x for x in leaves if isinstance(x, Located)), None)
