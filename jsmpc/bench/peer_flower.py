"""Rounds of federated learning in Flower's simulation, run by a Python in which that is installed.

    python peer_flower.py DIRECTORY

It imports nothing of jsmpc. DIRECTORY holds `inputs.npz` (x [clients, examples, features] and
y [clients, examples]) and `task.json`, the fields of `rounds.Task`. The seconds of each round and
the clients' mean loss in it go to standard output, a JSON object. Written for, and run with,
Flower 1.42 with Ray 2.55 (Python 3.11, JAX 0.10.2).

A client's steps are compiled once in each of Ray's processes: the application is a module that
they import.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_HERE, _DIRECTORY = Path(__file__).parent, "JSMPC_BENCH_DIRECTORY"


def _task() -> dict[str, Any]:
    return json.loads((Path(os.environ[_DIRECTORY]) / "task.json").read_text())


@functools.cache
def _client() -> tuple[Any, np.ndarray, np.ndarray]:
    """A client's compiled steps, and all clients' data."""
    import jax
    import optax

    task = _task()
    with np.load(Path(os.environ[_DIRECTORY]) / "inputs.npz") as stored:
        x, y = stored["x"], stored["y"]
    optimizer = optax.sgd(task["learning_rate"])

    def loss(params: Any, rows: Any, labels: Any) -> Any:
        for kernel, bias in zip(params[:-2:2], params[1:-2:2], strict=True):
            rows = jax.nn.relu(rows @ kernel + bias)
        logits = rows @ params[-2] + params[-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def steps(params: Any, x: Any, y: Any, key: Any) -> Any:
        def step(carry: Any, key: Any) -> Any:
            params, state = carry
            rows = jax.random.randint(key, (task["batch"],), 0, len(x))
            value, gradient = jax.value_and_grad(loss)(params, x[rows], y[rows])
            changes, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, changes), state), value

        keys = jax.random.split(key, task["steps"])
        (params, _), losses = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return params, losses.mean()

    return steps, x, y


def _train(message: Any, context: Any) -> Any:
    import jax
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

    steps, x, y = _client()
    number = context.node_config["partition-id"]
    received = message.content["arrays"].to_numpy_ndarrays()
    key = jax.random.fold_in(jax.random.key(number), message.content["config"]["server-round"])
    params, loss = steps(received, x[number], y[number], key)
    metrics = MetricRecord({"loss": float(loss), "num-examples": x.shape[1]})
    arrays = ArrayRecord([np.asarray(p) for p in params])
    return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)


def _main() -> None:
    import peer_flower  # by its name, as Ray's processes import it
    from flwr.app import ArrayRecord
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp
    from flwr.serverapp.strategy import FedAvg
    from flwr.simulation import run_simulation

    task, seconds, losses = _task(), [], []

    class Timed(FedAvg):
        def configure_train(self, *args: Any) -> Any:
            seconds.append(time.perf_counter())
            return super().configure_train(*args)

        def aggregate_train(self, *args: Any) -> Any:
            arrays, metrics = super().aggregate_train(*args)
            assert metrics is not None
            seconds[-1] = time.perf_counter() - seconds[-1]
            losses.append(metrics["loss"])
            return arrays, metrics

    client, server = ClientApp(), ServerApp()
    client.train()(peer_flower._train)

    @server.main()
    def run(grid: Any, context: Any) -> None:
        with np.load(Path(os.environ[_DIRECTORY]) / "start.npz") as stored:
            start = ArrayRecord([stored[name] for name in stored.files])
        strategy = Timed(
            fraction_train=task["per_round"] / task["clients"],
            fraction_evaluate=0.0,
            min_available_nodes=task["clients"],
        )
        strategy.start(grid=grid, initial_arrays=start, num_rounds=task["rounds"])

    resources: dict[str, Any] = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, client, task["clients"], backend_config=resources)
    print(json.dumps({"seconds": seconds, "losses": losses}), file=_RESULTS, flush=True)


if __name__ == "__main__":
    _RESULTS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what Flower and Ray print
    os.environ[_DIRECTORY] = sys.argv[1]
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    os.environ["PYTHONPATH"] = str(_HERE)
    _main()
