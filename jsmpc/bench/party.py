"""One endpoint of a workload among real parties: what `processes` has `jsmpc launch` run.

    python -m jsmpc launch party.py SOCKET WORKLOAD PHASE

Each endpoint connects to the Unix socket, says its name, and answers the requests that come there:
`prepare`, `run` and `finish`, as `serving` does. It ends when nobody asks any more.
"""

from __future__ import annotations

import socket
import sys
import warnings
from typing import Any

import jax

import jsmpc
from jsmpc._src.api.session import current
from jsmpc.bench import measure, serving
from jsmpc.bench.table import WORKLOADS


class Party:
    """A workload at this endpoint; the first party owns all inputs."""

    def __init__(self, workload: str, phase: str):
        session = current()
        assert session is not None
        self._workload, self._session = WORKLOADS[workload], session
        owner = session.protocol.parties[0]
        args = [
            jax.numpy.asarray(x) if i in self._workload.public else jsmpc.input(x, owner)
            for i, x in enumerate(self._workload.inputs())
        ]
        self._calls = measure.Calls(self._workload, args, phase)
        self.prepare, self.run = self._calls.prepare, self._calls.run

    def finish(self) -> dict[str, Any]:
        peak = serving.peak_bytes()
        found = measure.revealed(self._calls.result)
        if self._session.endpoint != 0:
            return {"peak_bytes": peak}
        error = measure.largest_error(found, measure.reference(self._workload))
        return {"peak_bytes": peak, "max_error": error}


def main(address: str, workload: str, phase: str) -> None:
    """Serve one workload as the endpoint that this process is."""
    warnings.simplefilter("ignore", jsmpc.EncodingWarning)
    session = current()
    assert session is not None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        with connection.makefile("r") as requests, connection.makefile("w") as replies:
            replies.write(session.name + "\n")
            replies.flush()
            if not serving.answer(lambda: Party(workload, phase), requests, replies):
                raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
