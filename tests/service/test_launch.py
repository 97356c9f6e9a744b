"""The README's service: all endpoints on this machine, a dealer with a stock, an orderly stop."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from services import environment, inputs

import jsmpc
from jsmpc._src.service import model
from jsmpc._src.service.client import Client

README = Path(__file__).parents[2] / "README.md"
SECTION = README.read_text().split("## Private prediction as a service\n")[1].split("\n## ")[0]
SERVED, ASKING = re.findall(r"^```py\n(.*?)^```$", SECTION, re.M | re.S)


class Launched:
    """The command `jsmpc serve --launch`."""

    def __init__(self, folder: Path) -> None:
        self.out, self.model = folder / "out", folder / "model.py"
        self.model.write_text(SERVED)
        command = [sys.executable, "-m", "jsmpc", "serve", str(self.model), "--launch"]
        command += ["--protocol", "additive", "--dealer", "james", "--stock", "2"]
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                [*command, "--largest", "2"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment(folder),
            )

    def config(self) -> Path:
        """The file of parties, once all are ready."""
        end = time.monotonic() + 90
        while (found := re.search(r'connect\("(.*?)", name="client"\)', self.said())) is None:
            assert self.process.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.05)
        return Path(found[1])

    def said(self) -> str:
        return self.out.read_text()


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    found = Launched(tmp_path)
    yield found
    if found.process.poll() is None:
        found.process.terminate()
        found.process.wait(20)


def processes(folder: Path) -> list[str]:
    """The commands of all processes that name a folder."""
    shown = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if str(folder) in line]


def test_additive_with_a_dealer_until_an_orderly_stop(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, served = launched.config(), model.load(str(launched.model))
    folder = config.parent
    weights = served.require_params()()
    assert len(processes(folder)) == 3
    x, answered, refused = inputs(3), [], []

    def ask(client: Client) -> None:
        while not refused:
            try:
                answered.append(client.predict(x))
            except jsmpc.JsmpcError as error:
                refused.append(error)

    def require_right(found: jax.Array) -> None:
        np.testing.assert_allclose(found, served.batched(weights, x), atol=1e-3)

    monkeypatch.chdir(folder)
    names = {"jsmpc": jsmpc, "inputs": x}
    exec(compile(ASKING.replace("dave", "client"), "README", "exec"), names)
    require_right(names["logits"])
    with jsmpc.connect(config, name="client") as client:
        require_right(client.predict(x))
        lines = (folder / "james.log").read_text().splitlines()
        events = [json.loads(line)["event"] for line in lines]
        # Each run of the model, two at the start and four since, had a set of its own.
        assert events.count("dealt") == 6 and events.count("batch") == 4
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        while len(answered) < 10:
            time.sleep(0.01)
        launched.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
    for found in answered:  # what had been asked was answered in full
        require_right(found)
    assert isinstance(refused[0], jsmpc.ServiceError | jsmpc.LinkError), refused
    assert launched.process.wait(20) == 0, launched.said()
    assert "Traceback" not in launched.said() and not folder.exists()
    assert not processes(folder)
