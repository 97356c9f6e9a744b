"""One workload on SPU or CrypTen, run by a Python in which that is installed.

    python peers.py PEER WORKLOAD DIRECTORY

It imports nothing of jsmpc; the files beside it, which it loads by their path, do not either.
DIRECTORY holds `inputs.npz`; the opened result of the last run is left there as `outputs.npz`.
Written for, and run with, SPU 0.9.5 (Python 3.11, JAX 0.4.34) and CrypTen 0.4.1 (Python 3.9,
PyTorch 1.12.1: from Python 3.10 on that one refuses numbers that CrypTen passes to it).

As in jsmpc, a run is the secure computation alone: inputs are shared before, results are not
opened. SPU's parties are threads of one process over a link in memory, or processes over loopback
without encryption, with 64-bit ring and 18 fractional bits; CrypTen's are two processes with a
thread each, over loopback, 16 bits, and triples made in line by the first party.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import serving  # beside this file, which is run by its path
from peer_files import load, save
from peer_spu import SpuProcesses, SpuThreads

# CrypTen does not trace JAX: the workloads once more, on its tensors, gradients by hand.


def _dense_relu(w1: Any, b1: Any, w2: Any, b2: Any, x: Any) -> Any:
    return (x.matmul(w1) + b1).relu().matmul(w2) + b2


def _mlp_infer(w1: Any, b1: Any, w2: Any, b2: Any, images: Any, labels: Any) -> Any:
    predictions = _dense_relu(w1, b1, w2, b2, images).argmax(dim=1, one_hot=False)
    return (predictions == labels).sum()


def _mlp_train(w1: Any, b1: Any, w2: Any, b2: Any, images: Any, one_hot: Any) -> Any:
    before = images.matmul(w1) + b1
    active = before > 0
    hidden = before * active
    error = ((hidden.matmul(w2) + b2).softmax(dim=1) - one_hot) * (0.1 / images.size()[0])
    hidden_error = error.matmul(w2.t()) * active
    return (
        w1 - images.t().matmul(hidden_error),
        b1 - hidden_error.sum(0),
        w2 - hidden.t().matmul(error),
        b2 - error.sum(0),
    )


def _lenet(
    c1: Any, d1: Any, c2: Any, d2: Any, w1: Any, b1: Any, w2: Any, b2: Any, images: Any
) -> Any:
    def layer(x: Any, kernel: Any, bias: Any) -> Any:
        out = x.conv2d(kernel.permute(3, 2, 0, 1)) + bias.view(1, -1, 1, 1)
        return out.relu().max_pool2d(2)

    x = layer(layer(images.permute(0, 3, 1, 2), c1, d1), c2, d2).permute(0, 2, 3, 1)
    return _dense_relu(w1, b1, w2, b2, x.reshape(x.size()[0], -1))


CRYPTEN: dict[str, Callable[..., Any]] = {
    "matmul_128x784x500": lambda x, y: x.matmul(y),
    "matmul_1024": lambda x, y: x.matmul(y),
    "mul_1m": lambda x, y: x * y,
    "relu_1m": lambda x: x.relu(),
    "less_1m": lambda x, y: x < y,
    "argmax_1000x10": lambda x: x.argmax(dim=1, one_hot=False),
    "mlp_infer_b1": _mlp_infer,
    "mlp_infer_b50": _mlp_infer,
    "mlp_infer_b128": _mlp_infer,
    "mlp_train_b128": _mlp_train,
    "lenet_b32": _lenet,
    "exp": lambda x: x.exp(),
    "reciprocal": lambda x: x.reciprocal(),
    "div": lambda x, y: x / y,
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.inv_sqrt(),
    "log": lambda x: x.log(),
    "sigmoid": lambda x: x.sigmoid(),
    "tanh": lambda x: x.tanh(),
    "erf": lambda x: x.erf(),
    "gelu": lambda x: x * ((x * 0.5**0.5).erf() + 1) * 0.5,
    "softmax_1000x10": lambda x: x.softmax(dim=1),
}


class CrypTen:
    """CrypTen with this process as party 0, and party 1 in a child."""

    def __init__(self, workload: str, directory: Path):
        if workload not in CRYPTEN:
            raise serving.Unsupported(f"CrypTen computes no {workload}")
        self._directory = directory
        self._pipe, end = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        child = context.Process(target=_follow, args=(workload, directory, end, self._pipe))
        child.start()
        end.close()
        self._party = _Party(workload, directory, 0)

    def first(self) -> float:
        return self.again()

    def again(self) -> float:
        self._pipe.send("run")
        self._pipe.recv()
        start = time.perf_counter()
        self._party.run()
        self._pipe.recv()
        return time.perf_counter() - start

    def finish(self) -> dict[str, Any]:
        peak = serving.peak_bytes()
        self._pipe.send("count")
        sent, rounds = self._party.count()
        self._pipe.send("open")
        save(self._directory, self._party.open())
        return {"peak_bytes": peak, "bytes_per_party": sent, "rounds": rounds}


class _Party:
    def __init__(self, workload: str, directory: Path, rank: int):
        os.environ.update(
            RANK=str(rank),
            WORLD_SIZE="2",
            RENDEZVOUS=f"file://{directory.resolve() / 'rendezvous'}",
            DISTRIBUTED_BACKEND="gloo",
        )
        import crypten
        import torch

        torch.set_num_threads(1)
        crypten.init()
        self._crypten, self._function = crypten, CRYPTEN[workload]
        self._args = [crypten.cryptensor(torch.from_numpy(x)) for x in load(directory)]
        self._result: Any = None

    def run(self) -> None:
        with self._crypten.no_grad():
            self._result = self._function(*self._args)

    def count(self) -> tuple[int, int]:
        """Bytes and rounds of one more run."""
        self._crypten.cfg.communicator.verbose = True
        communicator = self._crypten.communicator.get()
        communicator.reset_communication_stats()
        self.run()
        counted = communicator.get_communication_stats()
        self._crypten.cfg.communicator.verbose = False
        return counted["bytes"] // 2, counted["rounds"]  # it counts what is sent and received

    def open(self) -> list[np.ndarray]:
        results = self._result if isinstance(self._result, tuple) else (self._result,)
        return [x.get_plain_text().numpy() for x in results]


def _follow(workload: str, directory: Path, pipe: Any, other_end: Any) -> None:
    other_end.close()  # so that the end of party 0 is seen
    party = _Party(workload, directory, 1)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        if request == "run":
            pipe.send("ready")
            party.run()
            pipe.send("done")
        elif request == "count":
            party.count()
        else:
            party.open()


PEERS: dict[str, Callable[[str, Path], Any]] = {
    "ABY3": lambda workload, directory: SpuThreads(workload, directory, "ABY3", 3),
    "ABY3 processes": lambda workload, directory: SpuProcesses(workload, directory, "ABY3", 3),
    "SEMI2K": lambda workload, directory: SpuThreads(workload, directory, "SEMI2K", 2),
    "CrypTen": CrypTen,
}


def main(name: str, workload: str, directory: str) -> None:
    """Serve one workload on one peer; see `serving`."""
    serving.serve(lambda: PEERS[name](workload, Path(directory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
