"""Updates cut down to a length, in whole units: what bounds the influence of a client."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jsmpc._src.errors import FederatedError
from jsmpc._src.jaxprs import compat

UNITS = 1 << 20  # of the largest length


@dataclasses.dataclass(frozen=True)
class AdaptiveClip:
    """A largest length that follows a quantile of the lengths of the clients' updates.

    Each client tells with its update whether it is within the length, as one more number of it:
    the noise hides this bit too, and takes its part of the budget.

    Attributes:
      start: the first length.
      quantile: how many of the updates are to be within.
      rate: η: by exp(−η·(share within − quantile)) the length changes after a round.
      count_noise: the standard deviation of the noise of how many are within; a twentieth of the
        clients of a round by default. It is more than half the noise multiplier; the nearer it is
        to that, the more noise the updates get instead.

    Source: Andrew, Thakkar, McMahan and Ramaswamy, Differentially private learning with adaptive
    clipping, NeurIPS 2021 (algorithm 1, theorem 1).
    """

    start: float
    quantile: float = 0.5
    rate: float = 0.2
    count_noise: float | None = None

    def __post_init__(self) -> None:
        require_length(self.start)
        if not 0 < self.quantile < 1 or not self.rate > 0:
            raise FederatedError(
                f"an adaptive clip has a quantile between 0 and 1, and a positive rate, not "
                f"{self.quantile} and {self.rate}"
            )

    def moved(self, clip: Any, within: Any) -> Any:
        """The length after a round in which a share of the updates, about, was within it."""
        return clip * jnp.exp(-self.rate * (within - self.quantile))


def require_length(length: float) -> None:
    if not 0 < length < math.inf:
        raise FederatedError(f"updates are clipped to a positive length, not {length}")


@jax.jit
def in_units(updates: Any, clip: Any) -> tuple[Any, Any]:
    """Updates clipped and rounded to whole units, of which 2^20 are the clip, and who was within.

    Args:
      updates: float[clients, parameters]; clip: the largest Euclidean length.

    Returns:
      int64[clients, parameters] whose rows are no longer than 2^20, for code in 64-bit mode; and
      bool[clients]. An update with NaN or infinity becomes zeros, and is not within.

    It clips to √parameters/2 + 1 units less, as rounding may lengthen by that.
    """
    with compat.protocol_mode():
        exact, clip = updates.astype(jnp.float64), clip.astype(jnp.float64)
        lengths = jnp.sqrt((exact * exact).sum(axis=1))
        whole = UNITS - 1 - math.sqrt(updates.shape[1]) / 2
        factors = jnp.minimum(UNITS / clip, whole / lengths)
        sound = jnp.isfinite(lengths)[:, None]
        found = jnp.where(sound, exact * factors[:, None], 0.0)
        return jnp.round(found).astype(jnp.int64), lengths <= clip


def clipped(update: Any, clip: float, unit: float = 0.0) -> np.ndarray:
    """An update scaled down so that it is no longer than the clip, once it is rounded too.

    For clients who round for themselves, as for masks: see `client_noise`.

    Args:
      update: float[parameters]; clip: the largest Euclidean length.
      unit: to whole multiples of what it will be rounded, to the nearest.

    Raises:
      FederatedError: for NaN or infinity, and for a unit as coarse as the clip.

    Example:
      >>> import numpy as np
      >>> from jsmpc import federated
      >>> federated.clipped(np.array([3.0, 4.0]), clip=1.0).round(3)
      array([0.6, 0.8])
      >>> coarse = federated.clipped(np.array([3.0, 4.0]), clip=1.0, unit=0.01)
      >>> np.round(coarse / 0.01)
      array([60., 79.])
    """
    require_length(clip)
    exact = np.asarray(update, np.float64).ravel()
    whole = clip * (1 - 2.0**-40) - unit * math.sqrt(exact.size) / 2
    if not whole > 0:
        raise FederatedError(
            f"rounding {exact.size} numbers to units of {unit:g} may lengthen them by more than "
            f"the clip of {clip:g}. Quantize finer"
        )
    length = float(np.linalg.norm(exact))
    if not np.isfinite(length):
        raise FederatedError("an update with NaN or infinity cannot be clipped. Leave it out")
    return exact * min(1.0, whole / length) if length else exact
