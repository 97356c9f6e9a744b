"""`python -m jsmpc.bench federated`: secure aggregation of updates while clients drop out.

What is compared is the clients' bytes and time, the server's time, and the error of the mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

import jsmpc
from jsmpc import federated
from jsmpc.bench.report import cpu_model
from jsmpc.bench.serving import peak_bytes

_MOST_WEIGHT = 100
_STEPS = "advertise", "share", "mask", "unmask"


@dataclasses.dataclass(frozen=True)
class Task:
    """What is aggregated: updates that are drawn when they are asked for, in [-1, 1].

    Attributes:
      clients, parameters: how many; dropping: of the clients, at random steps.
      repeat: how often it is done; the least times count.
    """

    clients: int
    parameters: int
    dropping: int
    repeat: int

    def __len__(self) -> int:
        return self.clients

    def __getitem__(self, client: int) -> np.ndarray:
        if not 0 <= client < self.clients:
            raise IndexError(client)
        return np.random.default_rng(client).uniform(-1, 1, self.parameters).astype(np.float32)

    @property
    def weights(self) -> list[int]:
        return np.random.default_rng(0).integers(1, _MOST_WEIGHT + 1, self.clients).tolist()

    @property
    def dropped(self) -> dict[int, str]:
        """Who drops out, and at which step."""
        rng = np.random.default_rng(1)
        who = rng.choice(self.clients, self.dropping, replace=False).tolist()
        return dict(zip(who, rng.choice(_STEPS, self.dropping).tolist(), strict=True))

    def plain(self, survivors: Iterable[int]) -> np.ndarray:
        """The weighted mean of those who count, in float64."""
        total, weight = np.zeros(self.parameters), 0
        for u in survivors:
            total += self.weights[u] * self[u].astype(np.float64)
            weight += self.weights[u]
        return total / weight


@dataclasses.dataclass(frozen=True)
class Found:
    """What a way of aggregation took.

    Attributes:
      sent: bytes of a client, at most; received: also.
      client_seconds: of a client, on average; server_seconds: of the server, or of all of them.
      error: the largest of a coordinate; bound: what it may be.
    """

    sent: int
    received: int
    client_seconds: float
    server_seconds: float
    error: float
    bound: float


def full(task: Task) -> Found:
    """Masks of everyone with everyone."""
    return _by_one_server(task, federated.OneServer.full(**_setup(task)))


def sparse(task: Task) -> Found:
    """Masks with some neighbours; a fifth of the clients may be corrupt, and a fifth drop out."""
    fifth = task.clients // 5
    return _by_one_server(
        task,
        federated.OneServer.sparse(
            **{**_setup(task), "dropping": fifth}, corrupt=fifth, seed=b"jsmpc.bench"
        ),
    )


def signed(task: Task) -> Found:
    """Masks of everyone with everyone, against a server that may deviate."""
    private, public = zip(*(federated.new_identity() for _ in range(task.clients)), strict=True)
    setup = federated.OneServer.full(**_setup(task), identities=public)
    return _by_one_server(task, setup, private)


def committee(task: Task) -> Found:
    """Shares for three aggregators, who add them up as they come: who drops out sends none."""
    rule = _rule()
    protocol = jsmpc.Replicated3(bits=32 if rule.ring_for(task.clients) == 32 else 64)
    like = jax.ShapeDtypeStruct((task.parameters,), np.float32)
    members = federated.Committee(protocol, rule, task.clients, like)
    here = [u for u in range(task.clients) if u not in task.dropped]
    runs = [_by_committee(members, task, here) for _ in range(task.repeat)]
    clients, servers, means = zip(*runs, strict=True)
    words = protocol.size * 2 * (task.parameters + 1)  # each of a replicated share's holders
    error = float(abs(means[0] - task.plain(here)).max())
    bound = rule.error + 2.0**-24
    return Found(words * protocol.bits // 8, 0, min(clients), min(servers), error, bound)


def _by_committee(
    members: federated.Committee, task: Task, here: Sequence[int]
) -> tuple[float, float, Any]:
    """Seconds of a client and of the members together, and the mean."""
    total, seconds, weights = federated.Total(), np.zeros(2), task.weights
    for u in here:
        update, times = task[u], [time.perf_counter()]
        sent = jax.block_until_ready(members.share(jsmpc.random_key(), update, weights[u]))
        times.append(time.perf_counter())
        total = jax.block_until_ready(members.add(total, sent))
        times.append(time.perf_counter())
        seconds += np.diff(times)
    start = time.perf_counter()
    mean, _ = members.open(total)
    return seconds[0] / len(here), seconds[1] + time.perf_counter() - start, mean


ROWS: dict[str, Callable[[Task], Found]] = {
    "committee of three": committee,
    "one server, everyone": full,
    "one server, neighbours": sparse,
    "one server, signed": signed,
}


def _rule() -> federated.Quantization:
    return federated.Quantization(clip=1.0, bits=16, most_weight=_MOST_WEIGHT)


def _setup(task: Task) -> dict[str, Any]:
    return {
        "clients": task.clients,
        "dropping": 2 * task.dropping,
        "quantization": _rule(),
        "like": jax.ShapeDtypeStruct((task.parameters,), np.float32),
    }


def _by_one_server(
    task: Task, setup: federated.OneServer, identities: Sequence[bytes] = ()
) -> Found:
    runs = [
        federated.simulate(
            setup,
            task,
            task.weights,
            dropped=task.dropped,
            round_number=number,
            identities=identities,
        )
        for number in range(task.repeat)
    ]
    result = runs[0].result
    here = list(result.record.survivors)
    error = float(abs(result.mean - task.plain(here)).max())
    return Found(
        int(max(run.sent.max() for run in runs)),
        int(max(run.received.max() for run in runs)),
        min(float(run.client_seconds[here].mean()) for run in runs),
        min(run.server_seconds for run in runs),
        error,
        setup.quantization.error + 2.0**-24,  # the mean is rounded to float32
    )


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m jsmpc.bench federated",
        description="Aggregate updates of clients, some of whom drop out at random steps, and "
        "compare with the plain weighted mean.",
    )
    add = parser.add_argument
    add("--clients", type=int, default=100, metavar="N", help="default: 100")
    add("--parameters", type=int, default=1_000_000, metavar="N", help="default: 1,000,000")
    add("--dropping", type=int, default=10, metavar="N", help="of the clients, default: 10")
    add("--way", choices=list(ROWS), action="append", help="which; all by default")
    add("--repeat", type=int, default=3, metavar="N", help="runs of which the best counts")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if a mean is not the plain one to quantization."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if min(options.parameters, options.repeat, options.dropping) < 1:
        parser.error("--parameters, --dropping and --repeat take positive numbers")
    if options.clients < 5 * options.dropping:
        parser.error("--clients is five times --dropping or more")
    task = Task(options.clients, options.parameters, options.dropping, options.repeat)
    print(
        f"{task.clients} clients, {task.parameters:,} parameters, {task.dropping} drop out; best "
        f"of {task.repeat}; {cpu_model()}, {os.cpu_count()} cores",
        end="\n\n",
    )
    print(_row(("way", "MB sent", "MB received", "client s", "server s", "error", "bound")))
    wrong = 0
    for name in options.way or ROWS:
        found = ROWS[name](task)
        megabytes = [f"{count / 1e6:.3f}" for count in (found.sent, found.received)]
        seconds = [f"{s:.3f}" for s in (found.client_seconds, found.server_seconds)]
        errors = [f"{e:.1e}" for e in (found.error, found.bound)]
        print(_row((name, *megabytes, *seconds, *errors)), flush=True)
        wrong += found.error > found.bound
    print(f"\nlargest resident size of this process: {peak_bytes() / 1e6:,.0f} MB")
    return int(wrong > 0)


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{cell:>13}" for cell in cells[1:])
