"""Updates as integers of a ring: what sums exactly, and never wraps."""

from __future__ import annotations

import dataclasses
import math
import secrets
from typing import Any, Literal, NamedTuple

import numpy as np

from jsmpc._src.errors import FederatedError

RINGS = (32, 64)
_MOST_BITS = 32


class UpdateError(FederatedError):
    """An update, or a weight, that cannot be encoded.

    Attributes:
      reason: in a few words that tell nothing of its values, for a round's record.

    Example:
      >>> import numpy as np
      >>> from jsmpc import federated
      >>> federated.Quantization(clip=1.0).encode(np.array([0.5, np.nan]), 1, ring=32)
      Traceback (most recent call last):
          ...
      jsmpc.federated.UpdateError: quantization: the update holds NaN or infinity. …
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"quantization: {text}")
        self.reason = reason


class Encoded(NamedTuple):
    """An update in the ring.

    Attributes:
      words: uint32 or uint64 [parameters + 1]: the update by its weight, and the weight.
      clipped: how many of its coordinates were beyond the clip.
    """

    words: np.ndarray
    clipped: int


@dataclasses.dataclass(frozen=True)
class Quantization:
    """How clients write real updates as integers that add up to a weighted mean.

    A coordinate x becomes q = round(x / unit), with unit = clip / (2^(bits−1) − 1); a client of
    weight w sends w·q, and w itself as a last coordinate. Sums are exact modulo 2^32 or 2^64, so
    Σ w·q · unit / Σ w is the weighted mean of the rounded updates: within unit / 2 of that of the
    updates in every coordinate if they are rounded to the nearest, within one unit (and right in
    expectation) if stochastically, beside float64's own rounding.

    Attributes:
      clip: no coordinate is to be larger than this, in absolute value.
      bits: of a rounded coordinate with its sign, 2 to 32.
      most_weight: the largest weight of a client, as of a number of examples; the least is 1.
      room: how much noise a client may add to a coordinate, in units, in absolute value.
      rounding: to the "nearest" integer, halves to even ones; or "stochastic", up with the
        probability of what is lost by rounding down, drawn from the operating system's entropy.
      beyond: what a coordinate larger than the clip is: an "error", or set to the clip ("clip").
      ring: 32 or 64 bits; by default the smallest that holds the sums of all clients.

    Raises:
      FederatedError: for attributes that are none of these.

    Example:
      >>> import numpy as np
      >>> from jsmpc import federated
      >>> rule = federated.Quantization(clip=1.0, bits=16, most_weight=100)
      >>> ring = rule.ring_for(clients=2)
      >>> x = rule.encode(np.array([0.5, -1.0]), 30, ring=ring).words
      >>> y = rule.encode(np.array([1.0, 1.0]), 10, ring=ring).words
      >>> mean, weight = rule.decode(x + y)
      >>> [round(float(m), 4) for m in mean], weight
      ([0.625, -0.5], 40)
    """

    clip: float
    bits: int = 16
    most_weight: int = 1
    room: int = 0
    rounding: Literal["nearest", "stochastic"] = "nearest"
    beyond: Literal["error", "clip"] = "error"
    ring: Literal[32, 64] | None = None

    def __post_init__(self) -> None:
        _require(math.isfinite(self.clip) and self.clip > 0, "the clip is positive and finite")
        _require(2 <= self.bits <= _MOST_BITS, f"bits are 2 to {_MOST_BITS}, not {self.bits}")
        _require(self.most_weight >= 1, f"most_weight is 1 or more, not {self.most_weight}")
        _require(self.room >= 0, f"room is 0 or more, not {self.room}")
        _require(self.rounding in ("nearest", "stochastic"), "rounding is nearest or stochastic")
        _require(self.beyond in ("error", "clip"), "beyond is error or clip")
        _require(self.ring in (None, *RINGS), "the ring has 32 or 64 bits")

    @property
    def levels(self) -> int:
        """The largest integer that a coordinate becomes."""
        return (1 << (self.bits - 1)) - 1

    @property
    def unit(self) -> float:
        """What an integer of 1 stands for."""
        return self.clip / self.levels

    @property
    def error(self) -> float:
        """The most that a coordinate of the mean is off, unless it was clipped."""
        return self.unit / 2 if self.rounding == "nearest" else self.unit

    def largest_sum(self, clients: int) -> int:
        """The largest absolute value that a sum over so many clients may have."""
        return clients * (self.most_weight * self.levels + self.room)

    def ring_for(self, clients: int) -> int:
        """The bits of the ring in which sums over so many clients never wrap.

        Raises:
          FederatedError: if no ring, or not the one that was asked for, has room for them.
        """
        need = self.largest_sum(clients).bit_length() + 1
        for ring in RINGS if self.ring is None else (self.ring,):
            if need <= ring:
                return ring
        most = self.ring or max(RINGS)
        raise FederatedError(
            f"quantization: sums over {clients} clients may need {need} bits, and the ring has "
            f"{most}. Take fewer bits, a smaller most_weight or less room"
            + (", or the ring of 64 bits" if most < max(RINGS) else "")
        )

    def encode(
        self, vector: Any, weight: int, *, ring: int, noise: np.ndarray | None = None
    ) -> Encoded:
        """An update as words of a ring that was found by `ring_for`.

        Args:
          vector: float[parameters]; weight: of the client, an integer from 1 to `most_weight`.
          noise: int[parameters] to be added, in units, no larger than `room`. It is not weighted.

        Raises:
          UpdateError: for a vector that holds NaN or infinity, that is no vector of floats, or
            that is beyond the clip where this is an error; for a weight or noise out of range.
        """
        x = _floats(vector)
        weight = self._weighed(weight)
        beyond = int(np.count_nonzero(np.abs(x) > self.clip))
        if beyond and self.beyond == "error":
            raise UpdateError(
                f"{beyond} of {x.size} coordinates are beyond the clip. Clip the update before, "
                'take a larger clip, or beyond="clip"',
                "beyond the clip",
            )
        rounded = np.clip(self._rounded(x / self.unit), -self.levels, self.levels)
        words = np.empty(x.size + 1, np.int64)
        np.multiply(rounded.astype(np.int64), weight, out=words[:-1])
        words[-1] = weight
        if noise is not None:
            words[:-1] += self._fitting(noise, x.size)
        return Encoded(words.astype(np.dtype(f"uint{ring}")), beyond)

    def decode(self, total: np.ndarray) -> tuple[np.ndarray, int]:
        """The weighted mean, float64[parameters], and the sum of weights, of a sum of words.

        Raises:
          FederatedError: for a sum of weights that is not positive, so that there is no mean.
        """
        signed = total.view(f"int{8 * total.dtype.itemsize}")
        weight = int(signed[-1])
        _require(weight > 0, "the sum of weights is not positive: this is no sum of updates")
        return signed[:-1] * (self.unit / weight), weight

    def _rounded(self, scaled: np.ndarray) -> np.ndarray:
        if self.rounding == "nearest":
            return np.rint(scaled)
        random = np.frombuffer(secrets.token_bytes(8 * scaled.size), np.uint64)
        return np.floor(scaled + (random >> np.uint64(11)) * 2.0**-53)

    def _weighed(self, weight: Any) -> int:
        whole = isinstance(weight, int | np.integer) and not isinstance(weight, bool)
        if not whole or not 1 <= weight <= self.most_weight:
            raise UpdateError(
                f"a weight is an integer from 1 to {self.most_weight}. Take a larger most_weight, "
                "or round it",
                "weight out of range",
            )
        return int(weight)

    def _fitting(self, noise: Any, size: int) -> np.ndarray:
        found = np.asarray(noise)
        if found.shape != (size,) or not np.issubdtype(found.dtype, np.integer):
            raise UpdateError(f"noise is an integer for each of {size} coordinates", "noise")
        if found.size and max(int(found.max()), -int(found.min())) > self.room:
            raise UpdateError(f"noise is beyond its room of {self.room} units", "noise")
        return found.astype(np.int64)


def whole(weights: Any) -> list[int]:
    """Weights as integers; UpdateError for others."""
    found = np.asarray(weights, np.float64)
    if (found != np.rint(found)).any():
        raise UpdateError(
            "weights of quantized updates are integers, as numbers of examples. Round them",
            "weight out of range",
        )
    return [int(w) for w in found]


def _floats(vector: Any) -> np.ndarray:
    x = np.asarray(vector)
    if x.ndim != 1 or (not np.issubdtype(x.dtype, np.floating) and x.dtype.name != "bfloat16"):
        raise UpdateError(
            f"an update is a vector of floats, not {x.dtype}{list(x.shape)}", "wrong shape or dtype"
        )
    x = x.astype(np.float64)
    if not np.isfinite(x).all():
        raise UpdateError(
            "the update holds NaN or infinity. Leave this client out, or find where it comes from",
            "not finite",
        )
    return x


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise FederatedError(f"quantization: {problem}")
