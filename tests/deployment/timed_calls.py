"""What each party of `emulated_times.py` runs: workloads of the benchmark, and a clock.

Arguments: how often each is called, and the names of the workloads.
"""

from __future__ import annotations

import json
import sys
import time

import jax
import numpy as np

import jsmpc
from jsmpc._src.api.session import current
from jsmpc.bench.workloads import WORKLOADS, Workload

_RELU = Workload(
    "relu_100k",
    "ReLU of 100,000 values",
    jax.nn.relu,
    lambda rng: ((3 * rng.standard_normal(100_000)).astype(np.float32),),
)
TIMED = {**WORKLOADS, _RELU.name: _RELU}


def main(calls: int, names: list[str]) -> None:
    links = current().links
    for name in names:
        workload = TIMED[name]
        given = [
            x if i in workload.public else jsmpc.input(x, owner="party0")
            for i, x in enumerate(workload.inputs())
        ]
        f = jsmpc.secure(workload.function)
        seconds, processor = [], []
        for call in range(calls + 2):  # the first compiles, and compares; the second opens windows
            before = time.perf_counter(), time.process_time(), sum(links.sent.values())
            f(jsmpc.random_key(), *given)
            if call >= 2:
                seconds.append(time.perf_counter() - before[0])
                processor.append(time.process_time() - before[1])
        print(
            json.dumps(
                {
                    "name": name,
                    "seconds": seconds,
                    "processor": processor,
                    "sent": sum(links.sent.values()) - before[2],
                }
            )
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
