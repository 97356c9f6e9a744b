"""What a party answers its clients."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from concurrent.futures import TimeoutError as Late
from typing import Any

from jsmpc._src.deployment.config import Config
from jsmpc._src.errors import ServiceError
from jsmpc._src.service import query
from jsmpc._src.service.limits import Limits
from jsmpc._src.service.metrics import Metrics
from jsmpc._src.service.model import Model
from jsmpc._src.service.prediction import Prediction
from jsmpc._src.service.waiting import Waiting

STARTING = "the service is about to start: its programs are compiled. Ask again in a while"


class Requests:
    """Handles the requests of clients, in one of several threads each.

    Args:
      config: of the parties; rank: of this one.
      noticed: told of each request that is refused, the caller and the reason in a word.
    """

    def __init__(
        self,
        config: Config,
        rank: int,
        model: Model,
        waiting: Waiting,
        limits: Limits,
        noticed: Callable[[str, str], None],
        metrics: Metrics,
    ) -> None:
        self._config, self._rank, self._model = config, rank, model
        self._waiting, self._limits = waiting, limits
        self._noticed, self._metrics = noticed, metrics
        self._parties: Collection[str] = [peer.name for peer in config.peers]
        self._prediction: Prediction | None = None

    def open(self, prediction: Prediction) -> None:
        """Predictions can be asked for from now on."""
        self._prediction = prediction

    @property
    def opened(self) -> bool:
        """Whether predictions could be asked for."""
        return self._prediction is not None

    def __call__(self, caller: str, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request; ServiceError."""
        try:
            if caller in self._parties:
                raise ServiceError(f"{caller} is no client of this service", "stranger")
            if self._prediction is None:
                raise ServiceError(STARTING, "starting")
            match request:
                case {"do": "describe"}:
                    return self._described(self._prediction)
                case {"do": "predict"}:
                    return self._predicted(self._prediction, caller, request)
                case {"do": "withdraw", "number": bytes(number)}:
                    self._waiting.withdraw((caller, number))
                    return {}
            raise ServiceError("no request that a service knows", "malformed")
        except ServiceError as error:
            if error.reason in ("stranger", "starting", "malformed"):
                self._noticed(caller, error.reason)
            raise

    def _described(self, prediction: Prediction) -> dict[str, Any]:
        kind = self._model.input
        return {
            "parties": self._config.fingerprint,
            "input": [list(kind.shape), kind.dtype.name],
            "results": prediction.results,
            "largest": prediction.largest,
        }

    def _predicted(
        self, prediction: Prediction, caller: str, request: dict[str, Any]
    ) -> dict[str, Any]:
        start, smpc = time.monotonic(), self._config.protocol
        asked = query.received(
            smpc, self._rank, self._model.input, prediction.largest, caller, request
        )
        self._waiting.admit(asked)
        longest = self._limits.deadline + self._limits.patience
        try:
            answer = asked.answer.result(2 * longest)
        except Late:
            raise ServiceError("the query was not answered in time", "deadline") from None
        self._metrics.answered(caller, asked.count, time.monotonic() - start)
        return {"summands": answer}
