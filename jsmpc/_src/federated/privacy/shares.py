"""Noise that no one knows: every one of many draws a part of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from jsmpc._src.api import sharing
from jsmpc._src.api.share import Share
from jsmpc._src.errors import FederatedError
from jsmpc._src.federated.privacy.gaussian import discrete_gaussian
from jsmpc._src.jaxprs import compat
from jsmpc._src.protocols.base import Protocol
from jsmpc._src.runtime import prf

SMOOTH = 4.0  # units, the least deviation of a part
_TAIL = 14  # standard deviations


def client_noise(key: Any, shape: tuple[int, ...], deviation: float, clients: int) -> np.ndarray:
    """One client's part of the noise of a sum, in units of the quantization: int64 of the shape.

    Args:
      key: the client's own, from `jsmpc.random_key()`, for one use.
      shape: of its update.
      deviation: the standard deviation of the noise of the sum, in units.
      clients: how many honest ones there are at least in the end: of those who take part less who
        drop out, and less who tell the server their noise. The more take part than these, the more
        noise there is.

    Raises:
      FederatedError: unless the part's deviation is 4 units at least: quantize finer.

    Guarantee: on a sum of whole numbers, the parts of so many are as private, for every (ε, δ),
    sampled and composed as one likes, as Gaussian noise of this deviation, but for 2^-200 in ε and
    e^ε·2^-98 in δ for each number drawn. For that the variance is 16 squared units more.

    1. The sum of discrete Gaussians of deviations s_i >= 4 has the probabilities of the one of
       deviation √Σs_i², but for a factor 1 ± 10·exp(−16π²) for each part: their divergence, which
       Kairouz and others bound by 10·Σ_k exp(−2π²s²·k/(k + 1)).
    2. A Gaussian of variance σ² at a whole number, then moved to a whole number by a discrete
       Gaussian of variance 16 about it, has those of the discrete Gaussian of variance σ² + 16, but
       for such a factor; and what is made of a private result is as private.
    3. Each part is drawn to a distance of 2^-100: see `discrete_gaussian`.

    Source: Kairouz, Liu and Steinke, The distributed discrete Gaussian mechanism for federated
    learning with secure aggregation, ICML 2021.

    Example:
      >>> import jsmpc
      >>> from jsmpc import federated
      >>> parts = [
      ...     federated.client_noise(jsmpc.random_key(), (1000,), deviation=100.0, clients=4)
      ...     for _ in range(4)
      ... ]
      >>> bool(80 < sum(parts).std() < 120)
      True
    """
    return np.asarray(discrete_gaussian(key, shape, part(deviation, clients)))


def part(deviation: float, honest: int) -> float:
    """The standard deviation of the part of each of so many, in units; FederatedError."""
    if honest < 1:
        raise FederatedError(f"noise takes one honest part at least, not {honest}")
    found = math.sqrt((deviation**2 + SMOOTH**2) / honest)
    if not found >= SMOOTH:
        raise FederatedError(
            f"noise of a standard deviation of {deviation:g} units in {honest} parts is too coarse "
            f"for its guarantee: {SMOOTH:g} units a part are the least. Quantize finer"
        )
    return found


def joint_noise(protocol: Protocol, shape: tuple[int, ...], deviation: float, dtype: Any) -> Any:
    """A secret array of noise from each party of a protocol, whose sum nobody knows.

    Args:
      deviation: the standard deviation of the noise that counts, as a number in the protocol's
        encoding; dtype: of the shares.

    1. Each of the n parties draws a discrete Gaussian, in units of the last place of the encoding,
       of the variance of the whole over n − t, where t parties may be corrupt.
    2. It shares what it drew.

    Guarantee: as of `client_noise`, against t semi-honest parties, who know their own parts: the
    others have the stated variance. All parts together have n/(n − t) times as much.
    Cost: the sharing of n arrays.
    """
    own = part(deviation * protocol.encoding.scale, protocol.size - protocol.corruptions)
    return [_shared(protocol, shape, own, dtype) for _ in protocol.parties]


def _shared(protocol: Protocol, shape: tuple[int, ...], deviation: float, dtype: Any) -> Share:
    """What one party does: integers, shared, are fixed-point numbers in units of the last place."""
    with compat.protocol_mode():
        drawn = discrete_gaussian(prf.random_key(), shape, deviation)
        shared = sharing.share(prf.random_key(), drawn, protocol)
        return Share(shared.components, protocol, dtype)


def noise_room(deviation: float, clients: int) -> int:
    """What one client's part stays within, but for a probability of 2^-140 a number: units.

    Args:
      deviation, clients: as of `client_noise`.

    Example:
      >>> from jsmpc import federated
      >>> federated.noise_room(deviation=100.0, clients=4)
      701
    """
    return math.ceil(_TAIL * part(deviation, clients))


def most_of(deviation: float, parts: int, honest: int) -> float:
    """What the sum of all parts stays within, but for such a probability."""
    return _TAIL * math.sqrt(parts) * part(deviation, honest)
