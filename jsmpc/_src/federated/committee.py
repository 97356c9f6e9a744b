"""Aggregation by a committee: each of its members holds one share of a running sum."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jsmpc._src.api import sharing
from jsmpc._src.api.secure import secure
from jsmpc._src.api.share import Share
from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.aggregation import Running
from jsmpc._src.federated.quantization import Quantization, whole
from jsmpc._src.federated.structure import Structure
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf


class Total(NamedTuple):
    """What the members hold of the updates that came so far.

    Attributes:
      shares: of the sum of their words; None before the first.
      clients: how many have come.
    """

    shares: Share | None = None
    clients: int = 0


@dataclasses.dataclass(frozen=True)
class Committee:
    """A weighted mean by the parties of a protocol, of updates that come one after another.

    1. A client of weight w quantizes its update x: its words are w·q(x), and w.
    2. It sends the members shares [w·q(x)] and [w].
    3. The members add: [Σ w·q(x)] and [Σ w], without a message. They keep no single share.
    4. They open the two sums, which wrap for no number of clients up to `clients`, and divide.

    A client that drops out before step 2 has sent nothing, and after it no one waits for it: all
    who have sent count.

    Attributes:
      protocol: whose parties are the members. Its ring is as wide as the sums are.
      quantization: how updates become integers.
      clients: the most that a sum holds.
      like: a pytree of the updates' shapes and dtypes.
      at_least: with fewer clients than these, nothing is opened; 2 or more.
      workers: a worker for each party and, last, for the dealer; see `jsmpc.share`. Without them
        it is a simulation in this process.

    Raises:
      FederatedError: where a sum over so many clients may wrap in the protocol's ring.

    Guarantee: as many members as the protocol allows for learn of the updates no more than the
    weighted mean, the sum of the weights, and who took part, if all members follow the protocol.
    A simulation hides nothing from the machine that it runs on.
    Cost: a client sends each member a word (two with `Replicated3`) for each of its parameters,
    and one; members send each other one opening. They hold one sum, however many clients there are.

    Example:
      >>> import jax, numpy as np, jsmpc
      >>> from jsmpc import federated
      >>> committee = federated.Committee(
      ...     jsmpc.Replicated3(bits=32), federated.Quantization(clip=1.0, most_weight=100),
      ...     clients=100, like=jax.ShapeDtypeStruct((2,), np.float32))
      >>> total = federated.Total()
      >>> for update, weight in (([0.5, -1.0], 30), ([1.0, 1.0], 10)):
      ...     sent = committee.share(jsmpc.random_key(), np.float32(update), weight)
      ...     total = committee.add(total, sent)
      >>> mean, weight = committee.open(total)
      >>> mean.round(3).tolist(), weight
      ([0.625, -0.5], 40)
    """

    protocol: Protocol
    quantization: Quantization
    clients: int
    like: dataclasses.InitVar[Any]
    at_least: int = 2
    workers: Sequence[Any] = ()
    structure: Structure = dataclasses.field(init=False)

    def __post_init__(self, like: Any) -> None:
        object.__setattr__(self, "structure", Structure.of(like))
        if not 2 <= self.at_least <= self.clients:
            raise FederatedError(
                f"committee: at least {self.at_least} of {self.clients} clients is no condition. "
                "Take 2 or more, as one update alone is no secret in a sum, and no more than all"
            )
        sharing.require_protocol(self.protocol)
        need = self.quantization.ring_for(self.clients)
        if need > self.protocol.bits:
            raise FederatedError(
                f"committee: sums over {self.clients} clients need a ring of {need} bits, and "
                f"{type(self.protocol).__name__} has {self.protocol.bits}. Take bits={need}, or a "
                "coarser quantization"
            )

    def share(self, key: Any, update: Any, weight: int, noise: np.ndarray | None = None) -> Share:
        """What a client sends: shares of its words.

        Args:
          key: from `jsmpc.random_key()`, the client's own, for one use.
          update: a pytree like `like`; weight: an integer, as the number of its examples.
          noise: its part of the sum's noise; see `client_noise`.

        Raises:
          UpdateError: for an update or a weight that cannot be encoded; see `Quantization.encode`.
        """
        vector = self.structure.flatten(update)
        found = self.quantization.encode(vector, weight, ring=self.protocol.bits, noise=noise)
        with jax.enable_x64(True):
            return sharing.share(key, _signed(found.words), self.protocol, self.workers)

    def add(self, total: Total, sent: Share) -> Total:
        """The total with what one more client has sent; the members do this, each by itself.

        Raises:
          FederatedError: for shares of another size, or more clients than the sums have room for.
        """
        size = self.structure.size + 1
        if sent.shape != (size,):
            raise FederatedError(f"committee: shares of {size} words are summed, not {sent.shape}")
        if total.clients >= self.clients:
            raise FederatedError(f"committee: more than {self.clients} clients may wrap in the sum")
        with jax.enable_x64(True):
            shares = sent if total.shares is None else _add(prf.random_key(), total.shares, sent)
        return Total(shares, total.clients + 1)

    def open(self, total: Total) -> tuple[Any, int]:
        """The weighted mean, a pytree like `like`, and the sum of weights.

        Raises:
          FederatedError: for fewer clients than `at_least`; nothing is opened then.
        """
        if total.shares is None or total.clients < self.at_least:
            raise FederatedError(
                f"committee: {total.clients} clients have sent their updates, and {self.at_least} "
                "are needed. Repeat the round"
            )
        with jax.enable_x64(True):
            words = np.asarray(sharing.reveal(total.shares))
        mean, weight = self.quantization.decode(words)
        return self.structure.unflatten(mean), weight


class _ByCommittee:
    """See `by_committee`."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee

    def begin(self) -> Total:
        return Total()

    def add(self, total: Total, updates: Any, weights: Any) -> Total:
        for update, weight in zip(np.asarray(updates), whole(weights), strict=True):
            sent = self._committee.share(prf.random_key(), update, weight)
            total = self._committee.add(total, sent)
        return total

    def finish(self, total: Total) -> Any:
        return self._committee.open(total)[0]


def by_committee(committee: Committee) -> Running:
    """An aggregation by a committee for `Federation`, simulated, in bounded memory.

    Args:
      committee: of vectors, `like=jax.ShapeDtypeStruct((parameters,), numpy.float32)`. Weights are
        integers up to the quantization's `most_weight`.

    Example:
      >>> import jax, jax.numpy as jnp, numpy as np, jsmpc
      >>> from jsmpc import federated
      >>> committee = federated.Committee(
      ...     jsmpc.Replicated3(bits=32), federated.Quantization(clip=8.0, most_weight=100),
      ...     clients=2, like=jax.ShapeDtypeStruct((2,), np.float32))
      >>> mean = federated.by_committee(committee)
      >>> total = mean.add(mean.begin(), jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.ones(2))
      >>> mean.finish(total).round(3).tolist()
      [2.0, 4.0]
    """
    return _ByCommittee(committee)


_add = secure(lambda total, sent: total + sent)


def _signed(words: np.ndarray) -> np.ndarray:
    return words.view(f"int{8 * words.dtype.itemsize}")
