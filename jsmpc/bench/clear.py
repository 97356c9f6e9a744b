"""A model served in the clear: what a private service is compared with.

    python -m jsmpc.bench.clear DIRECTORY WEIGHTS LARGEST

One process with the transport, the waiting queries and the sizes of batches of `jsmpc serve`, and
`jax.jit` in the place of parties. Queries and answers are plain arrays.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.serialization import msgpack_restore

from jsmpc._src.service import model
from jsmpc._src.service.limits import Limits
from jsmpc._src.service.prediction import sizes
from jsmpc._src.service.waiting import Query, Waiting
from jsmpc._src.transport.directory import Directory
from jsmpc._src.transport.server import Server

WORKER = "clear"


def serve(directory: Path, weights: Path, largest: int) -> None:
    """Answers queries until SIGTERM."""
    served = model.load("mnist")
    params = msgpack_restore(weights.read_bytes())
    apply = jax.jit(served.batched)
    waiting = Waiting(Limits(per_minute=1e9, waiting=1000))

    def handle(caller: str, request: dict[str, Any]) -> dict[str, Any]:
        inputs = request["inputs"]
        query = Query(caller, request["number"], len(inputs), b"", (inputs,))
        waiting.admit(query)
        return {"results": query.answer.result(60.0)}

    def predict(inputs: np.ndarray) -> np.ndarray:
        padded = next(size for size in sizes(largest) if size >= len(inputs))
        filling = np.zeros((padded - len(inputs), *inputs.shape[1:]), inputs.dtype)
        return np.asarray(apply(params, np.concatenate([inputs, filling])))

    for size in sizes(largest):
        predict(np.zeros((size, *served.input.shape), served.input.dtype))
    signal.signal(signal.SIGTERM, lambda *_: waiting.stop("it stops"))
    with Server(Directory.load(directory), WORKER, None, handle, calls=64):
        print("ready", flush=True)
        while not waiting.stopping:
            waiting.wait(0.25)
            for query in waiting.due():
                waiting.heard(query, [])
            if not (batch := waiting.batch(largest)):
                continue
            found, start = predict(np.concatenate([q.rows[0] for q in batch])), 0
            for query in batch:
                end = start + query.count
                waiting.finish(query, [found[start:end]])
                start = end


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
