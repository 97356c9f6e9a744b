"""What all endpoints run next: party 0 leads, the others answer and follow.

Once in a while, at once where a query has come or waits, the leading party tells the others

- `offer`: the queries that it has and of which it does not know yet whether all have them;
- `drop`: those that it has given up;
- `batch`: those that all run now, which all were known to have; a dealer gets their size alone.
  Where there are queries to be offered, the message before a batch does so;
- `stop` that no query is admitted any more, and `end` that this was the last message;

and each of them answers which of the offered ones it has, and whether it was told to stop. So a
query that one party lacks holds up no other one, and a party always has what is run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from jsmpc._src.deployment.session import Deployed
from jsmpc._src.errors import LinkError
from jsmpc._src.service.waiting import Key, Query, Waiting

TICK = 0.25  # seconds between two messages where there is nothing to do
STOPS = "the service stops, and takes no more queries. Ask again once it has been started"
_MOST = 1 << 20  # bytes of a message

# Runs the queries of a batch, which have so many inputs; a dealer gets their number alone.
Run = Callable[[Sequence[Query], int], None]


def serve(
    session: Deployed, waiting: Waiting, largest: int, run: Run, idle: Callable[[], None]
) -> None:
    """Agrees on batches and runs them, until an endpoint has stopped and nothing waits.

    Args:
      largest: the most inputs of a batch.
      run: what runs one; idle: what is called after a message without one.

    Raises:
      LinkError: if another endpoint is gone.
    """
    if session.endpoint == 0:
        _lead(session, waiting, largest, run, idle)
    else:
        _follow(session, waiting, run, idle)


def _lead(
    session: Deployed, waiting: Waiting, largest: int, run: Run, idle: Callable[[], None]
) -> None:
    told_to_stop = asked = False
    while True:
        waiting.wait(TICK)
        offered = waiting.due()
        # What the others have just been asked for belongs to the next batch, not to the one after.
        asked = bool(offered) and not asked
        batch = [] if asked else waiting.batch(largest)
        size = sum(q.count for q in batch)
        message = {
            "offer": [[q.caller, q.number.hex(), q.digest.hex()] for q in offered],
            "drop": [[caller, number.hex(), why] for (caller, number), why in waiting.given_up()],
            "batch": [[q.caller, q.number.hex()] for q in batch],
            "size": size,
            "stop": waiting.stopping,
            "end": told_to_stop and not len(waiting),
        }
        told_to_stop = waiting.stopping
        has = _asked(session, waiting, message)
        for i, query in enumerate(offered):
            waiting.heard(query, [name for name, found in has.items() if not found[i]])
        run(batch, size) if batch else idle()
        if message["end"]:
            return


def _asked(
    session: Deployed, waiting: Waiting, message: dict[str, Any]
) -> dict[str, Sequence[bool]]:
    """Tells all others a message; which of the offered queries each party has."""
    names, parties = session.protocol.endpoints, session.protocol.size
    others = [i for i in session.present if i != session.endpoint]
    for other in others:
        # What clients ask is none of a dealer's business.
        shown = message if other < parties else {**message, "offer": [], "drop": [], "batch": []}
        session.links.send_bytes(other, json.dumps(shown).encode())
    found = {}
    for other in others:
        heard = _read(session, other)
        if heard["stop"]:
            waiting.stop(STOPS)
        if other < parties:
            found[names[other]] = heard["has"]
    return found


def _follow(session: Deployed, waiting: Waiting, run: Run, idle: Callable[[], None]) -> None:
    while True:
        message = _read(session, 0)
        if message["stop"]:
            waiting.stop(STOPS)
        has = [waiting.confirm(_key(*query), bytes.fromhex(d)) for *query, d in message["offer"]]
        for *query, why in message["drop"]:
            waiting.drop(_key(*query), why)
        waiting.expire()
        answer = {"has": has, "stop": waiting.stopping}
        session.links.send_bytes(0, json.dumps(answer).encode())
        batch = waiting.take(_key(*query) for query in message["batch"])
        run(batch, message["size"]) if message["size"] else idle()
        if message["end"]:
            return


def _key(caller: str, number: str) -> Key:
    return caller, bytes.fromhex(number)


def _read(session: Deployed, other: int) -> dict[str, Any]:
    try:
        return dict(json.loads(session.links.receive_bytes(other, _MOST)))
    except ValueError:
        name = session.protocol.endpoints[other]
        raise LinkError(f"{name} sends what no endpoint of a service sends") from None
