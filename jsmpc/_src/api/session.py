"""A run of several processes, as each of them sees it: what it has in common with the others."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jsmpc._src.protocols.base import Protocol
from jsmpc._src.readings.projection.projection import Projection


@dataclasses.dataclass(frozen=True)
class Reveal:
    """A disclosure that a program makes.

    Attributes:
      to: a party's name, or `everyone`.
      what: its label; empty without one.
      elements: how many numbers.
      line: the line of the program, for errors and the log.
    """

    to: str
    what: str
    elements: int
    line: str

    @classmethod
    def of(cls, protocol: Protocol, to: str | int | None, elements: int, line: str) -> Reveal:
        """A reveal without a label, to a party by name or rank, or to all; ProtocolError."""
        whom = "everyone" if to is None else protocol.parties[protocol.rank(to)]
        return cls(whom, "", elements, line)


@dataclasses.dataclass(frozen=True)
class Function:
    """A user's own function: its jaxpr, which of its inputs are secret, and who calls it where."""

    jaxpr: Any
    secret: tuple[bool, ...]
    line: str


@dataclasses.dataclass(frozen=True)
class Purpose:
    """What a program is for, in the words that its endpoints agree on before it runs.

    Attributes:
      what: the function, or what is done.
      reveals: all that anybody learns by it.
      inputs: the labels of what it takes from outside, and `owner` whose that is.
      function: what it computes, where that is a function of the user's; nobody compares it.
    """

    what: str
    reveals: tuple[Reveal, ...] = ()
    inputs: tuple[str, ...] = ()
    owner: str | None = None
    function: Function | None = dataclasses.field(default=None, compare=False, repr=False)


class Session(abc.ABC):
    """One endpoint of a run that it has in common with others, in processes of their own.

    Attributes:
      protocol: the one that all endpoints run.
      endpoint: the number of this one: a party's rank, or that of the dealer behind them.
      state: this endpoint's part of what the parties keep beyond a call; see `kept`.
      stocked: whether its dealer keeps a stock of what it deals.
    """

    protocol: Protocol
    endpoint: int
    state: Sequence[jax.Array] = ()
    stocked: bool = False

    @property
    def name(self) -> str:
        return self.protocol.endpoints[self.endpoint]

    @property
    def is_party(self) -> bool:
        """Whether it is a party, and no dealer."""
        return self.endpoint < self.protocol.size

    def rows(self) -> tuple[int, ...]:
        """The rows of shares that this endpoint holds, in order."""
        return tuple(sorted(self.protocol.holds(self.endpoint))) if self.is_party else ()

    @abc.abstractmethod
    def number(self) -> str:
        """A new number for what is made now: the same at all parties, and nothing else's."""

    @abc.abstractmethod
    def spend(self, number: str | None) -> None:
        """Agree with the others on the material that is used now, and write it down for good.

        Args:
          number: the material's; None at a dealer, who has none.

        Raises:
          ProtocolError: if the parties have different ones.
          MaterialError: if it was used before, also in another session.
        """

    def from_stock(self, deal: Callable[[], list[jax.Array]]) -> list[jax.Array]:
        """What the dealer of a session that is `stocked` has for one run; nothing at the others.

        Args:
          deal: what makes a set for a run, and is the same object for equal programs.
        """
        return []

    @abc.abstractmethod
    def agreed(self, what: str, value: Any) -> Any:
        """A value of JSON that all endpoints have in common, from those who have it.

        Args:
          what: the value's name, for errors.
          value: this endpoint's; None where it has none.

        Raises:
          ProtocolError: if two of them have different ones.
        """

    @abc.abstractmethod
    def run(
        self, projection: Projection, given: Sequence[jax.Array], purpose: Purpose
    ) -> list[jax.Array]:
        """This endpoint's part of a program, which all endpoints run at the same time.

        Args:
          projection: the program.
          given: what this endpoint gives, in the order of the program's inputs.
          purpose: what the program is for.

        Returns:
          what this endpoint gets, in the order of the program's outputs.
        """


_joined: list[Session] = []  # of this process: threads are in its session too


def current() -> Session | None:
    """The session that this program was started in; None in a simulation."""
    return _joined[-1] if _joined else None


@contextlib.contextmanager
def active(session: Session) -> Iterator[None]:
    """Makes a session that of this process."""
    _joined.append(session)
    try:
        yield
    finally:
        _joined.remove(session)
