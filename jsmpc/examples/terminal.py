"""How a command ends: done, interrupted, or with nobody left to read what it prints."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

INTERRUPTED = 128 + signal.SIGINT
NOBODY_READS = 128 + 13  # what a shell shows for SIGPIPE, where there is one


def run(command: Callable[[], int]) -> int:
    """The exit code of a command; ctrl-C and a closed pipe end it without a traceback."""
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # What is still buffered goes nowhere, lest the interpreter complain when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(nowhere, stream.fileno())
        return NOBODY_READS
    return code
