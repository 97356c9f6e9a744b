"""What rounds cost in (ε, δ), by Google's dp-accounting."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import math
from types import ModuleType
from typing import Any

import jax

from jsmpc._src.errors import FederatedError

_INTERVAL = 1e-3  # of privacy losses, which are rounded up to multiples
_LEAST_NOISE = 0.3  # that is looked at when noise is sought


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Mechanism:
    """What one round does to clients' privacy: a Gaussian on the sum of a random sample of them.

    Neighbours differ by one client, who is there or not.

    Attributes:
      noise: the noise multiplier: its standard deviation over the largest length of an update.
      rate: with what probability each client takes part, on its own.
      clients: how many there are; most: how many of the sample are taken, at random.
    """

    noise: float
    rate: float = 1.0
    clients: int = 1
    most: int = 1

    def event(self) -> Any:
        """It as a `dp_accounting.DpEvent`.

        Raises:
          FederatedError: without dp-accounting.
        """
        events = library()
        gaussian = events.GaussianDpEvent(self.noise)
        if self.rate >= 1:
            return gaussian
        if self.most >= self.clients:
            return events.PoissonSampledDpEvent(self.rate, gaussian)
        return events.TruncatedSubsampledGaussianDpEvent(
            self.clients, self.rate, self.most, self.noise
        )


Ledger = tuple[tuple[Mechanism, int], ...]
"""Mechanisms in the order of their first use, and how often each was used."""


def entered(ledger: Ledger, mechanism: Mechanism) -> Ledger:
    """The ledger after one more use."""
    uses = {one: int(count) for one, count in ledger}
    return tuple({**uses, mechanism: uses.get(mechanism, 0) + 1}.items())


@functools.lru_cache(maxsize=64)
def epsilon(ledger: Ledger, delta: float) -> float:
    """ε of all that a ledger lists, for a δ: an upper bound, within 0.001 of the tight one or so.

    Raises:
      FederatedError: without dp-accounting, or unless 0 < δ < 1.

    Source: Koskela, Jälkö and Honkela, Computing tight differential privacy guarantees using FFT,
    AISTATS 2020; Doroshenko and others, Connect the dots, PoPETs 2022.
    """
    require_delta(delta)
    library()
    if any(not mechanism.noise for mechanism, _ in ledger):
        return math.inf
    parts = [_composed(mechanism, uses) for mechanism, uses in ledger]
    if not parts:
        return 0.0
    whole = functools.reduce(lambda x, y: x.compose(y), parts)
    return float(whole.get_epsilon_for_delta(delta))


def _composed(mechanism: Mechanism, uses: int) -> Any:
    """The distribution of the privacy loss of so many uses."""
    if mechanism.rate < 1:
        return _sampled_losses(mechanism).self_compose(uses)
    return _losses().from_gaussian_mechanism(
        mechanism.noise / math.sqrt(uses), value_discretization_interval=_INTERVAL
    )


@functools.lru_cache(maxsize=16)
def _sampled_losses(mechanism: Mechanism) -> Any:
    """That of one use, on a sample."""
    interval = {"value_discretization_interval": _INTERVAL}
    if mechanism.most < mechanism.clients:
        return _losses().from_truncated_subsampled_gaussian_mechanism(
            mechanism.clients, mechanism.rate, mechanism.most, mechanism.noise, **interval
        )
    return _losses().from_gaussian_mechanism(
        mechanism.noise, sampling_prob=mechanism.rate, **interval
    )


def _losses() -> ModuleType:
    from dp_accounting.pld import privacy_loss_distribution

    return privacy_loss_distribution


def noise_for(
    epsilon: float,
    delta: float,
    rounds: int,
    *,
    clients: int = 1,
    per_round: int | None = None,
    chunk: int = 1,
) -> float:
    """The noise multiplier with which so many rounds cost at most (ε, δ).

    Args:
      epsilon, delta: the budget; rounds: among how many it is spent.
      clients, per_round, chunk: as of the `Federation`; without `per_round` nothing is gained by
        sampling, as where those who see the aggregates know who took part.

    Raises:
      FederatedError: without dp-accounting, and for a budget that no noise meets.

    Example:
      >>> from jsmpc import federated
      >>> noise = federated.noise_for(2.0, 1e-5, 10)
      >>> round(noise, 1)
      6.3
    """
    require_delta(delta)
    if not epsilon > 0 or rounds < 1:
        raise FederatedError(f"{rounds} rounds cannot cost ε = {epsilon}. Both are positive")
    events = library()
    from dp_accounting.pld import PLDAccountant

    def event(noise: float) -> Any:
        found = Mechanism(noise)
        if per_round is not None:
            found = sampled(noise, clients, per_round, chunk)
        return events.SelfComposedDpEvent(found.event(), rounds)

    def fresh() -> Any:
        return PLDAccountant(value_discretization_interval=_INTERVAL)

    if fresh().compose(event(_LEAST_NOISE)).get_epsilon(delta) <= epsilon:
        return _LEAST_NOISE
    bracket = events.LowerEndpointAndGuess(_LEAST_NOISE, 1.0)
    return float(events.calibrate_dp_mechanism(fresh, event, epsilon, delta, bracket, tol=1e-4))


def sampled(noise: float, clients: int, per_round: int, chunk: int) -> Mechanism:
    """The mechanism of rounds in which every client takes part with the same probability.

    There are slots for five standard deviations more than are expected, in whole chunks; those
    beyond are left out, which the accounting knows.
    """
    rate = per_round / clients
    slots = per_round + 5 * math.sqrt(per_round * (1 - rate))
    whole = min(math.ceil(slots / chunk) * chunk, clients // chunk * chunk)
    return Mechanism(noise, rate, clients, whole)


def require_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise FederatedError(f"δ is a probability between 0 and 1, not {delta}")


def library() -> ModuleType:
    """dp-accounting; FederatedError without it."""
    if importlib.util.find_spec("dp_accounting") is None:
        raise FederatedError(
            "(ε, δ) are computed by dp-accounting, which is missing: pip install 'jsmpc[privacy]'"
        )
    import dp_accounting

    return dp_accounting
