"""The measurement of a service: what it counts, and that wrong answers fail it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from jsmpc.bench import __main__ as command
from jsmpc.bench import serve
from jsmpc.bench.serving import Failed
from jsmpc.examples import mnist

IMAGES = np.arange(24, dtype=np.float32).reshape(12, 2)


def test_clients_ask_at_once_each_for_its_part() -> None:
    seen, inside, most, lock = [], [0], [0], threading.Lock()

    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        def predict(x: np.ndarray) -> np.ndarray:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.02)
            with lock:
                inside[0] -= 1
                seen.append(len(x))
            return 2 * x

        yield predict

    found = serve.ask(connect, IMAGES, clients=4)
    np.testing.assert_array_equal(found.logits, 2 * IMAGES)
    assert seen == [1] * (4 + 12) and most[0] > 1  # each once more before the clock runs
    assert found.latencies.shape == (12,) and found.latencies.min() >= 0.02
    assert found.seconds < found.latencies.sum()


def test_a_client_that_fails_fails_the_measurement() -> None:
    @contextlib.contextmanager
    def connect() -> Iterator[Any]:
        def predict(x: np.ndarray) -> np.ndarray:
            raise ConnectionError("it is gone")

        yield predict

    with pytest.raises(Failed, match="it is gone"):
        serve.ask(connect, IMAGES, clients=2)


def test_a_service_in_the_clear(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mnist, "train", lambda data: mnist.initial_params(0))
    monkeypatch.setattr(serve, "_privately", serve._in_the_clear)
    arguments = ["serve", "--images", "20", "--clients", "3", "--largest", "4"]
    assert command.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "20 images, 3 clients" in lines[0] and lines[2].split()[:2] == ["served", "images/s"]
    assert all(line.split()[-1] == "0" and float(line.split()[-2]) < 1e-3 for line in lines[3:])
    assert len(lines) == 5

    @contextlib.contextmanager
    def wrong(options: Any, params: Any) -> Iterator[Any]:
        yield lambda: contextlib.nullcontext(lambda x: np.eye(10, dtype=np.float32)[[3]])

    for name in ("_privately", "_in_the_clear"):
        monkeypatch.setattr(serve, name, wrong)
    assert command.main(arguments) == 1


@pytest.mark.parametrize("arguments", [["--images", "0"], ["--clients", "-1"], ["mlp_infer_b1"]])
def test_bad_options_of_serve(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["serve", *arguments])
    assert ended.value.code == 2
