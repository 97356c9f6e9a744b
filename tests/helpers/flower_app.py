"""An app of Flower with secure aggregation, for its simulation and for processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from jsmpc import federated, flower

RESULT, NODES = "JSMPC_TEST_RESULT", "JSMPC_TEST_NODES"  # a path, and how many nodes there are
ROUNDS = 1

client = ClientApp(mods=[flower.SecureMod(at_least=2)])
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Adds a tenth of the node's part's number, from 1 on, of which it has as many examples."""
    number = int(context.node_config["partition-id"]) + 1
    (old,) = message.content["arrays"].to_numpy_ndarrays()
    new = ArrayRecord([old + np.float32(number / 10)])
    metrics = MetricRecord({"num-examples": number})
    return Message(RecordDict({"arrays": new, "metrics": metrics}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    nodes = int(os.environ[NODES])
    strategy = flower.SecureAggregation(
        FedAvg(fraction_evaluate=0.0, min_available_nodes=nodes, min_train_nodes=nodes),
        federated.Quantization(clip=1.0, most_weight=10),
    )
    start = ArrayRecord([np.zeros((3, 2), np.float32)])
    result = strategy.start(grid=grid, initial_arrays=start, num_rounds=ROUNDS)
    (found,) = result.arrays.to_numpy_ndarrays()
    survivors = [record.survivors for record in strategy.records]
    Path(os.environ[RESULT]).write_text(json.dumps([found.tolist(), survivors]))


def expected(nodes: int) -> float:
    """Each number after the rounds."""
    numbers = np.arange(1, nodes + 1)
    return float(ROUNDS * (numbers * numbers).sum() / numbers.sum() / 10)


def simulate() -> None:
    """By Flower's simulation."""
    from flwr.simulation import run_simulation

    import flower_app  # as the processes of the simulation import it

    resources: dict[str, Any] = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    nodes = int(os.environ[NODES])
    run_simulation(flower_app.server, flower_app.client, nodes, backend_config=resources)
