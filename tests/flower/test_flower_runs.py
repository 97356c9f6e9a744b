"""Flower's own simulation, and its SuperLink with nodes as processes, with secure aggregation."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr")

import flower_app
import jsmpc
from jsmpc._src.deployment import probe

HELPERS, SOURCE = Path(__file__).parents[1] / "helpers", Path(jsmpc.__file__).parents[1]
PATIENCE = 300.0  # seconds

APP = """\
[project]
name = "secure"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "tests"
[tool.flwr.app.components]
serverapp = "secure.both:server"
clientapp = "secure.both:client"
"""
BOTH = """\
import flower_app
client = flower_app.client
server = flower_app.server
"""
CONFIGURATION = """\
[superlink]
default = "here"
[superlink.here]
address = "127.0.0.1:{port}"
insecure = true
"""


def environment(directory: Path, nodes: int) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{HELPERS}{os.pathsep}{SOURCE}",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(directory / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        flower_app.RESULT: str(directory / "result.json"),
        flower_app.NODES: str(nodes),
    }


def require_mean(directory: Path, nodes: int) -> None:
    found, survivors = json.loads((directory / "result.json").read_text())
    np.testing.assert_allclose(found, flower_app.expected(nodes), atol=1e-4)
    assert survivors == [list(range(nodes))] * flower_app.ROUNDS


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Flower's simulation")
def test_in_flowers_simulation(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import flower_app; flower_app.simulate()"]
    done = subprocess.run(
        command,
        env=environment(tmp_path, 4),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    require_mean(tmp_path, 4)


@contextlib.contextmanager
def running(*command: str, env: dict[str, str], log: Path) -> Iterator[None]:
    """A process and all that it starts, until the end of the block."""
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, start_new_session=True)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def test_at_a_superlink_with_nodes_in_processes(tmp_path: Path) -> None:
    env = environment(tmp_path, 2)
    app = tmp_path / "app"
    (app / "secure").mkdir(parents=True)
    (app / "pyproject.toml").write_text(APP)
    (app / "secure" / "__init__.py").touch()
    (app / "secure" / "both.py").write_text(BOTH)
    port = probe.free_port("127.0.0.1")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "config.toml").write_text(CONFIGURATION.format(port=port))
    address = f"127.0.0.1:{port}"
    link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation"]
    health = f"127.0.0.1:{probe.free_port('127.0.0.1')}"
    with contextlib.ExitStack() as stack:
        start = (*link, "--port", str(port), "--health-server-address", health)
        stack.enter_context(running(*start, env=env, log=tmp_path / "link.log"))
        for i in range(2):
            node = ("flower-supernode", "--insecure", "--superlink", address)
            own = (
                "--port",
                str(probe.free_port("127.0.0.1")),
                "--node-config",
                f"partition-id={i}",
            )
            stack.enter_context(running(*node, *own, env=env, log=tmp_path / f"node{i}.log"))
        _submit(app, env)
        until = time.monotonic() + PATIENCE
        while not (tmp_path / "result.json").exists():
            logs = [(tmp_path / f"{n}.log").read_text()[-1500:] for n in ("link", "node0")]
            assert time.monotonic() < until, "\n".join(logs)
            time.sleep(0.2)
    require_mean(tmp_path, 2)


def _submit(app: Path, env: dict[str, str]) -> None:
    """Gives the app to the link, as soon as it is there."""
    until = time.monotonic() + PATIENCE / 3
    while True:
        command = ["flwr", "run", str(app), "here"]
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        if done.returncode == 0:
            return
        assert time.monotonic() < until, done.stdout + done.stderr
        time.sleep(1)
