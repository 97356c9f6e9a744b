"""The errors of a service: queries that it does not answer."""

from __future__ import annotations

from jsmpc._src.errors import JsmpcError


class ServiceError(JsmpcError, RuntimeError):
    """A query that a service does not answer, or a model that it cannot serve.

    Attributes:
      reason: in a word, for counts.

    Example:
      >>> import jsmpc
      >>> issubclass(jsmpc.ServiceError, jsmpc.JsmpcError)
      True
    """

    def __init__(self, text: str, reason: str = "failed") -> None:
        super().__init__(text)
        self.reason = reason


class LimitError(ServiceError):
    """A query beyond what a service permits its client: ask again later, or less at once.

    Example:
      >>> import jsmpc
      >>> issubclass(jsmpc.LimitError, jsmpc.ServiceError)
      True
    """
