"""Asking many workers at the same time, none of whom may hold up the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jsmpc._src.deployment.errors import PolicyError
from jsmpc._src.errors import FederatedError, JsmpcError, LinkError
from jsmpc._src.federated.datasets import FederatedDataset
from jsmpc._src.federated.given import Reason, ShapeError

_THREADS = 256
_log = logging.getLogger("jsmpc")


class Late(TimeoutError):
    """An answer that has not come by the deadline."""


class NotFiniteError(FederatedError):
    """An update that holds NaN or infinity."""


def together(calls: Sequence[Callable[[], Any]], due: float) -> list[Any]:
    """What calls return, or the errors that they meet, in their order.

    One that has not returned by then goes on, and what it returns is let go of.

    Args:
      due: by when they have to return, as `time.monotonic` tells.
    """
    pool = ThreadPoolExecutor(min(max(len(calls), 1), _THREADS))
    waiting = [pool.submit(call) for call in calls]
    pool.shutdown(wait=False)
    found: list[Any] = []
    for one in waiting:
        try:
            found.append(one.result(max(due - time.monotonic(), 0.0)))
        except TimeoutError:
            found.append(Late("it was not done by the deadline"))
        except JsmpcError as error:
            found.append(error)
    return found


def require_in_time(due: float) -> None:
    """Late for who is not done by then, and need not go on."""
    if time.monotonic() > due:
        raise Late("it was not done by the deadline")


def reason_of(found: Any) -> Reason:
    """Why what was asked cannot take part; `NONE` if it is no error."""
    kinds = {
        Late: Reason.LATE,
        NotFiniteError: Reason.NOT_FINITE,
        ShapeError: Reason.SHAPE,
        LinkError: Reason.UNREACHABLE,
        PolicyError: Reason.REFUSED,
        Exception: Reason.FAILED,
    }
    return next((reason for kind, reason in kinds.items() if isinstance(found, kind)), Reason.NONE)


def why(dataset: FederatedDataset, drawn: Sequence[int], results: Sequence[Any]) -> str:
    """The errors of those who are left out, in words."""
    failed = zip(drawn, results, strict=True)
    told = [f"{dataset.workers[i].name}: {x}" for i, x in failed if reason_of(x)]
    return "".join(f"\n  {line}" for line in told)


def note(dataset: FederatedDataset, drawn: Sequence[int], results: Sequence[Any]) -> None:
    """Logs who is left out."""
    if said := why(dataset, drawn, results):
        _log.info("left out of a round:%s", said)
