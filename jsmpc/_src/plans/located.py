"""What lies at somebody else's, as plans and `run` meet it among their arguments."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import jax

from jsmpc._src.errors import PointerError


class Located(abc.ABC):
    """A value that is elsewhere: what is computed with it is computed there.

    Attributes:
      place: whose name and `run` it is; two values are at one place if they have the same.
      shape, dtype: of the value.
    """

    place: Place
    shape: tuple[int, ...]
    dtype: Any

    @abc.abstractmethod
    def parts(self) -> Any:
        """Its arrays, each as a value that is elsewhere, in their containers."""


class Place(abc.ABC):
    """Where values are: a worker."""

    name: str

    @abc.abstractmethod
    def run(self, plan: Any, leaves: Sequence[Any]) -> list[Any]:
        """The leaves of a plan's result, which stay there.

        Args:
          plan: a `Plan`; leaves: those of its arguments: arrays, and values that are there.
        """


def apart(tree: Any) -> Any:
    """A tree with the arrays of all values in it that are elsewhere."""
    return jax.tree.map(lambda x: x.parts() if isinstance(x, Located) else x, tree)


def place_of(leaves: Sequence[Any], doing: str) -> Place | None:
    """Where the values among leaves are, if there are any; PointerError for two places."""
    found = {id(x.place): x.place for x in leaves if isinstance(x, Located)}
    if len(found) > 1:
        names = sorted(place.name for place in found.values())
        raise PointerError(
            f"{doing}: its operands are at {' and '.join(names)}, and nobody has all of them. Move "
            f"one, as in x.move({names[0]}), or get it"
        )
    return next(iter(found.values()), None)
