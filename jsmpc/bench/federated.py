"""`python -m jsmpc.bench federated`: secure aggregation of updates while clients drop out.

What is compared is the clients' bytes and time, the server's time, and the error of the mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jsmpc import federated
from jsmpc.bench.report import cpu_model

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


ROWS: dict[str, Callable[[Task], Found]] = {
    "one server, everyone": full,
    "one server, neighbours": sparse,
    "one server, signed": signed,
}


def _setup(task: Task) -> dict[str, Any]:
    return {
        "clients": task.clients,
        "dropping": 2 * task.dropping,
        "quantization": federated.Quantization(clip=1.0, bits=16, most_weight=_MOST_WEIGHT),
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
    for name, way in ROWS.items():
        found = way(task)
        megabytes = [f"{count / 1e6:.3f}" for count in (found.sent, found.received)]
        seconds = [f"{s:.3f}" for s in (found.client_seconds, found.server_seconds)]
        errors = [f"{e:.1e}" for e in (found.error, found.bound)]
        print(_row((name, *megabytes, *seconds, *errors)), flush=True)
        wrong += found.error > found.bound
    return int(wrong > 0)


def _row(cells: Sequence[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{cell:>13}" for cell in cells[1:])
