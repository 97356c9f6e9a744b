"""Who masks with whom: everyone with everyone, or a random graph of few neighbours.

The sparse graph is Harary's on a random circle: a client's neighbours are the k/2 on either side.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math

import numpy as np

from jsmpc._src.errors import FederatedError

SECURITY, CORRECTNESS = 40, 20  # bits: failures of either kind are rarer than 2^-bits


def neighbours(client: int, clients: int, degree: int, seed: bytes) -> frozenset[int]:
    """Those of a client.

    Args:
      degree: how many: clients − 1 for everyone, or an even number.
      seed: of the circle, on which every order is as likely.
    """
    if degree == clients - 1:
        return frozenset(range(clients)) - {client}
    order, places = _circle(clients, seed)
    steps = [s for half in range(1, degree // 2 + 1) for s in (half, -half)]
    return frozenset(order[(places[client] + s) % clients] for s in steps)


@functools.lru_cache(maxsize=2)
def _circle(clients: int, seed: bytes) -> tuple[list[int], list[int]]:
    """The clients in their order on the circle, and the place of each."""

    def key(client: int) -> bytes:
        return hashlib.sha256(seed + client.to_bytes(4, "little")).digest()

    order = sorted(range(clients), key=key)
    return order, np.argsort(order).tolist()


@dataclasses.dataclass(frozen=True)
class Odds:
    """How likely a random graph fails, for some clients of whom some are corrupt or drop out.

    Attributes:
      clients: how many there are.
      corrupt: how many of them may collude with the server.
      dropping: how many of them may drop out.
      active: whether the server may lie.
    """

    clients: int
    corrupt: int
    dropping: int
    active: bool

    def insecure(self, degree: int, threshold: int) -> float:
        """At most the probability that a sum of few, or an update, can be learnt.

        Either some honest client's neighbours hold too many shares that are the server's: those
        of corrupt ones, and against a server that lies to honest ones also these, of whom each
        gives one kind of share. Or the honest clients that stay are not connected, for which
        the circle must have lost k/2 clients in a row at two places.
        """
        # of the degree + 1 holders of shares, the client itself being one
        needed = 2 * threshold - degree - 1 if self.active else threshold
        exposed = self.clients * self._tail(self.corrupt, degree, max(needed, 0))
        return exposed + self._disconnected(degree)

    def incorrect(self, degree: int, threshold: int) -> float:
        """At most the probability that some client keeps fewer neighbours than the threshold."""
        lost = self._tail(self.dropping, degree, max(degree - threshold + 1, 0))
        return self.clients * lost

    def threshold(self, degree: int) -> int | None:
        """The least threshold for which a graph is secure, or None where none is correct too."""
        enough = 2.0**-SECURITY - self._disconnected(degree)
        if enough <= 0:
            return None
        low, high = 2, degree + 1  # of which `high` is taken to be secure
        while low < high:
            middle = (low + high) // 2
            low, high = (
                (low, middle)
                if self.insecure(degree, middle) <= 2.0**-SECURITY
                else (middle + 1, high)
            )
        if low > degree or self.incorrect(degree, low) > 2.0**-CORRECTNESS:
            return None
        return low

    def smallest(self) -> tuple[int, int]:
        """The least even degree that serves, and its threshold.

        Raises:
          FederatedError: where none below everyone does.
        """
        for degree in range(2, self.clients - 1, 2):
            found = self.threshold(degree)
            if found is not None:
                return degree, found
        raise FederatedError(
            f"one server: no sparse graph serves {self.clients} clients of whom {self.corrupt} are "
            f"corrupt and {self.dropping} drop out. Take OneServer.full, or fewer of them"
        )

    def _disconnected(self, degree: int) -> float:
        bad = self.corrupt + self.dropping
        if degree > bad:
            return 0.0
        pairs = math.log(self.clients) + math.log(self.clients - degree - 1) - math.log(2)
        return math.exp(pairs + _choices(bad, degree) - _choices(self.clients, degree))

    def _tail(self, marked: int, drawn: int, least: int) -> float:
        """P[at least so many of the drawn are marked], of the others of one client."""
        others = self.clients - 1
        x = np.arange(max(least, drawn - (others - marked), 0), min(marked, drawn) + 1)
        logs = _choices(marked, x) + _choices(others - marked, drawn - x) - _choices(others, drawn)
        return float(np.exp(logs).sum())


def _choices(n: int, k: int | np.ndarray) -> np.ndarray:
    """log (n over k)."""
    table = _log_factorials(n)
    return table[n] - table[k] - table[n - k]


def _log_factorials(n: int) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1, dtype=np.float64)))])
