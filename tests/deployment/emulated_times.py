"""Times of workloads among three real parties over an emulated network.

    python tests/deployment/emulated_times.py lan|wan [--calls N] [workload…]

From the repository's root, as root. Another network: `--rate`, in bits a second, and
`--round-trip`, in seconds. Prints for each workload the median of the seconds of a call, as the
party that takes longest measures it; the processor time of all parties together; rounds and bytes
by `cost`; what the network takes for these at the least; and what `jsmpc.profile` predicts where
all parties share this machine's cores, with how far that is from the median.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
from emulation import LAN, WAN, Emulation, Wire
from parties import Deployment
from timed_calls import TIMED

import jsmpc
from jsmpc._src.readings.cost import Cost

_PROGRAM = Path(__file__).with_name("timed_calls.py")
_WORKLOADS = ("relu_100k", "mlp_infer_b128", "mlp_train_b128")
_HEAD = (
    *("workload", "median s", "fastest s", "processor s", "rounds", "MB sent", "network s"),
    *("predicted s", "off by"),
)


def measured(wire: Wire, names: list[str], calls: int) -> tuple[list[dict[str, Any]], float]:
    """What each party printed of each workload, and the relay's share of a core."""
    with tempfile.TemporaryDirectory() as folder, Emulation(3, wire) as emulation:
        with Deployment(emulation, Path(folder), _PROGRAM, calls, *names) as deployment:
            ended = deployment.ended(600)
        relay = emulation.relay_seconds()
    for end in ended:
        if end.code:
            raise SystemExit(end.err)
    said = [[json.loads(line) for line in end.out.splitlines()] for end in ended]
    return list(zip(*said, strict=True)), relay


def cost(name: str) -> Cost:
    """What a workload's messages are."""
    workload = TIMED[name]
    smpc = jsmpc.Replicated3()
    given = [
        x if i in workload.public else jsmpc.share(jax.random.key(0), x, smpc)
        for i, x in enumerate(workload.inputs())
    ]
    return jsmpc.secure(workload.function).cost(*given)


def predicted_seconds(name: str, wire: Wire) -> float:
    """What `jsmpc.profile` tells of shapes, for parties that share this machine."""
    workload, cores = TIMED[name], len(os.sched_getaffinity(0))
    network = jsmpc.Network(
        wire.rate, wire.round_trip, "emulated", cores, idle_restart=wire.idle_restart
    )
    given = [
        x if i in workload.public else jax.ShapeDtypeStruct(x.shape, x.dtype)
        for i, x in enumerate(workload.inputs())
    ]
    return jsmpc.profile(workload.function, *given, networks=network).seconds["emulated"]


def network_seconds(cost: Cost, wire: Wire) -> float:
    """Half a round trip for each round, and the bytes of whoever sends most, one after another.

    A round takes longer where one party receives what several send.
    """
    return cost.rounds * wire.round_trip / 2 + 8 * max(cost.bytes_sent) / wire.rate


def _row(name: str, parties: list[dict[str, Any]], wire: Wire) -> list[str]:
    found = cost(name)
    for party, sent in enumerate(found.bytes_sent):
        assert parties[party]["sent"] == sent + found.setup_bytes[party]
    slowest = [max(each) for each in zip(*(p["seconds"] for p in parties), strict=True)]
    processor = sum(statistics.median(p["processor"]) for p in parties)
    median, predicted = statistics.median(slowest), predicted_seconds(name, wire)
    return [
        name,
        f"{median:.4f}",
        f"{min(slowest):.4f}",
        f"{processor:.4f}",
        f"{found.rounds}",
        " ".join(f"{b / 1e6:.2f}" for b in found.bytes_sent),
        f"{network_seconds(found, wire):.4f}",
        f"{predicted:.4f}",
        f"{predicted / median - 1:+.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=("lan", "wan"))
    parser.add_argument("workloads", nargs="*", metavar="workload", default=_WORKLOADS)
    parser.add_argument("--calls", type=int, default=15)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--round-trip", type=float)
    parser.add_argument("--congestion", help="the kernel's congestion control, default: cubic")
    parser.add_argument(
        "--no-idle-restart",
        dest="idle_restart",
        action="store_false",
        help="with net.ipv4.tcp_slow_start_after_idle = 0",
    )
    options = parser.parse_args()
    changed = {
        field: value
        for field in ("rate", "round_trip", "congestion", "idle_restart")
        if (value := getattr(options, field)) is not None
    }
    wire = dataclasses.replace(LAN if options.network == "lan" else WAN, **changed)
    names = list(options.workloads)
    found, relay = measured(wire, names, options.calls)
    rows = [_HEAD, *(_row(n, p, wire) for n, p in zip(names, found, strict=True))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))
    print(f"{wire}; the relay took {relay:.2f} s of the processor in all")


if __name__ == "__main__":
    main()
