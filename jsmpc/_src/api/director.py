"""Runs whose endpoints are elsewhere: directed from here, by one who holds nothing of them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax
import numpy as np

from jsmpc._src.api import outcome
from jsmpc._src.api.held import Held
from jsmpc._src.api.outcome import is_result
from jsmpc._src.api.session import Purpose, Session
from jsmpc._src.api.words import is_words
from jsmpc._src.errors import ProtocolError
from jsmpc._src.interpreter.private import is_private
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Projection


class Placed(Held):
    """A shared secret of which each party keeps its part: used like a `Share`.

    Attributes:
      parts: what refers to the rows of each party, by rank; each is of all rows that a party
        holds, array by array.
    """

    def __init__(
        self,
        session: Director,
        shape: tuple[int, ...],
        dtype: Any,
        parts: Sequence[Any],
        digits: int | None = None,
    ) -> None:
        super().__init__(session, shape, dtype, (), digits)
        self.parts = tuple(parts)

    def __repr__(self) -> str:
        protocol = self.session.protocol
        what = f"{self.dtype}{list(self.shape)}"
        places = ", ".join(self.session.places)  # type: ignore[attr-defined]
        return f"Share({what}, {type(protocol).__name__}, at {places})"

    def __reduce__(self) -> NoReturn:
        raise ProtocolError(
            "a share whose parts lie at workers belongs to this process. Reveal it, or tag its "
            "parts and find them there"
        )


class Director(Session):
    """Someone who has all endpoints of a run take their parts, and holds nothing of it.

    Attributes:
      places: the names of where the endpoints are, in their order.
    """

    places: tuple[str, ...]

    def __init__(self, protocol: Protocol, places: Sequence[str]) -> None:
        self.protocol, self.endpoint = protocol, len(protocol.endpoints)
        self.places = tuple(places)

    @property
    def name(self) -> str:
        return "the director"

    @abc.abstractmethod
    def execute(
        self,
        projection: Projection,
        purpose: Purpose,
        early: Sequence[Any],
        operands: Sequence[Sequence[Any]],
        groups: Sequence[Sequence[int | None]],
    ) -> list[list[Any]]:
        """Has each endpoint run its own program.

        Args:
          early: the caller's key.
          operands: what each endpoint is given, after its state and its key: arrays that are
            public, and pairs of a part of a `Placed` and the number of a row in it.
          groups: how many of its results each endpoint keeps together, one after another; None for
            one by itself.

        Returns:
          for each endpoint, what refers to its results, a group each.
        """

    @abc.abstractmethod
    def plans(self, projection: Projection, purpose: Purpose) -> dict[str, Any]:
        """What each endpoint runs, by the name of its place."""

    @abc.abstractmethod
    def fetch(self, part: Any) -> Any:
        """The value of a result, brought here."""

    def direct(
        self,
        program: tuple[Projection, Any],
        purpose: Purpose,
        early: Sequence[Any],
        leaves: Sequence[Any],
        held: Sequence[Held],
    ) -> Any:
        """The results of a program: shares whose parts stay where they are, what is public, and
        what refers to what one party alone knows."""
        projection, results = program
        secrets = self._operands(leaves, held)
        found, treedef = jax.tree.flatten(results, is_leaf=is_result)
        groups = [
            [_group(self.protocol, x, e) for x in found if self._gets(x, e)] for e in self._all
        ]
        kept = [iter(x) for x in self.execute(projection, purpose, early, secrets, groups)]
        values = [self._result(x, kept) for x in found]
        return outcome.raised(*jax.tree.unflatten(treedef, values))

    @property
    def _all(self) -> range:
        return range(len(self.protocol.endpoints))

    def _operands(self, leaves: Sequence[Any], held: Sequence[Held]) -> list[list[Any]]:
        """What each endpoint is given: its rows, and what is public."""
        operands: list[list[Any]] = [[] for _ in self._all]
        for endpoint in self._all:
            secrets = iter(held)
            for x in leaves:
                if not is_words(x):
                    operands[endpoint].append(x)
                    continue
                secret = next(secrets)
                assert isinstance(secret, Placed)
                if endpoint < self.protocol.size:
                    part, count = secret.parts[endpoint], _rows(self.protocol, endpoint)
                    operands[endpoint] += [(part, row) for row in range(count)]
        return operands

    def _gets(self, x: Any, endpoint: int) -> bool:
        if is_private(x):
            return bool(endpoint == x.rank)
        return endpoint < self.protocol.size

    def _result(self, x: Any, kept: Sequence[Iterator[Any]]) -> Any:
        if is_private(x):
            return next(kept[x.rank])
        parts = [next(kept[rank]) for rank in range(self.protocol.size)]
        if is_words(x):
            return Placed(self, x.shape, x.dtype, parts, x.digits)
        return self.fetch(parts[0])

    # What only those can do who take part.

    def run(self, projection: Any, given: Any, purpose: Purpose) -> NoReturn:
        self._refuse("material is dealt ahead, and inputs are shared, in programs of the parties")

    def number(self) -> str:
        return self._refuse("shares are stored, and material is numbered, by the parties")

    def spend(self, number: str | None) -> None:
        self._refuse("material is used by the parties")

    def agreed(self, what: str, value: Any) -> Any:
        self._refuse("shares are stored by the parties")

    def _refuse(self, why: str) -> NoReturn:
        raise ProtocolError(
            f"{why}, and these shares lie at the workers {', '.join(self.places)}: call the secure "
            "function itself, or jsmpc.reveal"
        )


def _rows(protocol: Protocol, endpoint: int) -> int:
    """How many rows of a share a party holds."""
    return protocol.arrays * len(protocol.holds(endpoint))


def _group(protocol: Protocol, x: Any, endpoint: int) -> int | None:
    return _rows(protocol, endpoint) if is_words(x) else None


def share_of(placed: Placed, rows: Callable[[Any], Sequence[Any]]) -> tuple[Any, ...]:
    """The arrays of a share, the parties on the leading axis, from what each part holds."""
    protocol = placed.protocol
    found: list[dict[int, Any]] = [{} for _ in range(protocol.arrays)]
    for rank, part in enumerate(placed.parts):
        own, held = iter(rows(part)), sorted(protocol.holds(rank))
        for array in found:
            array.update((row, np.asarray(next(own))) for row in held)
    return tuple(np.stack([array[r] for r in range(protocol.size)]) for array in found)
