"""`python -m jsmpc.bench serve`: private prediction as a service beside the same in the clear."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.serialization import msgpack_serialize, to_state_dict

import jsmpc
from jsmpc._src.deployment import identity
from jsmpc._src.transport.client import Channel
from jsmpc._src.transport.directory import Directory
from jsmpc.bench import clear
from jsmpc.bench.serving import Failed
from jsmpc.examples import mnist
from jsmpc.examples.datasets.mnist import load_mnist, normalize
from jsmpc.extend import PROTOCOLS, make_protocol

_PATIENCE, _GRACE = 300.0, 20.0  # seconds to be ready, and to end
_CLIENT = "client"

Predict = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Found:
    """What clients saw of a service.

    Attributes:
      seconds: of all of them together; latencies: of each query, in seconds.
      logits: the answers.
    """

    seconds: float
    latencies: np.ndarray
    logits: np.ndarray


def make_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m jsmpc.bench serve",
        description="Serve the network 784-500-10 on this machine, each party in a process of its "
        "own, to clients that ask at once, an image a query; then in the clear, in one process.",
    )
    add = parser.add_argument
    add("--protocol", choices=list(PROTOCOLS), default="replicated")
    add("--images", type=int, default=1000, metavar="N", help="of the test set, default: 1000")
    add("--clients", type=int, default=10, metavar="N", help="that ask at once, default: 10")
    add("--largest", type=int, default=64, metavar="N", help="images of a batch, default: 64")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if an answer is another one than in the clear."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if min(options.images, options.clients) < 1:
        parser.error("--images and --clients take positive numbers")
    data = load_mnist()
    images = normalize(data.x_test[: options.images])
    params = mnist.train(data)
    plain = np.asarray(jax.jit(mnist.classify)(params, images))
    say = f"784-500-10, {len(images)} images, {options.clients} clients, an image a query"
    print(f"{say}, {options.protocol}", end="\n\n")
    heads = "served", "images/s", "p50 ms", "p99 ms", "error of a logit", "other answers"
    print(_row(heads))
    differing = 0
    for name, served in (("privately", _privately), ("in the clear", _in_the_clear)):
        with served(options, params) as connect:
            found = ask(connect, images, options.clients)
        other = int((found.logits.argmax(-1) != plain.argmax(-1)).sum())
        error = float(abs(found.logits - plain).max())
        p50, p99 = np.percentile(found.latencies * 1e3, [50, 99])
        rate = len(images) / found.seconds
        print(_row((name, f"{rate:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{error:.1e}", str(other))))
        differing += other
    return int(differing > 0)


def ask(
    connect: Callable[[], contextlib.AbstractContextManager[Predict]],
    images: np.ndarray,
    clients: int,
) -> Found:
    """Lets clients ask at once, each for its part of the images, one after the other."""
    latencies, answers = np.zeros(len(images)), [np.zeros(0)] * len(images)
    begin, failures = threading.Barrier(clients + 1), list[BaseException]()

    def run(own: range) -> None:
        try:
            with connect() as predict:
                predict(images[:1])
                begin.wait(_PATIENCE)
                for i in own:
                    start = time.perf_counter()
                    answers[i] = predict(images[i : i + 1])[0]
                    latencies[i] = time.perf_counter() - start
        except BaseException as error:
            failures.append(error)
            begin.abort()

    parts = [range(i, len(images), clients) for i in range(clients)]
    threads = [threading.Thread(target=run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    with contextlib.suppress(threading.BrokenBarrierError):
        begin.wait(_PATIENCE)
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise Failed(f"a client failed: {failures[0]}") from failures[0]
    return Found(time.perf_counter() - start, latencies, np.stack(answers))


@contextlib.contextmanager
def _privately(options: argparse.Namespace, params: Any) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "weights")
        protocol = make_protocol(options.protocol)
        jsmpc.save(jsmpc.share(jsmpc.random_key(), to_state_dict(params), protocol), weights)
        command = ["jsmpc", "serve", "mnist", "--launch", "--protocol", options.protocol]
        command += ["--weights", str(weights), "--largest", str(options.largest)]
        command += ["--per-minute", "1e9", "--waiting", "1000"]
        with _running(command) as process:
            said = _heard(process, r'connect\("(.*?)", name')

            @contextlib.contextmanager
            def connect() -> Iterator[Predict]:
                with jsmpc.connect(said[1], name=_CLIENT) as client:
                    yield lambda x: np.asarray(client.predict(x))

            yield connect


@contextlib.contextmanager
def _in_the_clear(options: argparse.Namespace, params: Any) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.create_server(("127.0.0.1", 0)) as free:
            lines = [f"[workers.{clear.WORKER}]", 'host = "127.0.0.1"']
            lines += [f"port = {free.getsockname()[1]}", f'certificate = "{clear.WORKER}.cert.pem"']
        lines += [f"[clients.{_CLIENT}]", f'certificate = "{_CLIENT}.cert.pem"']
        for who in (clear.WORKER, _CLIENT):
            identity.new(who, folder)
        (folder / "workers.toml").write_text("\n".join(lines) + "\n")
        (folder / "weights").write_bytes(msgpack_serialize(to_state_dict(params)))
        files = [str(folder / "workers.toml"), str(folder / "weights")]
        with _running(["jsmpc.bench.clear", *files, str(options.largest)]) as process:
            _heard(process, "ready")
            directory = Directory.load(folder / "workers.toml")

            @contextlib.contextmanager
            def connect() -> Iterator[Predict]:
                with Channel(directory, _CLIENT, None, clear.WORKER) as channel:

                    def predict(x: np.ndarray) -> np.ndarray:
                        number = secrets.token_bytes(16)
                        (found,) = channel.call({"number": number, "inputs": x})["results"]
                        return np.asarray(found)

                    yield predict

            yield connect


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A module of the package as a process, which is ended by SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=_GRACE)
        finally:
            process.kill()
            process.wait()


def _heard(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """The first line in which a process prints a pattern; Failed if it ends before."""
    alarm = threading.Timer(_PATIENCE, process.terminate)
    alarm.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.search(pattern, line):
                return found
    finally:
        alarm.cancel()
    raise Failed("the service has ended before it was ready")


def _row(values: Sequence[str]) -> str:
    first, *rest = values
    return f"{first:<14}" + "".join(f"{value:>18}" for value in rest)
