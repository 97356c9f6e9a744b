"""`python -m jsmpc.bench rounds`: simulated rounds of federated learning, beside Flower's."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import jsmpc
from jsmpc import federated
from jsmpc.examples.datasets.mnist import load_mnist, normalize

_SCRIPT = Path(__file__).with_name("peer_flower.py")
_CHUNK = 5  # clients that are computed at a time


@dataclasses.dataclass(frozen=True)
class Task:
    """Rounds of federated averaging with SGD on the MNIST sample.

    Attributes:
      hidden: widths of the hidden layers; none for logistic regression.
      clients: of equally many images; per_round: how many of them take part in a round.
      steps: of a client in a round; batch: images of each.
    """

    name: str
    hidden: tuple[int, ...]
    clients: int = 100
    per_round: int = 50
    rounds: int = 11
    steps: int = 10
    batch: int = 10
    learning_rate: float = 0.1


TASKS = (
    Task("logistic regression, 784-10", ()),
    Task("multilayer perceptron, 784-128-10", (128,)),
)


@dataclasses.dataclass(frozen=True)
class Found:
    """Rounds as they went: the seconds of each, and the clients' mean loss in it."""

    seconds: Sequence[float]
    losses: Sequence[float]

    def rate(self, task: Task) -> float:
        """Clients a second, without the first round, which compiles: the median's."""
        return task.per_round / float(np.median(self.seconds[1:]))


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m jsmpc.bench rounds",
        description="Simulate rounds of federated averaging on the MNIST sample: the mean in the "
        "clear and by shares of three aggregators, and the same task in Flower's simulation.",
    )
    add = parser.add_argument
    add("--peer-python", metavar="PATH", help="a Python that has flwr[simulation] and JAX")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    secure = federated.securely(federated.mean, jsmpc.Replicated3())
    print("clients a second (all rounds but the first), the first round, mean loss in the last")
    for task in TASKS:
        print(
            f"\n{task.name}: {task.per_round} of {task.clients} clients a round, "
            f"{task.steps} steps of {task.batch} images"
        )
        data, model, start = _prepared(task)
        rows = {
            "in the clear": simulate(task, data, model, start, federated.mean),
            "secure mean": simulate(task, data, model, start, secure),
        }
        if options.peer_python is not None:
            rows["Flower, in the clear"] = on_flower(options.peer_python, task, data, start)
        for name, found in rows.items():
            print(
                f"  {name:<22} {found.rate(task):8,.0f} /s {found.seconds[0]:6.2f} s "
                f"{found.losses[-1]:6.3f}"
            )
    return 0


def simulate(task: Task, data: Any, model: Any, params: Any, aggregate: Any) -> Found:
    """The rounds of a task by this library."""

    def loss(params: Any, batch: Any) -> Any:
        logits = model.apply(params, batch["x"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])

    sgd = optax.sgd(task.learning_rate)
    learning = federated.Federation(
        federated.local_steps(loss, sgd, steps=task.steps, batch=task.batch),
        optax.sgd(1.0),
        task.per_round,
        aggregate,
        chunk=math.gcd(task.per_round, _CHUNK),
    )
    counts = jnp.full(task.clients, data["y"].shape[1], jnp.int32)
    clients = federated.Clients(jax.tree.map(jnp.asarray, data), counts)
    state, seconds, losses = learning.init(params), [], []
    for key in jax.random.split(jax.random.key(1), task.rounds):
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(learning.round(key, state, clients))
        seconds.append(time.perf_counter() - start)
        losses.append(float(metrics.loss))
    return Found(seconds, losses)


def on_flower(python: str, task: Task, data: Any, params: Any) -> Found:
    """The rounds of a task in Flower's simulation."""
    layers = params["params"].values()
    start = [np.asarray(layer[name]) for layer in layers for name in ("kernel", "bias")]
    with tempfile.TemporaryDirectory() as directory:
        np.savez(Path(directory, "inputs.npz"), **data)
        np.savez(Path(directory, "start.npz"), *start)
        Path(directory, "task.json").write_text(json.dumps(dataclasses.asdict(task)))
        command = [python, str(_SCRIPT), directory]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise RuntimeError("Flower's simulation failed")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def _prepared(task: Task) -> tuple[Any, Any, Any]:
    """All clients' data, the model, and its parameters at the start."""
    mnist = load_mnist()
    each = len(mnist.y_train) // task.clients
    parts = np.stack(federated.equal(jax.random.key(0), task.clients * each, task.clients))
    data = {"x": normalize(mnist.x_train)[parts], "y": mnist.y_train.astype(np.int32)[parts]}
    layers: list[Any] = [layer for width in task.hidden for layer in (nn.Dense(width), nn.relu)]
    model = nn.Sequential([*layers, nn.Dense(10)])
    return data, model, model.init(jax.random.key(2), data["x"][0, :1])
