"""Rounds whose aggregate is differentially private: clipped, noised, accounted for."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src import kernels
from jsmpc._src.errors import BudgetError, FederatedError
from jsmpc._src.federated.aggregation import mean, total
from jsmpc._src.federated.privacy import accounting, clipping
from jsmpc._src.federated.privacy.accounting import Ledger, Mechanism
from jsmpc._src.federated.privacy.clipping import UNITS, AdaptiveClip
from jsmpc._src.federated.privacy.shares import most_of
from jsmpc._src.federated.secured import Secured, securely
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.protocols.plain import InsecurePlain
from jsmpc._src.runtime import prf


class Spent(NamedTuple):
    """What a private run keeps between rounds.

    Attributes:
      clip: the largest length of an update.
      ledger: which mechanisms were used, and how often.
    """

    clip: Any
    ledger: Ledger = ()


@dataclasses.dataclass(frozen=True)
class Privacy:
    """Differential privacy of clients: what a round's aggregate tells of any one of them.

    Every update is clipped and counts alike, whatever the number of examples: the aggregate is the
    noised sum over how many are expected. Each client takes part on its own, with a probability of
    `per_round` over how many there are; by sampling of a fixed number (ε, δ) would be several times
    as large. The noise is drawn from the operating system's entropy and ChaCha20, not from a
    round's key. What clients report beside, as their losses, is not told: nobody accounts for it.

    With `securely(mean, protocol)` the protocol's parties draw the noise jointly, and nobody
    knows it; with `mean` alone, whoever runs the round adds it, and is trusted: for experiments.

    Attributes:
      noise: the noise multiplier, its standard deviation in the sum over the clip; see `noise_for`.
      clip: the largest Euclidean length of an update, or an `AdaptiveClip`.
      delta: δ, well below one over the number of clients.
      epsilon: the budget: a round that would exceed it is a BudgetError before it begins.
      sample_secret: whether those who see the aggregates don't know who took part, as where the
        model alone is published. If they do, as the server that asks the clients does, sampling
        gains nothing, and each round costs all that a Gaussian does.

    Guarantee: (ε, δ) for neighbours that differ by one client, against all who see the aggregates
    of all rounds and the models that come of them; as of `client_noise` for the noise.

    Source: McMahan, Ramage, Talwar and Zhang, Learning differentially private recurrent language
    models, ICLR 2018 (algorithm 1); Kairouz, Liu and Steinke, ICML 2021.

    Example:
      >>> from jsmpc import federated
      >>> privacy = federated.Privacy(noise=1.0, clip=0.5, delta=1e-5, epsilon=8.0)
      >>> spent = privacy.init()
      >>> for _ in range(3):
      ...     spent = privacy.charged(spent, clients=1000, per_round=100)
      >>> round(privacy.spent(spent), 1)
      2.1
    """

    noise: float
    clip: float | AdaptiveClip
    delta: float
    epsilon: float = math.inf
    sample_secret: bool = True

    def __post_init__(self) -> None:
        accounting.library()
        accounting.require_delta(self.delta)
        if not isinstance(self.clip, AdaptiveClip):
            clipping.require_length(self.clip)
        if not 0 < self.noise < math.inf:
            raise FederatedError(f"a noise multiplier is positive, not {self.noise}")
        if not self.epsilon > 0:
            raise FederatedError(f"a budget is a positive ε, not {self.epsilon}")

    def init(self) -> Spent:
        """What is kept before the first round."""
        first = self.clip.start if isinstance(self.clip, AdaptiveClip) else self.clip
        return Spent(jnp.asarray(first, jnp.float32))

    def slots(self, clients: int, per_round: int, chunk: int) -> int:
        """For how many clients a round has room."""
        return accounting.sampled(self.noise, clients, per_round, chunk).most

    def charged(self, spent: Spent | None, clients: int, per_round: int, chunk: int = 1) -> Spent:
        """With one more round in the ledger.

        Raises:
          FederatedError: without a ledger, as of a state that began without privacy.
          BudgetError: if it would cost more than the budget.
        """
        if spent is None:
            raise FederatedError(
                "the state has no ledger of what is spent: it began without privacy. Begin with "
                "init(params) of this federation"
            )
        mechanism = Mechanism(self.noise)
        if self.sample_secret:
            mechanism = accounting.sampled(self.noise, clients, per_round, chunk)
        after = spent._replace(ledger=accounting.entered(spent.ledger, mechanism))
        if self.epsilon < math.inf and (cost := self.spent(after)) > self.epsilon:
            raise BudgetError(
                f"the round would bring ε to {cost:.3f} at δ = {self.delta:g}, beyond the budget "
                f"of {self.epsilon:g}; {self.spent(spent):.3f} are spent. Stop here, or take more "
                "noise or fewer clients a round from the start: federated.noise_for tells how much"
            )
        return after

    def spent(self, spent: Spent) -> float:
        """ε of all rounds so far."""
        ledger = tuple((mechanism, int(uses)) for mechanism, uses in spent.ledger)
        return accounting.epsilon(ledger, self.delta)

    def require(self, aggregate: Any, room: int, per_round: int) -> None:
        """FederatedError for an aggregate that is no sum, or a ring too small for the sum."""
        protocol = protocol_of(aggregate)
        deviation, count = self._deviations(per_round)
        honest = protocol.size - protocol.corruptions
        most = room * (UNITS + count) + most_of(deviation, protocol.size, honest)
        if most >= protocol.ring.bound:
            raise FederatedError(
                f"the noised sum of {room} clients does not fit a ring of {protocol.bits} bits. "
                "Take 64 bits, fewer clients a round or less noise"
            )

    def mean(
        self, aggregate: Any, updates: Any, present: Any, spent: Spent, per_round: int
    ) -> tuple[Any, Spent]:
        """The noised mean of clipped updates, and what is kept after the round.

        Args:
          aggregate: `mean`, or `securely(mean, …)`.
          updates: float[clients, parameters]; present: who of them takes part, bool[clients].
          per_round: how many were expected.

        1. Each client clips its update, in units of which 2^20 are the clip, and adds one more
           number: plus or minus h for whether it was within the clip, if that adapts.
        2. The sum of those present and of the noise is revealed.
        """
        protocol = protocol_of(aggregate)
        scale = protocol.encoding.scale
        deviation, count = self._deviations(per_round)
        rows = _rows(updates, spent.clip, present, count, scale)
        noised = _noised_sum(protocol, deviation / scale)(rows, present) * (scale / per_round)
        found = noised[: updates.shape[1]] * (spent.clip / UNITS)
        if isinstance(self.clip, AdaptiveClip):
            within = noised[-1] / (2 * count) + 0.5
            spent = spent._replace(clip=self.clip.moved(spent.clip, within))
        return found, spent

    def _deviations(self, per_round: int) -> tuple[float, int]:
        """The standard deviation of the noise in units, and h, half of what the bit counts.

        Vectors of the clip's length and ±h have a length of √(UNITS² + h²), to which the noise
        multiplier refers (Andrew and others, theorem 1, in one vector).
        """
        if not isinstance(self.clip, AdaptiveClip):
            return self.noise * UNITS, 0
        of_count = self.clip.count_noise or per_round / 20
        if of_count <= self.noise / 2:
            raise FederatedError(
                f"noise of {of_count:g} on how many are within the clip leaves none for the "
                f"updates at a multiplier of {self.noise:g}. Take a count_noise of {self.noise:g} "
                "or more"
            )
        whole = self.noise * UNITS / math.sqrt(1 - (self.noise / (2 * of_count)) ** 2)
        half = math.ceil(whole / (2 * of_count))
        return self.noise * math.hypot(UNITS, half), half


def protocol_of(aggregate: Any) -> Protocol:
    """Whose parties add up; FederatedError for an aggregate that is no mean."""
    if aggregate is mean:
        return InsecurePlain()
    if isinstance(aggregate, Secured) and aggregate.aggregate is mean and not aggregate.noise:
        return aggregate.protocol
    raise FederatedError(
        "privacy is of means: of federated.mean, or securely(federated.mean, protocol). It clips "
        "and adds noise by itself"
    )


def sample(key: Any, clients: int, rate: float, room: int) -> tuple[Any, Any]:
    """Who takes part, each on its own with the same probability: numbers, and who of them does.

    Args:
      key: of the round; who knows it knows the sample.
      room: how many numbers there are. Of a sample that is larger, it is a random part.
    """
    with compat.protocol_mode():
        words = np.asarray(kernels.draw(prf.as_key(key), 0, (clients,), np.uint64))
    order = np.argsort(words, kind="stable")[:room]
    below = min(math.floor(rate * 2.0**64), 2**64)
    present = [int(word) < below for word in words[order]]
    return jnp.asarray(order), jnp.asarray(present)


@functools.lru_cache(maxsize=8)
def _noised_sum(protocol: Protocol, deviation: float) -> Secured:
    """One for each protocol and noise, so that it is compiled once."""
    return securely(total, protocol, noise=deviation)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _rows(updates: Any, clip: Any, present: Any, half: int, scale: int) -> Any:
    """The vectors that clients share: multiples of the last place, zero of who is not present."""
    with compat.protocol_mode():
        units, within = clipping.in_units(updates, clip)
        if half:
            bit = jnp.where(within, half, -half).astype(units.dtype)
            units = jnp.concatenate([units, bit[:, None]], axis=1)
        kept = jnp.where(present[:, None], units, 0)
        return (kept / scale).astype(jnp.float32)
