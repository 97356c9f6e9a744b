"""What a service permits each of its clients."""

from __future__ import annotations

import dataclasses
import math

from jsmpc._src.deployment.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Limits:
    """For each client alike.

    Attributes:
      per_minute: how many inputs it may send a minute, and at once after a pause.
      waiting: how many of its queries may wait or run at once.
      patience: the seconds in which all parties have to get a query.
      deadline: the seconds after which a query that still waits is given up.
    """

    per_minute: float = 6000.0
    waiting: int = 16
    patience: float = 5.0
    deadline: float = 60.0

    def __post_init__(self) -> None:
        for name in ("per_minute", "waiting", "patience", "deadline"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                option = name.replace("_", "-")
                raise ConfigError(f"--{option}: must be a positive number, not {value:g}")


class Bucket:
    """Tokens that flow in steadily, up to a most; what takes more than there are is refused.

    Example:
      >>> bucket = Bucket(per_minute=60, now=0.0)
      >>> bucket.take(59, now=0.0), bucket.take(2, now=0.0), bucket.take(2, now=1.0)
      (True, False, True)
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._most, self._tokens, self._since = per_minute, per_minute, now

    def take(self, tokens: int, now: float) -> bool:
        """Whether there were so many; they are taken then."""
        flown = (now - self._since) * self._most / 60
        self._tokens, self._since = min(self._most, self._tokens + flown), now
        if tokens > self._tokens:
            return False
        self._tokens -= tokens
        return True
