"""Without Flower, the error says what to install."""

from __future__ import annotations

import subprocess
import sys

HIDDEN = "import sys; sys.modules['flwr'] = None; import jsmpc; import jsmpc.flower"


def test_what_is_missing_is_told() -> None:
    command = [sys.executable, "-c", HIDDEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'jsmpc[flower]'" in done.stderr
